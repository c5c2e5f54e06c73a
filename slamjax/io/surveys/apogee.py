"""APOGEE files up to DR17: apStar, aspcapStar, apVisit.

https://data.sdss.org/datamodel/files/APOGEE_REDUX/APRED_VERS/stars/TELESCOPE/FIELD/apStar.html,
https://data.sdss.org/datamodel/files/APOGEE_ASPCAP/APRED_VERS/ASPCAP_VERS/TELESCOPE/FIELD/aspcapStar.html,
https://data.sdss.org/datamodel/files/APOGEE_REDUX/APRED_VERS/visit/TELESCOPE/FIELD/PLATE_ID/MJD5/apVisit.html.
Wavelengths are vacuum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits

from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.base import (
    FLUX_UNIT,
    Loader,
    SurveySpectra,
    apply_mask,
    hdu_at,
    header_metadata,
    inverse_square,
    log_wavelengths,
    only_by_name,
    python_value,
    survey_spectra,
    table_metadata,
)
from slamjax.io.surveys.fits_columns import column_names
from slamjax.spectra.spectra import Frame
from slamjax.spectra.wavelengths import doppler_shift

#: λ / FWHM: the mean of fibres and detectors, which differ by some 10 % (Nidever et al. 2015, AJ 150, 173; Majewski et
#: al. 2017, AJ 154, 94). apVisit files have coefficients of each fibre's line spread, apStar and aspcapStar have none.
RESOLUTION = 22500.0
#: APOGEE writes errors of 1e10 and more for pixels without data.
_NO_ERROR = 1e9


def _is_apstar(hdus: fits.HDUList) -> bool:
    return _is_apogee(hdus) and "NVISITS" in hdus[0].header and np.asarray(hdus[3].data).dtype.kind in "iu"


def _apstar(hdus: fits.HDUList) -> SurveySpectra:
    """apStar: the combined spectrum of all visits, at rest, in the first row."""
    flux, error, mask = (np.atleast_2d(hdus[k].data)[0] for k in (1, 2, 3))
    ivar, ignored = apply_mask(mask, _ivar(error), bitmasks.APOGEE)
    metadata = header_metadata(
        hdus[0].header, id="OBJID", ra="RA", dec="DEC", snr="SNR", rv="VHELIO", rv_err="VERR", n_visits="NVISITS"
    ) | {"mask_ignored": ignored}
    return _spectrum(log_wavelengths(hdus[1].header, len(flux)), flux, ivar, "rest", metadata)


def _apstar_visits(hdus: fits.HDUList) -> SurveySpectra:
    """apStar: the single visits, brought to rest by their velocities; two combined spectra precede them, if any do."""
    header, shape = hdus[0].header, np.shape(hdus[1].data)
    n = int(header["NVISITS"])
    first = shape[0] - n if len(shape) == 2 else 0
    flux, error, mask = (np.atleast_2d(hdus[k].data)[first:] for k in (1, 2, 3))
    ivar, ignored = apply_mask(mask, _ivar(error), bitmasks.APOGEE)
    metadata = header_metadata(header, id="OBJID", ra="RA", dec="DEC") | {"mask_ignored": ignored}
    names = {"visit": "SFILE", "jd": "JD", "fiber": "FIBER", "bc": "BC", "rv": "VHELIO", "rv_err": "VERR",
             "snr": "SNRVIS"}  # fmt: skip
    for name, keyword in names.items():
        keys = [f"{keyword}{visit}" for visit in range(1, n + 1)]
        if all(key in header for key in keys):
            metadata[name] = np.array([python_value(header[key]) for key in keys])
    return _spectrum(log_wavelengths(hdus[1].header, shape[-1]), flux, ivar, "rest", metadata)


def _is_aspcap(hdus: fits.HDUList) -> bool:
    spectrum = hdu_at(hdus, 1)
    is_image = isinstance(spectrum, fits.ImageHDU) and spectrum.header["NAXIS"] == 1
    return is_image and hdu_at(hdus, 4) is not None and "aspcapflag" in column_names(hdus[-1])


def _aspcap(hdus: fits.HDUList) -> SurveySpectra:
    """aspcapStar: HDU 1 the normalised spectrum at rest, HDU 2 its error, HDU 3 ASPCAP's fit, HDU 4 its results.

    There is no mask: pixels between the detectors and those that ASPCAP did not use are 0 or have a huge error. The
    calibrated labels become metadata where ASPCAP gives them.
    """
    flux, error = (np.asarray(hdus[k].data, float) for k in (1, 2))
    header = hdus[1].header if "CRVAL1" in hdus[1].header else hdus[0].header
    metadata = table_metadata(
        hdus[-1], id="apogee_id", ra="ra", dec="dec", snr="snr", rv=("vhelio_avg", "vhelio"), rv_err="verr",
        teff="teff", teff_err="teff_err", logg="logg", logg_err="logg_err", m_h="m_h", m_h_err="m_h_err",
        fe_h="fe_h", fe_h_err="fe_h_err", alpha_m="alpha_m", alpha_m_err="alpha_m_err",
    )  # fmt: skip
    names = {"id": "OBJID", "ra": "RA", "dec": "DEC", "snr": "SNR", "rv": "VHELIO", "rv_err": "VERR"}
    metadata = header_metadata(hdus[0].header, **names) | metadata
    ivar = np.where(flux == 0, 0, _ivar(error))
    relative = u.dimensionless_unscaled
    return _spectrum(log_wavelengths(header, len(flux)), flux, ivar, "rest", metadata, flux_unit=relative)


def _is_apvisit(hdus: fits.HDUList) -> bool:
    wave = hdu_at(hdus, 4)
    return _is_apogee(hdus) and wave is not None and np.shape(wave.data)[:1] == (3,) and "BC" in hdus[0].header


def _apvisit(hdus: fits.HDUList) -> SurveySpectra:
    """apVisit: three chips on separate grids in the observer's frame, shifted here to the barycentric frame."""
    header = hdus[0].header
    wave, flux, error, mask = (np.asarray(hdus[k].data).reshape(-1) for k in (4, 1, 2, 3))
    order = np.argsort(wave)
    wave, flux, error, mask = (array[order] for array in (wave, flux, error, mask))
    ivar, ignored = apply_mask(mask, _ivar(error), bitmasks.APOGEE)
    metadata = header_metadata(
        header, id="OBJID", ra="RA", dec="DEC", snr="SNR", rv="VHELIO", rv_err="VRADERR", bc="BC", mjd="MJD5",
        fiber="FIBERID",
    ) | {"mask_ignored": ignored}  # fmt: skip
    return _spectrum(doppler_shift(wave, header["BC"]), flux, ivar, "observed", metadata)


def _spectrum(
    wave: np.ndarray, flux: Any, ivar: Any, frame: Frame, metadata: dict[str, Any], flux_unit: Any = FLUX_UNIT
) -> SurveySpectra:
    fwhm = wave / RESOLUTION
    return survey_spectra(wave, flux, ivar, "apogee", frame, metadata, fwhm=fwhm, flux_unit=flux_unit)


def _is_apogee(hdus: fits.HDUList) -> bool:
    mask = hdu_at(hdus, 3)
    return "OBJID" in hdus[0].header and isinstance(mask, fits.ImageHDU) and mask.header["NAXIS"] in (1, 2)


def _ivar(error: Any) -> np.ndarray:
    sigma = np.asarray(error, float)
    return inverse_square(np.where(sigma < _NO_ERROR, sigma, 0))


LOADERS: dict[str, Loader] = {
    "apogee-star": (_is_apstar, _apstar),
    "apogee-star-visits": (only_by_name, _apstar_visits),
    "apogee-aspcap": (_is_aspcap, _aspcap),
    "apogee-visit": (_is_apvisit, _apvisit),
}
