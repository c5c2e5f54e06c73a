"""Batches of draws as they are kept in a `Checkpoint`, and what identifies the run that they belong to."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from slamjax._util.checkpoint import Checkpoint, digest
from slamjax._version import __version__
from slamjax.fitting.checkpoint import model_digest
from slamjax.model.model import Model
from slamjax.sampling.batches import BatchDraws
from slamjax.sampling.specs import SamplerSpec
from slamjax.spectra.spectra import Spectra


def read_draws(kept: Checkpoint, start: int, n: int, spec: SamplerSpec) -> BatchDraws | None:
    """The batch of n stars that begins with star ``start``, if it is finished."""
    arrays = kept.read(start)
    if arrays is None:
        return None
    names = {field.name for field in dataclasses.fields(BatchDraws)}
    if set(arrays) != names or arrays["x"].shape[:3] != (n, spec.chains, spec.draws):
        kept.refuse(start)
        return None
    return BatchDraws(**arrays)


def write_draws(kept: Checkpoint, start: int, draws: BatchDraws) -> None:
    """Keep a finished batch."""
    kept.write(start, vars(draws))


def fingerprint(model: Model, spectra: Spectra, **settings: Any) -> dict[str, str]:
    """What identifies a run: digests of the model, the spectra and all settings."""
    if spectra.has_own_line_spreads:  # one for all is in the model, which is matched to it
        settings["line_spread"] = spectra.fwhm
    if spectra.covariance is not None:
        settings["covariance"] = spectra.covariance
    return {
        "model": model_digest(model),
        "spectra": digest(spectra.digests(), spectra.ivar, spectra.rows, spectra.wave),
        **{name: digest(value) for name, value in settings.items()},
        "precision": str(jax.dtypes.canonicalize_dtype(float)),
        "version": __version__,
    }
