"""Spectra in another unit of flux than the model's: said before a fit, because afterwards every star is flagged."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import numpy as np

from slamjax.emulators.training_labels import far_apart
from slamjax.errors import SlamWarning
from slamjax.model.model import Model
from slamjax.spectra.flux_units import describe_flux_unit
from slamjax.spectra.spectra import Spectra

#: Training stars whose predicted levels are compared, and spectra.
_MOST = 64
#: Levels may leave the range of the training stars by this factor.
_MARGIN = 2.0


def warn_of_other_unit(model: Model, prepared: Spectra) -> None:
    """Warn if prepared spectra are typically far brighter or fainter than all that the model predicts.

    Not of those with covariances: most of many coefficients are noise, which has no level.
    """
    if prepared.covariance is not None:
        return
    stars = np.asarray(model.training_labels.stars)
    predicted = np.asarray(model.emulator.at(jnp.asarray(stars[far_apart(stars, _MOST)])), float)
    ours = np.nanmedian(np.abs(predicted[:, model.trained]), axis=1)
    some = np.unique(np.linspace(0, len(prepared) - 1, _MOST).astype(int))
    good = prepared.good[some] & model.trained
    seen = good.any(axis=1)
    if not seen.any():
        return
    flux = np.where(good[seen], np.abs(prepared.flux[some][seen].astype(float)), np.nan)
    theirs = float(np.median(np.nanmedian(flux, axis=1)))
    if ours.min() / _MARGIN <= theirs <= ours.max() * _MARGIN:
        return
    ratio = theirs / float(np.median(ours))
    if model.info.flux_unit and prepared.flux_unit is not None:  # dimensionless flux has a level, too
        cause = (
            f"flux of both is {describe_flux_unit(model.info.flux_unit)}, so the stars are others or a unit is wrong"
        )
    else:
        cause = "it is in another unit of flux, and the recipe has no continuum that would divide it out"
    remedy = f"multiply flux by {1 / ratio:.3g} and ivar by {ratio**2:.3g}, or " if ratio > 0 else ""
    warnings.warn(
        f"{prepared.source} is, once prepared, typically {ratio:.3g} times as bright as the model's training spectra: "
        f"{cause}; {remedy}train with a continuum in the recipe",
        SlamWarning,
        stacklevel=2,
    )
