"""Starting points of joint fits: the templates that go best with all spectra of a star, and nuisances there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.fitting.joint.concluded import rows_of
from slamjax.fitting.joint.kinds import Kind, Seen
from slamjax.fitting.rv_starts import N_EXTINCTIONS
from slamjax.fitting.starts import MAX_TEMPLATES, numbers_apart, sample_stars
from slamjax.model.joint import JointModel

#: Stars per block when starts are chosen.
_BLOCK = 256


def template_labels(model: JointModel, kinds: Mapping[str, Kind]) -> np.ndarray:
    """(T, L) joint scaled labels of training stars inside the range of all of these models.

    Labels that a model lacks are those of the nearest star of another model.
    """
    n_labels, stars = len(model.label_names), []
    for name in kinds:
        factor, offset = model.affine(name)
        x = np.full((len(model.models[name].training_labels.stars), n_labels), np.nan)
        x[:, list(model.positions(name))] = (
            np.asarray(model.models[name].training_labels.stars, float) - offset
        ) / factor
        stars.append(x)
    complete = [x for x in stars if np.isfinite(x).all()]
    chosen = max(complete, key=len) if complete else _filled(stars)
    low, high = model.box(list(kinds))
    inside = np.all((chosen >= low) & (chosen <= high), axis=1)
    chosen = chosen[inside] if inside.sum() >= min(len(chosen), 10) else np.clip(chosen, low, high)
    at = sample_stars(chosen)[:MAX_TEMPLATES]
    if all(kind.extinctions is None for kind in kinds.values()):
        return at
    # there are as many at every extinction: all of them must be among the most that there may be
    most = MAX_TEMPLATES // N_EXTINCTIONS
    return at[:: -(-len(at) // most)]


def _filled(stars: list[np.ndarray]) -> np.ndarray:
    chosen = max(stars, key=lambda x: np.isfinite(x).all(axis=0).sum()).copy()
    for other in stars:
        known, lacking = (np.isfinite(x).all(axis=0) for x in (other, chosen))
        both, new = known & lacking, known & ~lacking
        if new.any():
            nearest = cKDTree(other[:, both]).query(chosen[:, both])[1] if both.any() else np.zeros(len(chosen), int)
            chosen[:, new] = other[nearest][:, new]
    return np.nan_to_num(chosen)


def joint_starts(
    model: JointModel,
    kinds: Mapping[str, Kind],
    of: Mapping[str, np.ndarray],
    seen: Mapping[str, Seen],
    templates: tuple[np.ndarray, Mapping[str, Any]],
    chosen: np.ndarray,
    n_starts: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Joint scaled labels (N, S, L) to start from, and nuisances' parameters (M, S, V) of every spectrum.

    ``of`` are the stars of the spectra of each kind, ``chosen`` (N,) bool the stars that are wanted, ``templates``
    their joint labels (T, L) and those of each kind.
    """
    at, of_kinds = templates
    is_shared = "extinction" in model.shared
    chi2 = np.zeros((len(chosen), N_EXTINCTIONS if is_shared else 1, len(at)), np.float32)
    by_extinction: dict[str, np.ndarray] = {}
    rows = {name: np.flatnonzero(chosen[of[name]]) for name in kinds}
    for name, kind in kinds.items():
        if not rows[name].size:
            continue
        each = kind.compared(of_kinds[name], rows_of(seen[name], rows[name]))
        if each.shape[1] > 1 and not is_shared:
            by_extinction[name] = each
            each = each.min(axis=1, keepdims=True)
        np.add.at(chi2, of[name][rows[name]], each)
    dtype = next(iter(kinds.values())).scaled.dtype
    choose = partial(_numbers_apart, jnp.asarray(at, dtype), n_starts=n_starts)
    numbers = map_padded(choose, (chi2.min(axis=1).astype(dtype),), _BLOCK, 16)
    x = np.asarray(at, dtype)[numbers]
    nuisances = {}
    for name, kind in kinds.items():
        nuisances[name] = np.zeros((len(of[name]), n_starts, len(kind.nuisances.free)), dtype)
        stars = of[name][rows[name]]
        if kind.nuisances.free and stars.size:
            labels = x[stars].astype(float)
            own = model.own_labels(name, labels.reshape(-1, labels.shape[2])).reshape(*labels.shape[:2], -1)
            extinction = None
            if kind.extinctions is not None:
                known = chi2[stars] if is_shared else by_extinction[name]
                best = np.take_along_axis(known, numbers[stars][:, None], axis=2).argmin(axis=1)
                extinction = kind.extinctions[best]
            part = rows_of(seen[name], rows[name])
            nuisances[name][rows[name]] = kind.starting_nuisances(of_kinds[name], part, own, extinction)
    return x, nuisances


@partial(compiled, static_argnames="n_starts", one_thread=True)
def _numbers_apart(x: Any, chi2: Any, *, n_starts: int) -> Any:
    return numbers_apart(x, chi2, n_starts)
