"""A pseudo-continuum by which spectra are divided: a polynomial through continuum pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.polynomial import chebyshev

from slamjax.errors import SlamError
from slamjax.preprocessing.arms import Arms, Continuum, ContinuumByArm
from slamjax.preprocessing.continuum import GaussianContinuum
from slamjax.preprocessing.steps import set_lengths
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.spectra import Spectra

#: Ridge, relative to the trace, that keeps the normal equations regular.
_RIDGE = 1e-12
#: A polynomial of more coefficients is no continuum.
_MOST_DEGREE = 100


@dataclass(frozen=True)
class ChebyshevContinuum(ContinuumByArm):
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
        Needed for arms and pixels, unless they are Quantities; pixels that training finds are in that of the spectra.
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
    unit: str = ""
    arms: Arms = ()
    pixels: Sequence[float] = ()
    name: ClassVar[str] = "chebyshev_continuum"

    def __post_init__(self) -> None:
        set_lengths(self, "arms", "pixels", needed=len(self.arms) + len(self.pixels) > 0)
        self._check_arms()
        object.__setattr__(self, "pixels", tuple(float(pixel) for pixel in self.pixels))
        if not 0 <= self.degree <= _MOST_DEGREE or self.n_bins < 1 or not 0 < self.share <= 1:
            raise SlamError(f"a Chebyshev continuum needs degree 0 to {_MOST_DEGREE}, n_bins >= 1 and 0 < share <= 1")

    def learn(self, spectra: Spectra) -> ChebyshevContinuum:
        """The same step with continuum pixels from these training spectra, if it has none yet."""
        if self.pixels:
            return self
        rows = self._by_arm(spectra, self._scores)
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
        unit = self.unit or str(spectra.wave_unit)
        wave = spectra.wave[chosen] * spectra.wave_unit.to(length_unit(unit))
        return replace(self, unit=unit, pixels=tuple(wave.tolist()))

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
        return super().continuum(spectra)

    def _continuum(self, spectra: Spectra) -> Continuum:
        wave = spectra.wave * spectra.wave_unit.to(length_unit(self.unit))
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
        arms = self._describe_arms()
        return f"continuum: Chebyshev polynomial of degree {self.degree} through {pixels}{arms}"
