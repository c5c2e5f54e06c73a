"""A resolving power of spectra as a nuisance: what it needs of the model."""

from __future__ import annotations

from slamjax.errors import SlamError
from slamjax.forward.nuisances import Nuisances
from slamjax.forward.pixel_facts import PixelFacts


def own_resolution(nuisances: Nuisances, facts: PixelFacts | None) -> float | None:
    """The model's R, if one of spectra is a nuisance.

    Raises
    ------
    SlamError
        If the model does not state its line spread, or all allowed R are above the model's.
    """
    if nuisances.resolution is None:
        return None
    if facts is None or facts.resolution is None:
        raise SlamError(
            "a resolution needs the model's own, and the model does not state its line spread; train it on spectra "
            "with fwhm, or broaden by sigma_v instead"
        )
    prior = nuisances.prior("resolution")
    typical = nuisances.bounds("resolution")[0] if prior is None or not prior.is_gaussian else prior.start(False)
    if typical >= facts.resolution:
        raise SlamError(
            f"resolution {prior} is not below the model's own, {facts.resolution:.0f}, and predictions cannot be "
            "sharpened; give a lower one, or leave it out"
        )
    return facts.resolution
