"""The steps of preparation: each a small frozen record that turns Spectra into Spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from astropy import units as u
from scipy.interpolate import make_smoothing_spline

from slamjax.errors import SlamError
from slamjax.spectra import Spectra

_BLOCK = 1024  # pixels of continuum computed at once: bounds the smoothing matrix


def _check_unit(unit: str) -> None:
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
        _check_unit(self.unit)
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
class GaussianContinuum:
    """Divide by the spectrum smoothed with a Gaussian.

    c(λ) = Σ_j g_j Δλ_j f_j G(λ − λ_j) / Σ_j g_j Δλ_j G(λ − λ_j), with G of standard deviation ``sigma`` and g = 1 for
    good pixels, else 0 (the pseudo-continuum of Ho et al. 2017, ApJ 836, 5, eq. 1, with masks instead of ivar as
    weights: so it does not depend on S/N).
    """

    sigma: float
    unit: str = "nm"
    name: ClassVar[str] = "gaussian_continuum"

    def __post_init__(self) -> None:
        _check_unit(self.unit)
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise SlamError(
                f"the continuum's Gaussian has a width of {self.sigma}; give one above 0, as in gaussian:50nm"
            )

    def __call__(self, spectra: Spectra) -> Spectra:
        return divide(spectra, self.continuum(spectra))

    def continuum(self, spectra: Spectra) -> np.ndarray:
        """(N, P) the pseudo-continuum; NaN where no good pixel is near."""
        wave = spectra.wave
        sigma = self.sigma * u.Unit(self.unit).to(spectra.wave_unit)
        width = np.gradient(wave) if wave.size > 1 else np.ones(1)
        dtype = spectra.flux.dtype
        good = spectra.good
        flux = np.where(good, spectra.flux, dtype.type(0))
        mask = good.astype(dtype)
        out = np.empty_like(flux)
        for start in range(0, wave.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            smooth = np.exp(-0.5 * ((wave[:, None] - wave[None, block]) / sigma) ** 2) * width[:, None]
            smooth = (smooth / smooth.sum(axis=0)).astype(dtype)
            weight = mask @ smooth
            out[:, block] = np.where(weight > 1e-6, flux @ smooth / np.where(weight > 1e-6, weight, 1), np.nan)
        return out

    def __str__(self) -> str:
        return f"continuum: Gaussian of standard deviation {self.sigma:g} {self.unit}"


@dataclass(frozen=True)
class SplineContinuum:
    """Divide by an iterated smoothing spline that leans to the upper part of the flux.

    A cubic smoothing spline, min Σ w (f − s)² + λ ∫ s''², is fitted; in every bin of width ``bin_width`` the pixels
    above the ``percentile`` of the residuals are kept; the spline is fitted again to those, ``iterations`` times
    (Zhang, Liu & Deng 2020, section 3.2). ``scale`` is the wavelength at which the spline follows half of a wave's
    amplitude: λ = (scale / 2π)⁴ / Δλ. A percentile above 50 follows the noise upwards in faint spectra: this continuum
    depends on S/N.
    """

    scale: float
    unit: str = "nm"
    iterations: int = 3
    percentile: float = 50.0
    bin_width: float = 10.0
    name: ClassVar[str] = "spline_continuum"

    def __post_init__(self) -> None:
        _check_unit(self.unit)
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise SlamError(f"the continuum spline has a scale of {self.scale}; give one above 0, as in spline:60nm")
        if not 0 <= self.percentile < 100 or self.iterations < 0 or not self.bin_width > 0:
            raise SlamError("a spline continuum needs 0 <= percentile < 100, iterations >= 0 and bin_width > 0")

    def __call__(self, spectra: Spectra) -> Spectra:
        return divide(spectra, self.continuum(spectra))

    def continuum(self, spectra: Spectra) -> np.ndarray:
        """(N, P) the pseudo-continuum; NaN for a star with too few good pixels."""
        wave = spectra.wave * u.Unit(spectra.wave_unit).to(self.unit)
        bins = np.floor((wave - wave[0]) / self.bin_width).astype(int)
        out = np.full(spectra.flux.shape, np.nan, dtype=spectra.flux.dtype)
        for row, (flux, good) in enumerate(zip(spectra.flux, spectra.good, strict=True)):
            kept = good
            for _ in range(self.iterations + 1):
                if kept.sum() < 5:
                    break
                spline = self._smooth(wave, flux, kept)
                out[row] = spline
                kept = self._upper(flux - spline, good, bins)
        return out

    def _smooth(self, wave: np.ndarray, flux: np.ndarray, kept: np.ndarray) -> np.ndarray:
        spacing = (wave[-1] - wave[0]) / (wave.size - 1)
        penalty = (self.scale / (2 * np.pi)) ** 4 / spacing
        at = wave[kept]
        spline = make_smoothing_spline(at, flux[kept].astype(np.float64), lam=penalty)
        # beyond the last kept pixel hold the end value: a cubic running away would fake a continuum
        return np.asarray(spline(np.clip(wave, at[0], at[-1])))

    def _upper(self, residual: np.ndarray, good: np.ndarray, bins: np.ndarray) -> np.ndarray:
        kept = np.zeros_like(good)
        for number in range(bins[-1] + 1):
            here = good & (bins == number)
            if here.any():
                kept |= here & (residual >= np.percentile(residual[here], self.percentile))
        return kept

    def __str__(self) -> str:
        return (
            f"continuum: smoothing spline, half gain at {self.scale:g} {self.unit}, {self.iterations} iterations "
            f"above the {self.percentile:g}th percentile of {self.bin_width:g} {self.unit} bins"
        )


def divide(spectra: Spectra, continuum: np.ndarray) -> Spectra:
    """Flux over continuum, ivar times its square; pixels where the continuum is not positive become bad."""
    sound = np.isfinite(continuum) & (continuum > 0)
    safe = np.where(sound, continuum, 1).astype(spectra.flux.dtype)
    ivar = np.where(sound, spectra.ivar * np.square(safe.astype(np.float64)), 0)
    # a stated error stays stated: inf means that none is
    largest = np.finfo(spectra.ivar.dtype).max
    ivar = np.where(np.isfinite(spectra.ivar), np.minimum(ivar, largest), ivar)
    return spectra.with_arrays(spectra.flux / safe, ivar.astype(spectra.ivar.dtype))
