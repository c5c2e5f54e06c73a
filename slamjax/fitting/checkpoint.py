"""What identifies a fit, so that finished parts of another one are not taken for its own."""

from __future__ import annotations

import jax

from slamjax._util.checkpoint import digest
from slamjax._version import __version__
from slamjax.fitting.fitter import Fitter
from slamjax.model.model import Model


def model_digest(model: Model) -> str:
    """Of all that a model predicts, and how it prepares spectra."""
    return digest(
        model.host_emulator, model.noise, model.training_labels, str(model.recipe), repr(model.info.calibration)
    )


def fitter_fingerprint(fitter: Fitter) -> dict[str, str]:
    """Digests of the model and of the options."""
    nuisances = fitter.nuisances and (str(fitter.nuisances), fitter.nuisances.polynomial_sd)
    return {
        "model": model_digest(fitter.model),
        "optimiser": digest(repr(fitter.optimiser), fitter.n_starts),
        "nuisances": digest(nuisances),
        "prior": digest(None if fitter.prior is None else fitter.prior.identity(), fitter.posterior_mean),
        "compress": str(fitter.compress),
        "memory": str(fitter.memory),
        "precision": str(jax.dtypes.canonicalize_dtype(float)),
        "version": __version__,
    }
