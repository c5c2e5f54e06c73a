"""DESI coadds: many spectra per file, in three arms that overlap.

https://desidatamodel.readthedocs.io/en/latest/DESI_SPECTRO_REDUX/SPECPROD/healpix/SURVEY/PROGRAM/PIXGROUP/PIXNUM/\
coadd-SURVEY-PROGRAM-PIXNUM.html: images B_, R_ and Z_ FLUX, IVAR and MASK, one row per target, on a common grid of
0.8 Å steps, vacuum, barycentric; FIBERMAP and SCORES with one row per target. ``spectra`` files have the same layout
with one row per exposure. Images B_, R_ and Z_RESOLUTION have the diagonals of each row's resolution matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.base import FLUX_UNIT, Loader, SurveySpectra, apply_mask, survey_spectra, table_metadata
from slamjax.spectra.line_spread import FWHM

_ARMS = "BRZ"
#: Weight of a bad pixel's line width, beside inverse variances of good ones.
_LEAST = 1e-12
#: Steps by which a wavelength may differ from the common grid.
_TOLERANCE = 1e-3


def _is_desi(hdus: fits.HDUList) -> bool:
    return "FIBERMAP" in hdus and any(f"{arm}_FLUX" in hdus and f"{arm}_WAVELENGTH" in hdus for arm in _ARMS)


def _desi(hdus: fits.HDUList) -> SurveySpectra:
    """All targets of the file; the mean weighted with ivar where arms overlap, bad pixels where no arm has data."""
    arms = [arm for arm in _ARMS if f"{arm}_FLUX" in hdus]
    waves = [np.asarray(hdus[f"{arm}_WAVELENGTH"].data, float) for arm in arms]
    flux, ivar, mask = (
        np.concatenate([np.asarray(hdus[f"{arm}_{name}"].data) for arm in arms], axis=1)
        for name in ("FLUX", "IVAR", "MASK")
    )
    ivar, ignored = apply_mask(mask, ivar, bitmasks.DESI)
    flux = np.where(ivar > 0, flux, 0).astype(float)
    first, step = min(wave[0] for wave in waves), float(np.median(np.diff(waves[0])))
    steps = (np.concatenate(waves) - first) / step
    pixels = np.round(steps).astype(int)
    if np.abs(steps - pixels).max() > _TOLERANCE:
        raise SlamError("has arms that share no wavelength grid; it is damaged, or of another kind")
    mean_flux, total_ivar = np.zeros((2, len(flux), pixels.max() + 1))
    widths = _Widths(np.zeros(mean_flux.shape), np.zeros(mean_flux.shape))
    start = 0
    for name, wave in zip(arms, waves, strict=True):
        arm = slice(start, start + len(wave))
        if f"{name}_RESOLUTION" in hdus:
            widths.add(pixels[arm], step, hdus[f"{name}_RESOLUTION"].data, ivar[:, arm])
        total_ivar[:, pixels[arm]] += ivar[:, arm]
        mean_flux[:, pixels[arm]] += ivar[:, arm] * flux[:, arm]
        start += len(wave)
    mean_flux /= np.where(total_ivar > 0, total_ivar, 1)
    grid = first + step * np.arange(mean_flux.shape[1])
    metadata = _metadata(hdus) | {"mask_ignored": ignored}
    details = {"fwhm": widths.mean(), "flux_unit": FLUX_UNIT}
    return survey_spectra(grid, mean_flux, total_ivar, "desi", "observed", metadata, **details)


@dataclass(frozen=True, eq=False)
class _Widths:
    """Sums of line widths of arms, and of their weights, on the common grid."""

    total: np.ndarray
    weight: np.ndarray

    def add(self, pixels: np.ndarray, step: float, bands: Any, ivar: np.ndarray) -> None:
        """Those of an arm; where pixels of one arm only are good, only these count."""
        shape = np.shape(bands)
        if len(shape) != 3 or (shape[0], shape[2]) != ivar.shape or shape[1] > shape[2]:
            raise SlamError(f"has resolution matrices of shape {shape} and flux of {ivar.shape}; it is damaged")
        fwhm = step * widths_of_bands(np.asarray(bands))
        known = np.isfinite(fwhm)
        weight = np.where(known, np.maximum(ivar, _LEAST), 0)
        self.weight[:, pixels] += weight
        self.total[:, pixels] += weight * np.where(known, fwhm, 0)

    def mean(self) -> np.ndarray | None:
        """(N, P), NaN where no arm states one; None if none does."""
        known = self.weight > 0
        return np.where(known, self.total / np.where(known, self.weight, 1), np.nan) if known.any() else None


def widths_of_bands(bands: Float[np.ndarray, "star band pixel"]) -> Float[np.ndarray, "star pixel"]:
    """(N, P) FWHM in pixels of resolution matrices (N, K, P), of which K diagonals are kept; NaN where they are 0.

    A matrix R takes a spectrum of perfect resolution to the observed one; element ``[k, j]`` of its bands is
    R[j − o_k, j] with offsets o = K // 2, …, −K // 2 (desispec.resolution). The width of row i is that of the Gaussian
    with the same Σ_j R_ij², 1 / (2 √π σ) for rows whose sum is 1: faint wings of the profile hardly change it.
    Rows that the end of the arm cuts have the width of the nearest one that is whole.
    """
    bands = np.asarray(bands, float)
    _, n, n_pix = bands.shape
    total, square = np.zeros((2, len(bands), n_pix))
    for k, offset in enumerate(range(n // 2, n // 2 - n, -1)):
        rows = slice(max(0, -offset), n_pix - max(0, offset))
        columns = slice(max(0, offset), n_pix - max(0, -offset))
        total[:, rows] += bands[:, k, columns]
        square[:, rows] += np.square(bands[:, k, columns])
    known = (square > 0) & (total > 0)
    sigma = np.square(total) / (2 * np.sqrt(np.pi) * np.where(known, square, 1))
    whole = np.clip(np.arange(n_pix), (n - 1) // 2, n_pix - 1 - n // 2)
    return np.where(known, FWHM * sigma, np.nan)[:, whole]


def _metadata(hdus: fits.HDUList) -> dict[str, Any]:
    metadata = table_metadata(
        hdus["FIBERMAP"], targetid="targetid", ra="target_ra", dec="target_dec", objtype="objtype",
        fiberstatus=("coadd_fiberstatus", "fiberstatus"), ref_id="ref_id", mjd="mjd",
    )  # fmt: skip
    metadata = {"id": metadata["targetid"].astype(str)} | metadata
    if "SCORES" in hdus:
        metadata |= table_metadata(hdus["SCORES"], **{f"snr_{arm.lower()}": f"median_coadd_snr_{arm}" for arm in _ARMS})
    return metadata


LOADERS: dict[str, Loader] = {"desi": (_is_desi, _desi)}
