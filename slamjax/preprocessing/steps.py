"""Steps of preparation: small frozen records that turn Spectra into Spectra; here those that crop and mask pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from astropy import units as u
from jaxtyping import Bool, Float

from slamjax.errors import SlamError
from slamjax.spectra.length_units import in_length_unit, length_unit, stated_unit
from slamjax.spectra.spectra import Spectra


def set_lengths(step: Any, *fields: str, needed: bool = True) -> None:
    """Bring the lengths of a frozen step to plain numbers in its ``unit``, which is that of the first if none is given.

    Raises
    ------
    SlamError
        If neither ``unit`` nor a length states one although it is ``needed``, or it is no unit of length.
    """
    values = [getattr(step, field) for field in fields]
    stated = next((unit for unit in map(_first_unit, values) if unit is not None), None)
    unit = step.unit if step.unit or stated is None else stated
    if unit:
        length_unit(unit, "in the recipe")
    elif needed:
        raise SlamError(f'{step.name} has lengths without a unit; give unit="Angstrom", unit="nm" or Quantities')
    object.__setattr__(step, "unit", str(unit))
    for field, value in zip(fields, values, strict=True):
        object.__setattr__(step, field, _plain(value, unit))


def _first_unit(value: Any) -> Any:
    """The unit of a length, or of the first that states one in nested sequences."""
    if isinstance(value, list | tuple):
        return next((unit for unit in map(_first_unit, value) if unit is not None), None)
    return stated_unit(value)


def _plain(value: Any, unit: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_plain(one, unit) for one in value)
    plain = in_length_unit(value, unit, "in the recipe")
    return plain if plain is value else plain.tolist() if np.ndim(plain) else float(plain)


@runtime_checkable
class Step(Protocol):
    """One step of a recipe; its fields are plain numbers and strings, so that it can be stored as JSON and TOML."""

    name: ClassVar[str]

    def __call__(self, spectra: Spectra) -> Spectra: ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class WaveRange:
    """Keep the pixels with low <= wavelength <= high.

    Parameters
    ----------
    low, high : float or Quantity
        In ``unit``.
    unit : str
        Needed unless Quantities bring it.

    Raises
    ------
    SlamError
        If there is no unit, or the range is empty; when applied, if no pixel lies in it.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import WaveRange
    >>> WaveRange(410, 430, "nm")(Spectra(np.linspace(400, 500, 11), np.ones((1, 11)), wave_unit="nm")).wave
    array([410., 420., 430.])
    """

    low: float
    high: float
    unit: str = ""
    name: ClassVar[str] = "wave_range"

    def __post_init__(self) -> None:
        set_lengths(self, "low", "high")
        if not self.low < self.high:
            raise SlamError(f"the wavelength range {self.low:g} to {self.high:g} {self.unit} is empty; give low < high")

    def __call__(self, spectra: Spectra) -> Spectra:
        wave = spectra.wave * spectra.wave_unit.to(length_unit(self.unit))
        margin = 1e-9 * self.high  # a pixel at the bound is kept in spite of rounding in the change of unit
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
    """Mark pixels as bad (ivar = 0) by their flux or signal-to-noise ratio.

    There is deliberately no threshold on ivar itself: it would remove most pixels of a faint star and none of a bright
    one.

    Parameters
    ----------
    min_flux, max_flux : float, optional
        In the units that the flux has at this step (1 at the continuum, after a division by it).
    min_snr : float, optional
        Flux over error of the pixel.
    grow : int
        Neighbours of a bad pixel, on each side, that are marked too.

    Raises
    ------
    SlamError
        If the flux range is empty or ``grow`` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import BadPixels
    >>> spectra = Spectra(np.arange(1.0, 6.0), np.array([[1.0, 1.0, 9.0, 1.0, 1.0]]), wave_unit="nm")
    >>> BadPixels(max_flux=2.0, grow=1)(spectra).good
    array([[ True, False, False, False,  True]])
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
        for _ in range(min(self.grow, bad.shape[1])):
            wider = bad.copy()
            wider[:, 1:] |= bad[:, :-1]
            wider[:, :-1] |= bad[:, 1:]
            bad = wider
        return spectra.masked(bad)

    def __str__(self) -> str:
        rules = []
        if self.min_flux is not None:
            rules.append(f"flux < {self.min_flux:g}")
        if self.max_flux is not None:
            rules.append(f"flux > {self.max_flux:g}")
        if self.min_snr is not None:
            rules.append(f"S/N < {self.min_snr:g}")
        text = " or ".join(rules) if rules else "no flux or no error"
        return f"bad pixels: {text}" + (f", grown by {self.grow}" if self.grow else "")


@dataclass(frozen=True)
class MaskWavelengths:
    """Mark all pixels in given ranges as bad, such as interstellar lines, telluric bands and the overlap of two arms.

    Parameters
    ----------
    ranges : sequence of (low, high)
        In ``unit``, or Quantities.
    unit : str
        Needed unless Quantities bring it.

    Raises
    ------
    SlamError
        If there is no unit, or a range is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import MaskWavelengths
    >>> MaskWavelengths([(415, 435)], "nm")(Spectra(np.linspace(400, 450, 6), np.ones((1, 6)), wave_unit="nm")).good
    array([[ True,  True, False, False,  True,  True]])
    """

    ranges: Sequence[Sequence[float]]
    unit: str = ""
    name: ClassVar[str] = "mask_wavelengths"

    def __post_init__(self) -> None:
        set_lengths(self, "ranges")
        pairs = tuple((float(low), float(high)) for low, high in self.ranges)
        if not pairs or not all(low < high for low, high in pairs):
            raise SlamError(f"the ranges {pairs} to mask must be pairs (low, high) with low < high")
        object.__setattr__(self, "ranges", pairs)

    def inside(self, wave: Float[np.ndarray, " pixel"], wave_unit: u.UnitBase | str) -> Bool[np.ndarray, " pixel"]:
        """(P,) bool: the pixels that are masked."""
        wave = wave * length_unit(wave_unit).to(length_unit(self.unit))
        return np.any([(wave >= low) & (wave <= high) for low, high in self.ranges], axis=0)

    def __call__(self, spectra: Spectra) -> Spectra:
        return spectra.masked(self.inside(spectra.wave, spectra.wave_unit)[None])

    def __str__(self) -> str:
        return f"masked: {', '.join(f'{low:g}-{high:g}' for low, high in self.ranges)} {self.unit}"
