"""Optical SDSS spectra: ``spec`` files of SDSS-I to SDSS-IV.

https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html: vacuum, heliocentric.
"""

from __future__ import annotations

import numpy as np
from astropy.io import fits

from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.base import (
    FLUX_UNIT,
    Loader,
    SurveySpectra,
    apply_mask,
    hdu_at,
    header_metadata,
    python_value,
    survey_spectra,
    table_metadata,
)
from slamjax.io.surveys.fits_columns import column_names, read_columns
from slamjax.spectra.line_spread import FWHM

#: Pixels of coadds, in ln λ: the unit of the column wdisp.
_PIXEL = 1e-4 * np.log(10)


def _is_spec(hdus: fits.HDUList) -> bool:
    return {"flux", "loglam", "ivar", "and_mask"} <= column_names(hdu_at(hdus, 1))


def _spec(hdus: fits.HDUList) -> SurveySpectra:
    """A COADD table with one row per pixel."""
    data, header = read_columns(hdus[1], ("loglam", "flux", "ivar", "and_mask")), hdus[0].header
    ivar, ignored = apply_mask(data["and_mask"], data["ivar"], bitmasks.SDSS)
    metadata = header_metadata(header, ra="PLUG_RA", dec="PLUG_DEC", plate="PLATEID", mjd="MJD", fiber="FIBERID")
    results = hdu_at(hdus, 2)  # redshifts and classes are in a separate table, SPECOBJ or SPALL
    if isinstance(results, fits.BinTableHDU):
        columns = table_metadata(results, redshift="z", subclass="subclass", snr="sn_median_all")
        metadata |= {name: python_value(values[0]) for name, values in columns.items()}
    metadata["id"] = f"{metadata.get('plate', 0):04d}-{metadata.get('mjd', 0)}-{metadata.get('fiber', 0):04d}"
    metadata["mask_ignored"] = ignored
    wave = 10 ** data["loglam"].astype(float)
    fwhm = _line_spread(hdus[1], wave)
    return survey_spectra(wave, data["flux"], ivar, "sdss", "observed", metadata, fwhm=fwhm, flux_unit=FLUX_UNIT)


def _line_spread(hdu: fits.BinTableHDU, wave: np.ndarray) -> np.ndarray | None:
    """(1, P) FWHM in Å of this spectrum.

    ``wdisp`` is the standard deviation of the line spread in pixels of 1e-4 dex, 0 where it is unknown.
    https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html
    """
    sigma = read_columns(hdu, ("wdisp",), required=False).get("wdisp", np.zeros(0)).astype(float)
    known = np.isfinite(sigma) & (sigma > 0)
    return (FWHM * _PIXEL * wave * np.interp(wave, wave[known], sigma[known]))[None] if known.any() else None


LOADERS: dict[str, Loader] = {"sdss": (_is_spec, _spec)}
