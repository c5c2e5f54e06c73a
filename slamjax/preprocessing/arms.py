"""What continuum steps share: a pseudo-continuum for each arm of a spectrograph, and the division by it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from astropy import units as u
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.spectra import Spectra

#: Parts of the spectrum, as pairs (low, high) of wavelengths, with separate continua: arms of a spectrograph, chips.
Arms = Sequence[Sequence[float]]
Continuum = Float[np.ndarray, "star pixel"]


class ContinuumByArm:
    """Divides spectra by the continua of separate arms; a subclass computes that of one arm in `_continuum`."""

    unit: str
    arms: Arms

    def __call__(self, spectra: Spectra) -> Spectra:
        return divide(spectra, self.continuum(spectra))

    def continuum(self, spectra: Spectra) -> Continuum:
        """(N, P) the pseudo-continuum; NaN between arms and where too few pixels are good."""
        return self._by_arm(spectra, self._continuum)

    def _continuum(self, spectra: Spectra) -> Continuum:
        raise NotImplementedError

    def _check_arms(self) -> None:
        """Raise SlamError unless the arms are pairs (low, high) that do not overlap."""
        pairs = tuple((float(low), float(high)) for low, high in self.arms)
        edges = [edge for pair in pairs for edge in pair]
        if any(not a < b for a, b in itertools.pairwise(edges)):
            raise SlamError(
                f"the arms {pairs} of a continuum must be pairs (low, high) of increasing wavelengths that do not "
                "overlap"
            )
        object.__setattr__(self, "arms", pairs)

    def _by_arm(self, spectra: Spectra, function: Callable[[Spectra], Continuum]) -> Continuum:
        """The values of a function for each arm, NaN between arms; for the whole spectrum without arms."""
        if not self.arms:
            return function(spectra)
        wave = spectra.wave * spectra.wave_unit.to(length_unit(self.unit))
        pixels = [np.flatnonzero((wave >= low) & (wave <= high)) for low, high in self.arms]
        values = [(arm, function(spectra.on_pixels(arm))) for arm in pixels if arm.size]
        if not values:
            raise SlamError(f"no pixel of {spectra.source} lies in an arm of the continuum{self._describe_arms()}")
        out = np.full((len(values[0][1]), spectra.n_pix), np.nan, spectra.flux.dtype)
        for arm, of_arm in values:
            out[:, arm] = of_arm
        return out

    def _describe_arms(self) -> str:
        """The arms in words; empty without arms."""
        arms = ", ".join(f"{low:g}-{high:g}" for low, high in self.arms)
        return f", in arms {arms} {self.unit}" if arms else ""


def divide(spectra: Spectra, continuum: Continuum) -> Spectra:
    """Flux divided by the continuum, ivar times its square; pixels without a positive continuum become bad."""
    valid = np.isfinite(continuum) & (continuum > 0)
    safe = np.where(valid, continuum, 1).astype(spectra.flux.dtype)
    ivar = np.where(valid, spectra.ivar * np.square(safe.astype(np.float64)), 0)
    # a known error must not overflow to inf, which means that none is known
    largest = np.finfo(spectra.ivar.dtype).max
    ivar = np.where(np.isfinite(spectra.ivar), np.minimum(ivar, largest), ivar)
    flux, ivar = spectra.flux / safe, ivar.astype(spectra.ivar.dtype)
    return spectra.with_arrays(flux, ivar, flux_unit=u.dimensionless_unscaled)
