"""Continua that spectra are divided by."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from astropy import units as u
from numpy.polynomial import chebyshev
from scipy.interpolate import make_smoothing_spline

from slamjax.errors import SlamError
from slamjax.preprocessing.steps import check_unit
from slamjax.spectra.spectra import Spectra

_BLOCK = 1024  # pixels of continuum computed at once: bounds the smoothing matrix

#: Pieces of the spectrum with continua of their own, as pairs of wavelengths: arms of a spectrograph, chips.
Arms = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class GaussianContinuum:
    """Divide by the spectrum smoothed with a Gaussian.

    c(λ) = Σ_j g_j Δλ_j f_j G(λ − λ_j) / Σ_j g_j Δλ_j G(λ − λ_j), with G of standard deviation ``sigma`` and g = 1 for
    good pixels, else 0 (the pseudo-continuum of Ho et al. 2017, ApJ 836, 5, eq. 1, with masks instead of ivar as
    weights: so it does not depend on S/N).
    """

    sigma: float
    unit: str = "nm"
    arms: Arms = ()
    name: ClassVar[str] = "gaussian_continuum"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        object.__setattr__(self, "arms", checked_arms(self.arms))
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise SlamError(
                f"the continuum's Gaussian has a width of {self.sigma}; give one above 0, as in gaussian:50nm"
            )

    def __call__(self, spectra: Spectra) -> Spectra:
        return divide(spectra, self.continuum(spectra))

    def continuum(self, spectra: Spectra) -> np.ndarray:
        """(N, P) the pseudo-continuum; NaN where no good pixel is near."""
        return by_arm(spectra, self.arms, self.unit, self._of_arm)

    def _of_arm(self, spectra: Spectra) -> np.ndarray:
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
        return f"continuum: Gaussian of standard deviation {self.sigma:g} {self.unit}{said_arms(self.arms, self.unit)}"


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
    arms: Arms = ()
    name: ClassVar[str] = "spline_continuum"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        object.__setattr__(self, "arms", checked_arms(self.arms))
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise SlamError(f"the continuum spline has a scale of {self.scale}; give one above 0, as in spline:60nm")
        if not 0 <= self.percentile < 100 or self.iterations < 0 or not self.bin_width > 0:
            raise SlamError("a spline continuum needs 0 <= percentile < 100, iterations >= 0 and bin_width > 0")

    def __call__(self, spectra: Spectra) -> Spectra:
        return divide(spectra, self.continuum(spectra))

    def continuum(self, spectra: Spectra) -> np.ndarray:
        """(N, P) the pseudo-continuum; NaN for a star with too few good pixels."""
        return by_arm(spectra, self.arms, self.unit, self._of_arm)

    def _of_arm(self, spectra: Spectra) -> np.ndarray:
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
            f"{said_arms(self.arms, self.unit)}"
        )


@dataclass(frozen=True)
class ChebyshevContinuum:
    """Divide by a Chebyshev polynomial through continuum pixels, as Ness et al. do (2015, ApJ 808, 16, section 2.3).

    ``pixels`` are wavelengths at which spectra show their continuum; training finds them from its own stars where none
    are given (`learn`): in each of ``n_bins`` pieces of the range the ``share`` of pixels that are high in the median
    star and vary least between stars. Good continuum pixels weigh the same, whatever their errors, so this continuum
    does not depend on S/N but by chance.
    """

    degree: int
    share: float = 0.1
    n_bins: int = 20
    unit: str = "nm"
    arms: Arms = ()
    pixels: tuple[float, ...] = ()
    name: ClassVar[str] = "chebyshev_continuum"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        object.__setattr__(self, "arms", checked_arms(self.arms))
        object.__setattr__(self, "pixels", tuple(float(pixel) for pixel in self.pixels))
        if self.degree < 0 or self.n_bins < 1 or not 0 < self.share <= 1:
            raise SlamError("a Chebyshev continuum needs degree >= 0, n_bins >= 1 and 0 < share <= 1")

    def __call__(self, spectra: Spectra) -> Spectra:
        return divide(spectra, self.continuum(spectra))

    def learn(self, spectra: Spectra) -> ChebyshevContinuum:
        """The same step with continuum pixels found in these stars, if it has none."""
        if self.pixels:
            return self
        found = by_arm(spectra, self.arms, self.unit, self._scores)
        scores = found[0] if len(found) else np.full(spectra.n_pix, np.nan)
        taken = np.zeros(spectra.n_pix, dtype=bool)
        for places in np.array_split(np.arange(spectra.n_pix), min(self.n_bins, spectra.n_pix)):
            known = places[np.isfinite(scores[places])]
            best = known[np.argsort(scores[known], kind="stable")]
            taken[best[: int(np.ceil(self.share * len(known)))]] = True
        if not taken.any():
            raise SlamError(f"{spectra.source} shows no continuum pixels: hardly a pixel is good; give them as pixels")
        wave = spectra.wave[taken] * u.Unit(spectra.wave_unit).to(self.unit)
        return replace(self, pixels=tuple(wave.tolist()))

    def _scores(self, spectra: Spectra) -> np.ndarray:
        """(1, P) how far below the top of its bin a pixel lies in the median star, and its scatter over stars."""
        smooth = GaussianContinuum((spectra.wave[-1] - spectra.wave[0]) / 10 or 1.0, str(spectra.wave_unit))(spectra)
        flux = np.where(smooth.good, smooth.flux, np.nan)
        scores = np.full(spectra.n_pix, np.nan)
        seen = smooth.good.sum(axis=0) > 0.5 * len(spectra)
        middle = np.median(flux[:, seen], axis=0) if smooth.good[:, seen].all() else np.nanmedian(flux[:, seen], axis=0)
        scatter = 1.4826 * np.nanmedian(np.abs(flux[:, seen] - middle), axis=0)
        scores[seen] = scatter - middle
        return scores[None]

    def continuum(self, spectra: Spectra) -> np.ndarray:
        """(N, P) the polynomial; NaN for a star with fewer good continuum pixels than coefficients."""
        if not self.pixels:
            raise SlamError(
                "the Chebyshev continuum has no continuum pixels yet; training finds them, or give them as pixels"
            )
        return by_arm(spectra, self.arms, self.unit, self._of_arm)

    def _of_arm(self, spectra: Spectra) -> np.ndarray:
        wave = spectra.wave * u.Unit(spectra.wave_unit).to(self.unit)
        near = np.clip(np.searchsorted(wave, self.pixels), 1, max(wave.size - 1, 1)) if wave.size > 1 else None
        is_continuum = np.zeros(wave.size, dtype=bool)
        if near is None:
            is_continuum[:] = True
        else:
            at = np.asarray(self.pixels)
            near = np.where(np.abs(wave[near - 1] - at) <= np.abs(wave[near] - at), near - 1, near)
            is_continuum[near[(at >= wave[0] - 1e-6) & (at <= wave[-1] + 1e-6)]] = True
        span = (wave[-1] - wave[0]) or 1.0
        basis = chebyshev.chebvander(2 * (wave - wave[0]) / span - 1, self.degree)
        weight = (spectra.good & is_continuum).astype(float)
        out = np.full(spectra.flux.shape, np.nan)
        enough = weight.sum(axis=1) > self.degree
        flux = np.where(weight > 0, spectra.flux, 0).astype(float)
        unit = np.abs(flux).max(axis=1, initial=0)
        unit = np.where(unit > 0, unit, 1)
        gram = np.einsum("np,pd,pe->nde", weight[enough], basis, basis, optimize=True)
        along = (flux[enough] / unit[enough, None] * weight[enough]) @ basis
        tiny = 1e-12 * np.trace(gram, axis1=1, axis2=2)
        gram += tiny[:, None, None] * np.eye(self.degree + 1)
        coefficients = np.linalg.solve(gram, along[..., None])[..., 0]
        out[enough] = unit[enough, None] * (coefficients @ basis.T)
        return out.astype(spectra.flux.dtype)

    def __str__(self) -> str:
        found = f"{len(self.pixels)} continuum pixels" if self.pixels else "continuum pixels yet to be found"
        return (
            f"continuum: Chebyshev polynomial of degree {self.degree} through {found}{said_arms(self.arms, self.unit)}"
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


def checked_arms(arms: Any) -> Arms:
    """Pairs of rising wavelengths, apart from each other."""
    pairs = tuple((float(low), float(high)) for low, high in arms)
    flat = [edge for pair in pairs for edge in pair]
    if any(not a < b for a, b in itertools.pairwise(flat)):
        raise SlamError(f"the arms {pairs} of a continuum must be pairs of rising wavelengths that do not overlap")
    return pairs


def by_arm(spectra: Spectra, arms: Arms, unit: str, continuum: Callable[[Spectra], np.ndarray]) -> np.ndarray:
    """The continuum of each arm by itself, NaN between arms; of the whole spectrum where there are no arms."""
    if not arms:
        return continuum(spectra)
    wave = spectra.wave * u.Unit(spectra.wave_unit).to(unit)
    parts = [np.flatnonzero((wave >= low) & (wave <= high)) for low, high in arms]
    found = [(part, continuum(spectra.on_pixels(part))) for part in parts if part.size]
    if not found:
        raise SlamError(f"no pixel of {spectra.source} lies in an arm of the continuum{said_arms(arms, unit)}")
    out = np.full((len(found[0][1]), spectra.n_pix), np.nan, spectra.flux.dtype)
    for part, values in found:
        out[:, part] = values
    return out


def said_arms(arms: Arms, unit: str) -> str:
    return "".join([", in arms ", ", ".join(f"{low:g}-{high:g}" for low, high in arms), f" {unit}"]) if arms else ""
