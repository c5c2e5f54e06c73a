"""Pseudo-continua by which spectra are divided."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from astropy import units as u
from jaxtyping import Float
from numpy.polynomial import chebyshev
from scipy.interpolate import make_smoothing_spline

from slamjax.errors import SlamError
from slamjax.preprocessing.steps import check_length_unit
from slamjax.spectra.spectra import Spectra

#: Pixels whose continuum is computed at once; bounds the memory of the smoothing matrix.
_BLOCK = 1024
#: A smoothed pixel with less weight than this on good pixels has no continuum.
_MIN_WEIGHT = 1e-6
#: Fewer pixels than this do not determine a smoothing spline.
_MIN_SPLINE_PIXELS = 5
#: Ridge, relative to the trace, that keeps the normal equations of the polynomial regular.
_RIDGE = 1e-12

#: Parts of the spectrum, as pairs (low, high) of wavelengths, with separate continua: arms of a spectrograph, chips.
Arms = tuple[tuple[float, float], ...]
Continuum = Float[np.ndarray, "star pixel"]


@dataclass(frozen=True)
class GaussianContinuum:
    """Divide by the spectrum smoothed with a Gaussian.

    c(λ) = Σ_j g_j Δλ_j f_j G(λ − λ_j) / Σ_j g_j Δλ_j G(λ − λ_j), with G of standard deviation ``sigma`` and g = 1 for
    good pixels, 0 for bad ones (the pseudo-continuum of Ho et al. 2017, ApJ 836, 5, eq. 1, with masks instead of ivar
    as weights, so that it does not depend on S/N).

    Parameters
    ----------
    sigma : float
        Standard deviation, in ``unit``.
    unit : str
    arms : sequence of (low, high)
        Wavelength ranges, in ``unit``, with separate continua; pixels outside them become bad.

    Raises
    ------
    SlamError
        If the width is not positive or the arms overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import GaussianContinuum
    >>> flat = Spectra(np.linspace(400, 500, 5), np.full((1, 5), 3.0))
    >>> GaussianContinuum(50.0)(flat).flux
    array([[1., 1., 1., 1., 1.]])
    """

    sigma: float
    unit: str = "nm"
    arms: Arms = ()
    name: ClassVar[str] = "gaussian_continuum"

    def __post_init__(self) -> None:
        check_length_unit(self.unit)
        object.__setattr__(self, "arms", checked_arms(self.arms))
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise SlamError(
                f"the Gaussian continuum has a width of {self.sigma}; give one above 0, as in gaussian:50nm"
            )

    def __call__(self, spectra: Spectra) -> Spectra:
        return divide(spectra, self.continuum(spectra))

    def continuum(self, spectra: Spectra) -> Continuum:
        """(N, P) the pseudo-continuum; NaN where there is no good pixel nearby."""
        return by_arm(spectra, self.arms, self.unit, self._continuum)

    def _continuum(self, spectra: Spectra) -> Continuum:
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
            out[:, block] = np.where(
                weight > _MIN_WEIGHT, flux @ smooth / np.where(weight > _MIN_WEIGHT, weight, 1), np.nan
            )
        return out

    def __str__(self) -> str:
        return (
            f"continuum: Gaussian of standard deviation {self.sigma:g} {self.unit}{describe_arms(self.arms, self.unit)}"
        )


@dataclass(frozen=True)
class SplineContinuum:
    """Divide by a smoothing spline fitted iteratively to the upper part of the flux.

    A cubic smoothing spline, min Σ w (f − s)² + λ ∫ s''², is fitted; in every bin the pixels whose residuals lie above
    a percentile are kept, and the spline is fitted to those again (Zhang, Liu & Deng 2020, section 3.2). The penalty is
    λ = (scale / 2π)⁴ / Δλ. A percentile above 50 follows the noise upwards in faint spectra, so this continuum depends
    on S/N.

    Parameters
    ----------
    scale : float
        Wavelength, in ``unit``, at which the spline follows half the amplitude of a sine wave.
    unit : str
    iterations : int
    percentile : float
        Of the residuals in a bin, 0 to 100.
    bin_width : float
        In ``unit``.
    arms : sequence of (low, high)
        Wavelength ranges, in ``unit``, with separate continua; pixels outside them become bad.

    Raises
    ------
    SlamError
        If a value is out of range or the arms overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import SplineContinuum
    >>> flat = Spectra(np.linspace(400, 500, 11), np.full((1, 11), 3.0))
    >>> SplineContinuum(60.0)(flat).flux.round(6)
    array([[1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.]])
    """

    scale: float
    unit: str = "nm"
    iterations: int = 3
    percentile: float = 50.0
    bin_width: float = 10.0
    arms: Arms = ()
    name: ClassVar[str] = "spline_continuum"

    def __post_init__(self) -> None:
        check_length_unit(self.unit)
        object.__setattr__(self, "arms", checked_arms(self.arms))
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise SlamError(f"the continuum spline has a scale of {self.scale}; give one above 0, as in spline:60nm")
        if not 0 <= self.percentile < 100 or self.iterations < 0 or not self.bin_width > 0:
            raise SlamError("a spline continuum needs 0 <= percentile < 100, iterations >= 0 and bin_width > 0")

    def __call__(self, spectra: Spectra) -> Spectra:
        return divide(spectra, self.continuum(spectra))

    def continuum(self, spectra: Spectra) -> Continuum:
        """(N, P) the pseudo-continuum; NaN for spectra with too few good pixels."""
        return by_arm(spectra, self.arms, self.unit, self._continuum)

    def _continuum(self, spectra: Spectra) -> Continuum:
        wave = spectra.wave * u.Unit(spectra.wave_unit).to(self.unit)
        bins = np.floor((wave - wave[0]) / self.bin_width).astype(int)
        out = np.full(spectra.flux.shape, np.nan, dtype=spectra.flux.dtype)
        for row, (flux, good) in enumerate(zip(spectra.flux, spectra.good, strict=True)):
            kept = good
            for _ in range(self.iterations + 1):
                if kept.sum() < _MIN_SPLINE_PIXELS:
                    break
                spline = self._smooth(wave, flux, kept)
                out[row] = spline
                kept = self._upper(flux - spline, good, bins)
        return out

    def _smooth(self, wave: np.ndarray, flux: np.ndarray, kept: np.ndarray) -> np.ndarray:
        spacing = (wave[-1] - wave[0]) / (wave.size - 1)
        penalty = (self.scale / (2 * np.pi)) ** 4 / spacing
        fitted = wave[kept]
        spline = make_smoothing_spline(fitted, flux[kept].astype(np.float64), lam=penalty)
        # constant beyond the last fitted pixel: an extrapolated cubic diverges
        return np.asarray(spline(np.clip(wave, fitted[0], fitted[-1])))

    def _upper(self, residual: np.ndarray, good: np.ndarray, bins: np.ndarray) -> np.ndarray:
        kept = np.zeros_like(good)
        for number in range(bins[-1] + 1):
            in_bin = good & (bins == number)
            if in_bin.any():
                kept |= in_bin & (residual >= np.percentile(residual[in_bin], self.percentile))
        return kept

    def __str__(self) -> str:
        return (
            f"continuum: smoothing spline, half gain at {self.scale:g} {self.unit}, {self.iterations} iterations "
            f"above the {self.percentile:g}th percentile of {self.bin_width:g} {self.unit} bins"
            f"{describe_arms(self.arms, self.unit)}"
        )


@dataclass(frozen=True)
class ChebyshevContinuum:
    """Divide by a Chebyshev polynomial fitted to continuum pixels (Ness et al. 2015, ApJ 808, 16, section 2.3).

    Continuum pixels are found by training (`learn`) unless they are given: in each of ``n_bins`` bins of wavelength,
    the fraction ``share`` of pixels that are highest in the median star and vary least between stars. All good
    continuum pixels have the same weight, whatever their errors, so the continuum has no systematic dependence on S/N.

    Parameters
    ----------
    degree : int
    share : float
        Fraction of the pixels, above 0 and at most 1.
    n_bins : int
    unit : str
    arms : sequence of (low, high)
        Wavelength ranges, in ``unit``, with separate continua; pixels outside them become bad.
    pixels : sequence of float
        Wavelengths of continuum pixels, in ``unit``.

    Raises
    ------
    SlamError
        If a value is out of range or the arms overlap; when applied, if there are no continuum pixels yet.

    Examples
    --------
    >>> import slamjax
    >>> from slamjax.preprocessing import ChebyshevContinuum
    >>> train, _ = slamjax.datasets.load_xp_giants()
    >>> continuum = ChebyshevContinuum(degree=4).learn(train)
    >>> len(continuum.pixels)
    40
    >>> print(continuum)
    continuum: Chebyshev polynomial of degree 4 through 40 continuum pixels
    """

    degree: int
    share: float = 0.1
    n_bins: int = 20
    unit: str = "nm"
    arms: Arms = ()
    pixels: tuple[float, ...] = ()
    name: ClassVar[str] = "chebyshev_continuum"

    def __post_init__(self) -> None:
        check_length_unit(self.unit)
        object.__setattr__(self, "arms", checked_arms(self.arms))
        object.__setattr__(self, "pixels", tuple(float(pixel) for pixel in self.pixels))
        if self.degree < 0 or self.n_bins < 1 or not 0 < self.share <= 1:
            raise SlamError("a Chebyshev continuum needs degree >= 0, n_bins >= 1 and 0 < share <= 1")

    def __call__(self, spectra: Spectra) -> Spectra:
        return divide(spectra, self.continuum(spectra))

    def learn(self, spectra: Spectra) -> ChebyshevContinuum:
        """The same step with continuum pixels from these training spectra, if it has none yet."""
        if self.pixels:
            return self
        rows = by_arm(spectra, self.arms, self.unit, self._scores)
        scores = rows[0] if len(rows) else np.full(spectra.n_pix, np.nan)
        chosen = np.zeros(spectra.n_pix, dtype=bool)
        for pixels in np.array_split(np.arange(spectra.n_pix), min(self.n_bins, spectra.n_pix)):
            scored = pixels[np.isfinite(scores[pixels])]
            best = scored[np.argsort(scores[scored], kind="stable")]
            chosen[best[: int(np.ceil(self.share * len(scored)))]] = True
        if not chosen.any():
            raise SlamError(
                f"no continuum pixels can be found in {spectra.source}, because too few pixels are good; give them as "
                "pixels"
            )
        wave = spectra.wave[chosen] * u.Unit(spectra.wave_unit).to(self.unit)
        return replace(self, pixels=tuple(wave.tolist()))

    def _scores(self, spectra: Spectra) -> np.ndarray:
        """(1, P) scatter over stars minus flux of the median star: low for continuum pixels; NaN where few are good."""
        smooth = GaussianContinuum((spectra.wave[-1] - spectra.wave[0]) / 10 or 1.0, str(spectra.wave_unit))(spectra)
        flux = np.where(smooth.good, smooth.flux, np.nan)
        scores = np.full(spectra.n_pix, np.nan)
        seen = smooth.good.sum(axis=0) > 0.5 * len(spectra)
        middle = np.median(flux[:, seen], axis=0) if smooth.good[:, seen].all() else np.nanmedian(flux[:, seen], axis=0)
        scatter = 1.4826 * np.nanmedian(np.abs(flux[:, seen] - middle), axis=0)
        scores[seen] = scatter - middle
        return scores[None]

    def continuum(self, spectra: Spectra) -> Continuum:
        """(N, P) the polynomial; NaN for spectra with fewer good continuum pixels than coefficients."""
        if not self.pixels:
            raise SlamError(
                "the Chebyshev continuum has no continuum pixels yet; training finds them, or give them as pixels"
            )
        return by_arm(spectra, self.arms, self.unit, self._continuum)

    def _continuum(self, spectra: Spectra) -> Continuum:
        wave = spectra.wave * u.Unit(spectra.wave_unit).to(self.unit)
        weight = (spectra.good & self._is_continuum(wave)).astype(float)
        span = (wave[-1] - wave[0]) or 1.0
        basis = chebyshev.chebvander(2 * (wave - wave[0]) / span - 1, self.degree)
        continuum = np.full(spectra.flux.shape, np.nan)
        enough = weight.sum(axis=1) > self.degree
        flux = np.where(weight > 0, spectra.flux, 0).astype(float)
        scale = np.abs(flux).max(axis=1, initial=0)
        scale = np.where(scale > 0, scale, 1)
        gram = np.einsum("np,pd,pe->nde", weight[enough], basis, basis, optimize=True)
        projection = (flux[enough] / scale[enough, None] * weight[enough]) @ basis
        ridge = _RIDGE * np.trace(gram, axis1=1, axis2=2)
        gram += ridge[:, None, None] * np.eye(self.degree + 1)
        coefficients = np.linalg.solve(gram, projection[..., None])[..., 0]
        continuum[enough] = scale[enough, None] * (coefficients @ basis.T)
        return continuum.astype(spectra.flux.dtype)

    def _is_continuum(self, wave: np.ndarray) -> np.ndarray:
        """(P,) bool: the pixels nearest to the continuum wavelengths within the range of ``wave``."""
        if wave.size == 1:
            return np.ones(1, dtype=bool)
        pixels = np.asarray(self.pixels)
        near = np.clip(np.searchsorted(wave, pixels), 1, wave.size - 1)
        near = np.where(np.abs(wave[near - 1] - pixels) <= np.abs(wave[near] - pixels), near - 1, near)
        is_continuum = np.zeros(wave.size, dtype=bool)
        is_continuum[near[(pixels >= wave[0] - 1e-6) & (pixels <= wave[-1] + 1e-6)]] = True
        return is_continuum

    def __str__(self) -> str:
        pixels = f"{len(self.pixels)} continuum pixels" if self.pixels else "continuum pixels yet to be found"
        arms = describe_arms(self.arms, self.unit)
        return f"continuum: Chebyshev polynomial of degree {self.degree} through {pixels}{arms}"


def divide(spectra: Spectra, continuum: Continuum) -> Spectra:
    """Flux divided by the continuum, ivar times its square; pixels without a positive continuum become bad."""
    valid = np.isfinite(continuum) & (continuum > 0)
    safe = np.where(valid, continuum, 1).astype(spectra.flux.dtype)
    ivar = np.where(valid, spectra.ivar * np.square(safe.astype(np.float64)), 0)
    # a known error must not overflow to inf, which means that none is known
    largest = np.finfo(spectra.ivar.dtype).max
    ivar = np.where(np.isfinite(spectra.ivar), np.minimum(ivar, largest), ivar)
    return spectra.with_arrays(spectra.flux / safe, ivar.astype(spectra.ivar.dtype))


def checked_arms(arms: Any) -> Arms:
    """Pairs (low, high) of wavelengths that do not overlap; raises SlamError otherwise."""
    pairs = tuple((float(low), float(high)) for low, high in arms)
    flat = [edge for pair in pairs for edge in pair]
    if any(not a < b for a, b in itertools.pairwise(flat)):
        raise SlamError(
            f"the arms {pairs} of a continuum must be pairs (low, high) of increasing wavelengths that do not overlap"
        )
    return pairs


def by_arm(spectra: Spectra, arms: Arms, unit: str, continuum: Callable[[Spectra], Continuum]) -> Continuum:
    """The continua of separate arms, NaN between them; that of the whole spectrum if there are no arms."""
    if not arms:
        return continuum(spectra)
    wave = spectra.wave * u.Unit(spectra.wave_unit).to(unit)
    pixels = [np.flatnonzero((wave >= low) & (wave <= high)) for low, high in arms]
    continua = [(arm, continuum(spectra.on_pixels(arm))) for arm in pixels if arm.size]
    if not continua:
        raise SlamError(f"no pixel of {spectra.source} lies in an arm of the continuum{describe_arms(arms, unit)}")
    out = np.full((len(continua[0][1]), spectra.n_pix), np.nan, spectra.flux.dtype)
    for arm, values in continua:
        out[:, arm] = values
    return out


def describe_arms(arms: Arms, unit: str) -> str:
    """The arms in words; empty without arms."""
    return "".join([", in arms ", ", ".join(f"{low:g}-{high:g}" for low, high in arms), f" {unit}"]) if arms else ""
