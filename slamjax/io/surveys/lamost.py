"""LAMOST files: low resolution (LRS) in both layouts, medium resolution (MRS).

https://www.lamost.org/dr10/v2.0/doc/lr-data-production-description and
https://www.lamost.org/dr10/v2.0/doc/mr-data-production-description. Wavelengths are vacuum, heliocentric; files in
air state so (VACUUM).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.base import Loader, SurveySpectra, apply_mask, header_metadata, survey_spectra
from slamjax.io.surveys.fits_columns import column_names, read_columns
from slamjax.spectra.wavelengths import to_vacuum

#: Line spread of low resolution in the blue and the red arm, Å (FWHM), and where they meet. Measured on spectra
#: of four spectrographs against MILES (2.5 Å): 2.2 to 3 Å from 4000 to 5850 Å, 3.7 to 4.2 Å from 5950 to 7200 Å.
#: The nominal R = 1800 is that of 4500 and of 7000 Å. Fibres and nights differ by some tenths of an Å.
_FWHM_BLUE, _FWHM_RED, _ARMS_MEET = 2.5, 3.9, 5900.0
#: Å, as observed: what sky subtraction and flux calibration leave behind. Lines of [O I], 5577, 6300 and 6364; where
#: the arms meet, which is also where street lamps put broad sodium lines; bands of O2 and H2O of the atmosphere.
BAD_REGIONS = (
    (5571.0, 5584.0),
    (5850.0, 5960.0),
    (6295.0, 6306.0),
    (6359.0, 6369.0),
    (6862.0, 6950.0),
    (7160.0, 7320.0),
    (7592.0, 7700.0),
    (8130.0, 8350.0),
    (8940.0, 9100.0),
)
#: Arms of medium resolution, 4950 to 5350 Å and 6300 to 6800 Å, and their line spread, Å (FWHM): R = 7500 at 5163 and
#: at 6593 Å (Liu et al. 2020, arXiv:2005.07210).
_ARMS = {"COADD_B": 5163 / 7500, "COADD_R": 6593 / 7500}


def _is_lamost(hdus: fits.HDUList) -> bool:
    return str(hdus[0].header.get("TELESCOP", "")).strip().upper() == "LAMOST"


def _table(hdus: fits.HDUList) -> SurveySpectra:
    """LRS since DR8: a COADD table with one row of vectors."""
    columns = read_columns(hdus["COADD"], ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK"))
    row, header = {name: values[0] for name, values in columns.items()}, hdus[0].header
    ivar, ignored = apply_mask(row["ANDMASK"], row["IVAR"], bitmasks.LAMOST)
    metadata = _metadata(header) | {"mask_ignored": ignored}
    return _low_resolution(_vacuum(row["WAVELENGTH"], header), row["FLUX"], ivar, metadata)


def _image(hdus: fits.HDUList) -> SurveySpectra:
    """LRS up to DR7: an image whose rows are flux, ivar, wavelength, andmask, ormask."""
    flux, ivar, wave, andmask = np.asarray(hdus[0].data, float)[:4]
    header = hdus[0].header
    ivar, ignored = apply_mask(andmask, ivar, bitmasks.LAMOST)
    metadata = _metadata(header) | {"mask_ignored": ignored}
    return _low_resolution(_vacuum(wave, header), flux, ivar, metadata)


def _low_resolution(wave: np.ndarray, flux: Any, ivar: Any, metadata: dict[str, Any]) -> SurveySpectra:
    fwhm = np.where(wave < _ARMS_MEET, _FWHM_BLUE, _FWHM_RED)
    bad = np.any([(wave >= low) & (wave <= high) for low, high in BAD_REGIONS], axis=0)
    ivar = np.where(bad, 0, ivar)
    return survey_spectra(wave, flux, ivar, "lamost", "observed", metadata, fwhm=fwhm)


def _has_arms(hdus: fits.HDUList) -> bool:
    return any(name in hdus for name in _ARMS)


def _medium(hdus: fits.HDUList) -> SurveySpectra:
    """MRS: tables COADD_B and COADD_R, one row per pixel with LOGLAM (up to DR7) or one row of vectors with WAVELENGTH.

    Single exposures (B-..., R-...) are not read. A file may lack an arm.
    """
    header = hdus[0].header
    metadata = _metadata(header)
    arms = []
    for name, fwhm in _ARMS.items():
        names = column_names(hdus[name]) if name in hdus else set()
        if not names or not hdus[name].header["NAXIS2"]:
            continue
        if not {"flux", "ivar"} <= names:
            raise SlamError(f"has no flux or ivar in HDU {name}; it is damaged")
        data = hdus[name].data
        wave = np.ravel(data["WAVELENGTH"] if "wavelength" in names else 10 ** data["LOGLAM"].astype(float))
        wave = _vacuum(wave, hdus[name].header if "VACUUM" in hdus[name].header else header)
        mask = data["ANDMASK" if "andmask" in names else "ORMASK"]
        spread = np.full(wave.shape, fwhm)
        arms.append([np.ravel(array).astype(float) for array in (wave, data["FLUX"], data["IVAR"], mask, spread)])
        metadata |= header_metadata(hdus[name].header, **{f"snr_{name[-1].lower()}": "SNR"})
    if not arms:
        raise SlamError("has no coadded spectrum of either arm (COADD_B, COADD_R)")
    wave, flux, ivar, mask, spread = np.concatenate(arms, axis=1)
    order = np.argsort(wave)
    ivar, ignored = apply_mask(mask, ivar, bitmasks.LAMOST)
    metadata["mask_ignored"] = ignored
    wave, flux, ivar, spread = wave[order], flux[order], ivar[order], spread[order]
    return survey_spectra(wave, flux, ivar, "lamost-mrs", "observed", metadata, fwhm=spread)


def _vacuum(wave: Any, header: fits.Header) -> np.ndarray:
    """Vacuum wavelengths in Å; older files are in air and state so."""
    angstrom = np.asarray(wave, float)
    return angstrom if header.get("VACUUM", True) else to_vacuum(angstrom)


def _metadata(header: fits.Header) -> dict[str, Any]:
    return header_metadata(
        header, id="DESIG", obsid="OBSID", ra="RA", dec="DEC", mjd="MJD", snr_g="SNRG", snr_r="SNRR", snr_i="SNRI",
        redshift="Z", subclass="SUBCLASS",
    )  # fmt: skip


LOADERS: dict[str, Loader] = {
    "lamost": (lambda hdus: _is_lamost(hdus) and "COADD" in hdus, _table),
    "lamost-image": (lambda hdus: _is_lamost(hdus) and np.ndim(hdus[0].data) == 2, _image),
}
#: Recognised by the names of their HDUs, for which the headers of all must be read.
ARMS: dict[str, Loader] = {"lamost-mrs": (_has_arms, _medium)}
