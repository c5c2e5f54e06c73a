"""Pseudo-continua by which spectra are divided: Gaussian smoothing and smoothing splines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from astropy import units as u
from scipy.interpolate import make_smoothing_spline

from slamjax.errors import SlamError
from slamjax.preprocessing.arms import Arms, Continuum, ContinuumByArm
from slamjax.preprocessing.steps import set_lengths
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.spectra import Spectra

#: Pixels whose continuum is computed at once: few of their weights are beyond the cut-off.
_BLOCK = 256
#: Most weights of a smoothing matrix that is kept for the next spectra.
_MOST_KEPT = 2**23
#: Spectra that are smoothed at once.
_ROWS = 16
#: A smoothed pixel with less weight than this on good pixels has no continuum.
_MIN_WEIGHT = 1e-6
#: Standard deviations at which the Gaussian is cut off.
_CUTOFF = 7.0
#: A continuum of order 4 differs from that of order 2 by at most this factor.
_WITHIN = 2.0
#: Pixels, those near them, and the weights of the latter for each of the former, of second order and of fourth.
Weights = tuple[slice, slice, np.ndarray, np.ndarray | None]
#: Fewer pixels than this do not determine a smoothing spline.
_MIN_SPLINE_PIXELS = 5


@dataclass(frozen=True)
class GaussianContinuum(ContinuumByArm):
    """Divide by the spectrum smoothed with a Gaussian.

    c(λ) = Σ_j g_j Δλ_j f_j G(λ − λ_j) / Σ_j g_j Δλ_j G(λ − λ_j), with G of standard deviation ``sigma`` and g = 1 for
    good pixels, 0 for bad ones (the pseudo-continuum of Ho et al. 2017, ApJ 836, 5, eq. 1, with masks instead of ivar
    as weights, so that it does not depend on S/N).

    A response of the instrument that is smooth over some ``sigma`` cancels in f / c but for its curvature:
    (R f) / c(R f) ≈ f / c(f) (1 − σ² R″ / 2R). With ``order=4`` the weights are G(u) (3 − u²) / 2, u = (λ − λ_j) / σ
    (the Gaussian kernel of fourth order; Wand & Schucany 1990, Can. J. Stat. 18, 197), which have no second moment, so
    that the curvature cancels as well; and the bias at the ends of a sloping spectrum is halved. These weights are
    negative beyond √3 σ: the continuum is kept within a factor of two of the plain Gaussian's.

    Parameters
    ----------
    sigma : float or Quantity
        Standard deviation, in ``unit``.
    unit : str
        Needed unless Quantities bring it.
    arms : sequence of (low, high)
        Wavelength ranges, in ``unit``, with separate continua; pixels outside them become bad.
    order : 2 or 4
        Of the kernel. The short form ``gaussian:50nm`` has 4.

    Raises
    ------
    SlamError
        If the width is not positive, the order is another, or the arms overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import GaussianContinuum
    >>> flat = Spectra(np.linspace(400, 500, 5), np.full((1, 5), 3.0), wave_unit="nm")
    >>> GaussianContinuum(50.0, "nm")(flat).flux
    array([[1., 1., 1., 1., 1.]])
    """

    sigma: float
    unit: str = ""
    arms: Arms = ()
    order: int = 2
    name: ClassVar[str] = "gaussian_continuum"

    def __post_init__(self) -> None:
        set_lengths(self, "sigma", "arms")
        self._check_arms()
        if not (np.isfinite(self.sigma) and self.sigma > 0):
            raise SlamError(
                f"the Gaussian continuum has a width of {self.sigma}; give one above 0, as in gaussian:50nm"
            )

        if self.order not in (2, 4):
            raise SlamError(f"the Gaussian continuum has order {self.order}; give 2 or 4")

    def _continuum(self, spectra: Spectra) -> Continuum:
        wave = spectra.wave
        sigma = self.sigma * length_unit(self.unit).to(spectra.wave_unit)
        flux = np.where(spectra.good, spectra.flux, spectra.flux.dtype.type(0))
        mask = spectra.good.astype(flux.dtype)
        out = np.empty_like(flux)
        for block, near, second, correction in _smoothing(wave, sigma, self.order == 4):
            smooth = _mean(flux[:, near], mask[:, near], second)
            if correction is not None:
                fourth = _mean(flux[:, near], mask[:, near], correction)
                smooth = np.where(np.isfinite(fourth), np.clip(fourth, smooth / _WITHIN, smooth * _WITHIN), smooth)
            out[:, block] = smooth
        return out

    def __str__(self) -> str:
        order = " and fourth order" if self.order == 4 else ""
        return f"continuum: Gaussian of standard deviation {self.sigma:g} {self.unit}{order}{self._describe_arms()}"


def _smoothing(wave: np.ndarray, sigma: float, fourth_order: bool) -> Iterable[Weights]:
    """Blocks of pixels and their weights, made once for pixels whose smoothing matrix is not too large to keep."""
    near = np.searchsorted(wave, wave + _CUTOFF * sigma) - np.searchsorted(wave, wave - _CUTOFF * sigma)
    if (1 + fourth_order) * float(np.sum(near + _BLOCK)) > _MOST_KEPT:
        return _weights(wave, sigma, fourth_order)
    return _kept(wave.tobytes(), str(wave.dtype), sigma, fourth_order)


@lru_cache(maxsize=4)
def _kept(wave: bytes, dtype: str, sigma: float, fourth_order: bool) -> tuple[Weights, ...]:
    return tuple(_weights(np.frombuffer(wave, dtype), sigma, fourth_order))


def _weights(wave: np.ndarray, sigma: float, fourth_order: bool) -> Iterator[Weights]:
    width = np.gradient(wave) if wave.size > 1 else np.ones(1)
    for start in range(0, wave.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        ends = wave[block][0] - _CUTOFF * sigma, wave[block][-1] + _CUTOFF * sigma
        near = slice(*np.searchsorted(wave, ends))
        square = np.square((wave[near, None] - wave[None, block]) / sigma)
        weights = np.exp(-0.5 * square) * width[near, None]
        weights /= weights.sum(axis=0)
        correction = weights * (1.5 - 0.5 * square) if fourth_order else None
        yield block, near, weights, correction


def _mean(flux: np.ndarray, mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N, Q) means of good pixels with weights (P, Q); NaN where these are too small.

    Sums are in float64, and products have one shape, whose last rows may not be used: otherwise the last digit depends
    on how many spectra there are.
    """
    n = len(flux)
    out = np.empty((n, weights.shape[1]), flux.dtype)
    rows = np.zeros((2 * _ROWS, flux.shape[1]))
    for start in range(0, n, _ROWS):
        count = min(_ROWS, n - start)
        for half, values in enumerate((flux, mask)):
            rows[half * _ROWS : half * _ROWS + count] = values[start : start + count]
        total = rows @ weights
        weight = total[_ROWS : _ROWS + count]
        enough = weight > _MIN_WEIGHT
        out[start : start + count] = np.where(enough, total[:count] / np.where(enough, weight, 1), np.nan)
    return out


@dataclass(frozen=True)
class SplineContinuum(ContinuumByArm):
    """Divide by a smoothing spline fitted iteratively to the upper part of the flux.

    A cubic smoothing spline, min Σ w (f − s)² + λ ∫ s''², is fitted; in every bin the pixels whose residuals lie above
    a percentile are kept, and the spline is fitted to those again (Zhang, Liu & Deng 2020, section 3.2). The penalty is
    λ = (scale / 2π)⁴ / Δλ. A percentile above 50 follows the noise upwards in faint spectra, so this continuum depends
    on S/N.

    Parameters
    ----------
    scale : float or Quantity
        Wavelength, in ``unit``, at which the spline follows half the amplitude of a sine wave.
    unit : str
        Needed unless Quantities bring it.
    iterations : int
    percentile : float
        Of the residuals in a bin, 0 to 100.
    bin_width : float or Quantity
        In ``unit``; by default 10 nm.
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
    >>> flat = Spectra(np.linspace(400, 500, 11), np.full((1, 11), 3.0), wave_unit="nm")
    >>> SplineContinuum(60.0, "nm")(flat).flux.round(6)
    array([[1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.]])
    """

    scale: float
    unit: str = ""
    iterations: int = 3
    percentile: float = 50.0
    bin_width: float | None = None
    arms: Arms = ()
    name: ClassVar[str] = "spline_continuum"

    def __post_init__(self) -> None:
        set_lengths(self, "scale", "bin_width", "arms")
        ten_nm = float((10 * u.nm).to_value(length_unit(self.unit)))
        width = ten_nm if self.bin_width is None else self.bin_width
        object.__setattr__(self, "bin_width", width)
        self._check_arms()
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise SlamError(f"the continuum spline has a scale of {self.scale}; give one above 0, as in spline:60nm")
        if not 0 <= self.percentile < 100 or self.iterations < 0 or not width > 0:
            raise SlamError("a spline continuum needs 0 <= percentile < 100, iterations >= 0 and bin_width > 0")

    def _continuum(self, spectra: Spectra) -> Continuum:
        wave = spectra.wave * spectra.wave_unit.to(length_unit(self.unit))
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
            f"{self._describe_arms()}"
        )
