"""DESI coadds: many spectra per file, in three arms that overlap.

https://desidatamodel.readthedocs.io/en/latest/DESI_SPECTRO_REDUX/SPECPROD/healpix/SURVEY/PROGRAM/PIXGROUP/PIXNUM/\
coadd-SURVEY-PROGRAM-PIXNUM.html: images B_, R_ and Z_ FLUX, IVAR and MASK, one row per target, on a common grid of
0.8 Å steps, vacuum, barycentric; FIBERMAP and SCORES with one row per target. ``spectra`` files have the same layout
with one row per exposure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.base import FLUX_UNIT, Loader, SurveySpectra, apply_mask, survey_spectra, table_metadata

_ARMS = "BRZ"
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
    start = 0
    for wave in waves:
        arm = slice(start, start + len(wave))
        total_ivar[:, pixels[arm]] += ivar[:, arm]
        mean_flux[:, pixels[arm]] += ivar[:, arm] * flux[:, arm]
        start += len(wave)
    mean_flux /= np.where(total_ivar > 0, total_ivar, 1)
    grid = first + step * np.arange(mean_flux.shape[1])
    metadata = _metadata(hdus) | {"mask_ignored": ignored}
    return survey_spectra(grid, mean_flux, total_ivar, "desi", "observed", metadata, flux_unit=FLUX_UNIT)


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
