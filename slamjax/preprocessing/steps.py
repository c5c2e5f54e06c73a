"""Steps of preparation, small frozen records that turn Spectra into Spectra: pixels that are kept, and bad ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from astropy import units as u

from slamjax.errors import SlamError
from slamjax.spectra.spectra import Spectra


def check_unit(unit: str) -> None:
    try:
        u.Unit(unit).to(u.nm)
    except (ValueError, TypeError, u.UnitConversionError) as error:
        raise SlamError(f"{unit!r} in the recipe is not a unit of length; use nm or Angstrom") from error


class Step(Protocol):
    """One step; its fields are plain numbers and strings so that it can be stored as JSON."""

    name: ClassVar[str]

    def __call__(self, spectra: Spectra) -> Spectra: ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class WaveRange:
    """Keep the pixels with low <= wavelength <= high."""

    low: float
    high: float
    unit: str = "nm"
    name: ClassVar[str] = "wave_range"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if not self.low < self.high:
            raise SlamError(f"the wavelength range {self.low:g} to {self.high:g} {self.unit} is empty; give low < high")

    def __call__(self, spectra: Spectra) -> Spectra:
        wave = spectra.wave * u.Unit(spectra.wave_unit).to(self.unit)
        margin = 1e-9 * self.high  # a bound that is itself a pixel survives the change of unit
        kept = np.flatnonzero((wave >= self.low - margin) & (wave <= self.high + margin))
        if kept.size == 0:
            raise SlamError(
                f"no pixel of {spectra.source} lies within {self}; it covers {wave[0]:g} to {wave[-1]:g} {self.unit}"
            )
        return spectra.on_pixels(slice(kept[0], kept[-1] + 1))

    def __str__(self) -> str:
        return f"wavelengths {self.low:g} to {self.high:g} {self.unit}"


@dataclass(frozen=True)
class BadPixels:
    """Mark pixels as bad (ivar = 0) by their flux, in the units in which the step meets them.

    There is on purpose no threshold on ivar itself: it would take most pixels of a faint star and none of a
    bright one. ``min_snr`` is a pixel's own flux over its error; ``grow`` takes neighbours of bad pixels too.
    """

    min_flux: float | None = None
    max_flux: float | None = None
    min_snr: float | None = None
    grow: int = 0
    name: ClassVar[str] = "bad_pixels"

    def __post_init__(self) -> None:
        if self.min_flux is not None and self.max_flux is not None and not self.min_flux < self.max_flux:
            raise SlamError(f"the flux range {self.min_flux:g} to {self.max_flux:g} is empty; give low < high")
        if self.grow < 0:
            raise SlamError(f"bad pixels cannot be grown by {self.grow}; give 0 or more")

    def __call__(self, spectra: Spectra) -> Spectra:
        bad = ~spectra.good
        if self.min_flux is not None:
            bad |= spectra.flux < self.min_flux
        if self.max_flux is not None:
            bad |= spectra.flux > self.max_flux
        if self.min_snr is not None:
            bad |= spectra.flux * np.sqrt(spectra.ivar) < self.min_snr
        for _ in range(self.grow):
            wider = bad.copy()
            wider[:, 1:] |= bad[:, :-1]
            wider[:, :-1] |= bad[:, 1:]
            bad = wider
        return spectra.with_arrays(spectra.flux, np.where(bad, spectra.ivar.dtype.type(0), spectra.ivar))

    def __str__(self) -> str:
        rules = []
        if self.min_flux is not None:
            rules.append(f"flux < {self.min_flux:g}")
        if self.max_flux is not None:
            rules.append(f"flux > {self.max_flux:g}")
        if self.min_snr is not None:
            rules.append(f"S/N < {self.min_snr:g}")
        text = " or ".join(rules) if rules else "flux or error not given"
        return f"bad pixels: {text}" + (f", grown by {self.grow}" if self.grow else "")


@dataclass(frozen=True)
class MaskWavelengths:
    """Mark all pixels in some ranges as bad: where arms of a spectrograph meet, interstellar lines, the Earth's air."""

    ranges: tuple[tuple[float, float], ...]
    unit: str = "nm"
    name: ClassVar[str] = "mask_wavelengths"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        pairs = tuple((float(low), float(high)) for low, high in self.ranges)
        if not pairs or not all(low < high for low, high in pairs):
            raise SlamError(f"the ranges {pairs} to mask must be pairs of rising wavelengths")
        object.__setattr__(self, "ranges", pairs)

    def inside(self, wave: np.ndarray, wave_unit: str) -> np.ndarray:
        """(P,) bool: the pixels that are masked."""
        wave = wave * u.Unit(wave_unit).to(self.unit)
        return np.any([(wave >= low) & (wave <= high) for low, high in self.ranges], axis=0)

    def __call__(self, spectra: Spectra) -> Spectra:
        inside = self.inside(spectra.wave, spectra.wave_unit)
        return spectra.with_arrays(spectra.flux, np.where(inside, spectra.ivar.dtype.type(0), spectra.ivar))

    def __str__(self) -> str:
        return f"masked: {', '.join(f'{low:g}-{high:g}' for low, high in self.ranges)} {self.unit}"
