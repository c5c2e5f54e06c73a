"""Batches of draws, in the order of the spectra, as one flagged posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from astropy.table import QTable

from slamjax.flags import Flag
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import UNITS
from slamjax.model.model import Model
from slamjax.sampling.batches import BatchDraws
from slamjax.sampling.diagnostics import Diagnostics
from slamjax.sampling.nuisances import velocities
from slamjax.sampling.posterior import Posterior
from slamjax.sampling.specs import SamplerSpec

#: A star is flagged if an effective sample size is below the first, R-hat above the second, or the fraction of
#: divergent draws above the third.
MIN_ESS, MAX_RHAT, MAX_DIVERGENT = 400, 1.03, 0.01


def assemble(
    model: Model,
    forward: ForwardEmulator | None,
    table: QTable,
    batches: Sequence[tuple[np.ndarray, BatchDraws]],
    spec: SamplerSpec,
    attrs: dict[str, Any],
) -> Posterior:
    """The posterior of the stars of a fit's ``table``, from batches of draws with the rows that they belong to."""
    n, n_labels = len(table), len(model.label_names)
    names, units = model.label_names, model.info.label_units
    if forward is not None:
        names, units = (*names, *forward.free), (*units, *(UNITS[name] for name in forward.free))
    shape = (spec.chains, spec.draws, n)
    dtype = jax.dtypes.canonicalize_dtype(float)
    labels = np.full((*shape, len(names)), np.nan, dtype)
    log_density, diverging = np.full(shape, np.nan, dtype), np.zeros(shape, bool)
    rhat, ess_bulk, ess_tail = (np.full((n, len(names)), np.nan) for _ in range(3))
    khat, sampler = np.full(n, np.nan), np.full(n, "", dtype="U10")
    for rows, draws in batches:
        x = np.moveaxis(draws.x, 0, 2)
        labels[:, :, rows, :n_labels] = model.host_emulator.scaling.inverse(np.asarray(x[..., :n_labels], np.float64))
        if forward is not None and forward.free:
            labels[:, :, rows, n_labels:] = velocities(forward, x)
        log_density[:, :, rows] = np.moveaxis(draws.log_density, 0, 2)
        diverging[:, :, rows] = np.moveaxis(draws.diverging, 0, 2)
        rhat[rows], ess_bulk[rows], ess_tail[rows] = draws.rhat, draws.ess_bulk, draws.ess_tail
        khat[rows], sampler[rows] = draws.khat, draws.sampler
    diagnostics = Diagnostics(rhat, ess_bulk, ess_tail)
    flags = flags_of_draws(
        np.array(table["flags"], dtype=np.int32), np.char.str_len(sampler) > 0, diagnostics, diverging
    )
    stars = _star_columns(table, names)
    return Posterior(
        names, units, labels, log_density, diverging, diagnostics, khat, sampler, flags, stars, attrs
    )  # fmt: skip


def flags_of_draws(flags: np.ndarray, sampled: np.ndarray, quality: Diagnostics, diverging: np.ndarray) -> np.ndarray:
    """The fit's flags (N,), and those of the draws."""
    least_ess = np.fmin.reduce([*quality.ess_bulk.T, *quality.ess_tail.T])
    with np.errstate(invalid="ignore"):
        for condition, flag in (
            (sampled & (least_ess < MIN_ESS), Flag.LOW_ESS),
            (sampled & (np.fmax.reduce(quality.rhat, axis=1) > MAX_RHAT), Flag.HIGH_RHAT),
            (sampled & (diverging.mean(axis=(0, 1)) > MAX_DIVERGENT), Flag.DIVERGENCES),
            (~sampled & (flags & Flag.NO_DATA == 0), Flag.NOT_SAMPLED),
        ):
            flags = flags | np.where(condition, np.int32(flag), np.int32(0))
    return flags


def _star_columns(table: QTable, names: Sequence[str]) -> dict[str, np.ndarray]:
    """What a fit's table has of each star beside the fitted labels."""
    of_labels = {f"{label}{suffix}" for label in names for suffix in ("", "_err", "_err68", "_err95")}
    return {
        name: np.asarray(table[name])
        for name in table.colnames
        if name not in of_labels | {"flags", "cov", "n_iter"} and np.ndim(table[name]) == 1
    }
