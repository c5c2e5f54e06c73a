"""DESI's coadded spectra: many a file, three arms that overlap.

https://desidatamodel.readthedocs.io/en/latest/DESI_SPECTRO_REDUX/SPECPROD/healpix/SURVEY/PROGRAM/PIXGROUP/PIXNUM/\
coadd-SURVEY-PROGRAM-PIXNUM.html: images B_, R_ and Z_ FLUX, IVAR and MASK, a row a target, on one lattice of 0.8 Å,
vacuum, barycentric; FIBERMAP and SCORES have a row for each. ``spectra`` files have the same layout, a row an exposure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.base import Loader, SurveySpectra, masked, piece, row_facts

_ARMS = "BRZ"
#: How far from the lattice, in steps, a wavelength may lie.
_OFF = 1e-3


def _is_desi(hdus: fits.HDUList) -> bool:
    return "FIBERMAP" in hdus and any(f"{arm}_FLUX" in hdus and f"{arm}_WAVELENGTH" in hdus for arm in _ARMS)


def _desi(hdus: fits.HDUList) -> SurveySpectra:
    """All targets of the file; where arms overlap, their mean weighted with ivar. What no arm covers is bad."""
    arms = [arm for arm in _ARMS if f"{arm}_FLUX" in hdus]
    waves = [np.asarray(hdus[f"{arm}_WAVELENGTH"].data, float) for arm in arms]
    flux, ivar, mask = (
        np.concatenate([np.asarray(hdus[f"{arm}_{name}"].data) for arm in arms], axis=1)
        for name in ("FLUX", "IVAR", "MASK")
    )
    ivar, ignored = masked(mask, ivar, bitmasks.DESI)
    flux = np.where(ivar > 0, flux, 0).astype(float)
    step = float(np.median(np.diff(waves[0])))
    places = (np.concatenate(waves) - min(wave[0] for wave in waves)) / step
    at = np.round(places).astype(int)
    if np.abs(places - at).max() > _OFF:
        raise SlamError("has arms that share no lattice of wavelengths; it is damaged, or of another kind")
    whole_flux, whole_ivar = np.zeros((2, len(flux), at.max() + 1))
    start = 0
    for wave in waves:
        here = slice(start, start + len(wave))
        whole_ivar[:, at[here]] += ivar[:, here]
        whole_flux[:, at[here]] += ivar[:, here] * flux[:, here]
        start += len(wave)
    whole_flux /= np.where(whole_ivar > 0, whole_ivar, 1)
    grid = min(wave[0] for wave in waves) + step * np.arange(whole_flux.shape[1])
    return piece(grid, whole_flux, whole_ivar, "desi", "observed", _facts(hdus) | {"mask_ignored": ignored})


def _facts(hdus: fits.HDUList) -> dict[str, Any]:
    facts = row_facts(
        hdus["FIBERMAP"], targetid="targetid", ra="target_ra", dec="target_dec", objtype="objtype",
        fiberstatus=("coadd_fiberstatus", "fiberstatus"), ref_id="ref_id", mjd="mjd",
    )  # fmt: skip
    facts = {"id": facts["targetid"].astype(str)} | facts
    if "SCORES" in hdus:
        facts |= row_facts(hdus["SCORES"], **{f"snr_{arm.lower()}": f"median_coadd_snr_{arm}" for arm in _ARMS})
    return facts


LOADERS: dict[str, Loader] = {"desi": (_is_desi, _desi)}
