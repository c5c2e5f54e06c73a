"""How unlike the others each held-out star is: what `slamjax.noise.likeness.Likeness` ranks new stars among.

A star's residual is that of the emulator that had not seen it, at the labels that a fit with a noise model learnt
without it gives. The covariance of its factors is that of the other stars' factors under the same noise model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.noise.likeness import Likeness, ResidualParts, combine, log_measures, parabola, photon_place
from slamjax.noise.models import Noise
from slamjax.noise.residuals import MEDIAN_SQUARE
from slamjax.training.held_out import HeldOut

#: Fewer stars cannot say what is unusual; of more, as many are drawn at random.
_FEWEST, _MOST = 50, 4000
#: Degrees of freedom of the Student-t distribution whose weights keep outliers from dominating; rounds of reweighting.
_TAIL, _ROUNDS = 8.0, 12
#: Stars per batch.
_BATCH = 64
#: Places of held-out stars beyond these percentiles are read as at them.
_ENDS = (2.0, 98.0)


def learn_likeness(
    noise: Noise,
    crossed: Sequence[tuple[Noise, np.ndarray]],
    training_labels: TrainingLabels,
    held_out: HeldOut,
    error: np.ndarray,
    photon_weight: float,
) -> Likeness | None:
    """What held-out stars' measures of unlikeness are; None if they are too few.

    Parameters
    ----------
    noise : of all stars, as of the emulators of the folds
    crossed : noise models, each with (N,) bool, the stars that it has not seen
    training_labels, held_out
    error : (N, L) fitted labels minus ``held_out.x``, scaled; NaN where the fit failed
    photon_weight : see `Likeness`
    """
    rows = np.flatnonzero(np.all(np.isfinite(error), axis=1) & held_out.known.any(axis=1))
    if rows.size < _FEWEST:
        return None
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:_MOST])
    stars, error = held_out[rows], error[rows]
    residual = _residuals(stars, error)
    distance = training_labels.neighbour_distance(stars.x + error)
    logs, place, n_pix = [], np.zeros(len(rows)), stars.known.sum(axis=1)
    for one, unseen in crossed:
        parts, mine = _parts(one, stars, residual), unseen[rows]
        if mine.any():
            root = _whitener(parts.loadings[~mine])
            place[mine] = photon_place(parts[mine])
            logs.append((np.flatnonzero(mine), log_measures(parts[mine], distance[mine], root, photon_weight)))
    joined = np.zeros((len(logs[0][1]), len(rows)))
    for mine, found in logs:
        joined[:, mine] = found
    ends = np.percentile(place, _ENDS)
    terms = parabola(place, ends)
    fitted = [_robust_parabola(terms, row) for row in joined]
    trend, spread = np.stack([each[0] for each in fitted]), np.array([each[1] for each in fitted])
    values = (joined - trend @ terms.T) / spread[:, None]
    measures = np.sort(values, axis=1)
    return Likeness(
        whitener=_whitener(_parts(noise, stars, residual).loadings),
        photon_weight=photon_weight,
        photon_range=ends,
        trend=trend,
        spread=spread,
        n_pix=float(np.median(n_pix)),
        measures=measures,
        combined=np.sort(combine(measures, values)),
    )


def held_out_factors(noise: Noise, stars: HeldOut, x: np.ndarray) -> Float[np.ndarray, "star factor"]:
    """The factors c, see `ResidualParts`, of the residuals at fitted labels x (N, L), scaled."""
    return _parts(noise, stars, _residuals(stars, x - stars.x)).loadings


def _residuals(stars: HeldOut, error: np.ndarray) -> np.ndarray:
    """(N, P) observed minus predicted flux at the fitted labels, in the emulators' unit; 0 where there is none."""
    unit, dtype = stars.emulators[0].flux_unit(), jax.dtypes.canonicalize_dtype(float)
    found = np.zeros(stars.residual.shape)
    for number, emulator in enumerate(stars.emulators):
        rows = np.flatnonzero(stars.fold == number)
        if rows.size:
            device = emulator.in_unit(unit).padded().on_device()
            x = stars.x[rows]
            given = ((x + error[rows]).astype(dtype), x.astype(dtype))
            change = map_padded(partial(_change, device), given, _BATCH)
            found[rows] = np.where(stars.known[rows], stars.residual[rows] / unit - change, 0)
    return np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)  # untrained pixels


@compiled
def _change(emulator: Any, end: Float[Array, "star label"], start: Float[Array, "star label"]) -> Array:
    return emulator.at(end) - emulator.at(start)


def _parts(noise: Noise, stars: HeldOut, residual: np.ndarray) -> ResidualParts:
    unit, dtype = stars.emulators[0].flux_unit(), jax.dtypes.canonicalize_dtype(float)
    errors = stars.errors(noise, np.arange(len(stars.x)), stars.known, unit, dtype)
    return ResidualParts.of(noise.in_unit(unit).on_device(), residual.astype(dtype), errors)


def _whitener(loadings: np.ndarray) -> Float[np.ndarray, "factor factor"]:
    """The root of M⁻¹, M the robust covariance of factors (N, K), drawn towards its diagonal if stars are few."""
    n, n_factors = loadings.shape
    if n_factors == 0:
        return np.zeros((0, 0))
    own = n_factors / (n + n_factors)
    weight = np.ones(n)
    root = np.zeros((n_factors, n_factors))
    for _ in range(_ROUNDS):
        seen = (loadings * weight[:, None]).T @ loadings / weight.sum()
        value, vector = np.linalg.eigh((1 - own) * seen + own * np.diag(np.diagonal(seen)))
        sound = value > 1e-12 * value[-1]
        root = np.where(sound, 1 / np.sqrt(np.where(sound, value, 1)), 0)[:, None] * vector.T
        square = np.sum(np.square(loadings @ root.T), axis=1)
        weight = (_TAIL + n_factors) / (_TAIL + n_factors * square / max(float(np.median(square)), 1e-30))
    return root


def _robust_parabola(terms: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """(3,) coefficients, and the robust width about them."""
    weight, found, spread = np.ones(len(values)), np.zeros(terms.shape[1]), 1.0
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)
        found = np.linalg.lstsq(terms * root[:, None], values * root, rcond=None)[0]
        apart = values - terms @ found
        spread = max(float(np.median(np.abs(apart)) / np.sqrt(MEDIAN_SQUARE)), 1e-3)
        weight = 1 / (1 + np.square(apart / spread) / 4)
    return found, spread
