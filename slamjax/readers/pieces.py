"""One spectrum as a survey's file has it, for each kind of file that slamjax knows.

A loader takes an open FITS file and gives a `Piece`: wavelengths in Å, vacuum, in the barycentre's frame or the star's;
flux, ivar with masked pixels at 0, and the header's facts under one name for all surveys. Values that a survey writes
for "not known" (-9999) are not facts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.readers import masks
from slamjax.spectra import Frame
from slamjax.wavelengths import shifted, to_vacuum

#: A mask that leaves less than this part of the pixels with errors is not believed: the spectrum keeps its ivar.
_LEAST_LEFT = 0.1
_UNKNOWN = (-9999.0, -999.0)


@dataclass(frozen=True)
class Piece:
    """A spectrum: wave (P,) in Å, vacuum, rising; flux and ivar (P,); what is known of it."""

    wave: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    survey: str
    frame: Frame
    facts: dict[str, Any] = field(default_factory=dict)


def identify(hdus: fits.HDUList) -> str:
    """The name of the loader for an open file; raises SlamError if there is none."""
    for name, (recognises, _) in LOADERS.items():
        if recognises(hdus):
            return name
    raise SlamError(
        f"is of no survey that slamjax knows ({', '.join(LOADERS)}), or truncated; its HDUs are {_names(hdus)}"
    )


def load(hdus: fits.HDUList, survey: str) -> Piece:
    """The spectrum of an open file."""
    return LOADERS[survey][1](hdus)


# ---- LAMOST ---------------------------------------------------------------------------------------------------------


def _is_lamost(hdus: fits.HDUList) -> bool:
    return str(hdus[0].header.get("TELESCOP", "")).strip().upper() == "LAMOST"


def _lamost_table(hdus: fits.HDUList) -> Piece:
    """LRS since DR8: a COADD table of one row whose columns are vectors."""
    row = hdus["COADD"].data[0]
    header = hdus[0].header
    good = _unmasked(row["ANDMASK"], row["IVAR"], masks.LAMOST)
    return _piece(_wave_of(row["WAVELENGTH"], header), row["FLUX"], good, "lamost", "observed", _lamost_facts(header))


def _lamost_image(hdus: fits.HDUList) -> Piece:
    """LRS up to DR7: an image whose rows are flux, ivar, wavelength, andmask, ormask."""
    flux, ivar, wave, andmask = np.asarray(hdus[0].data, float)[:4]
    header = hdus[0].header
    good = _unmasked(andmask.astype(np.int64), ivar, masks.LAMOST)
    return _piece(_wave_of(wave, header), flux, good, "lamost", "observed", _lamost_facts(header))


def _wave_of(wave: Any, header: fits.Header) -> np.ndarray:
    """Vacuum Å; older files are in air and say so."""
    angstrom = np.asarray(wave, float)
    return angstrom if header.get("VACUUM", True) else to_vacuum(angstrom)


def _lamost_facts(header: fits.Header) -> dict[str, Any]:
    return _facts(
        header, id="DESIG", obsid="OBSID", ra="RA", dec="DEC", mjd="MJD", snr_g="SNRG", snr_r="SNRR", snr_i="SNRI",
        redshift="Z", subclass="SUBCLASS",
    )  # fmt: skip


# ---- SDSS and BOSS --------------------------------------------------------------------------------------------------


def _is_sdss(hdus: fits.HDUList) -> bool:
    return len(hdus) > 1 and {"flux", "loglam", "ivar", "and_mask"} <= _columns(hdus[1])


def _sdss(hdus: fits.HDUList) -> Piece:
    """``spec`` files of SDSS-I to SDSS-IV: a COADD table, a row a pixel."""
    data, header = hdus[1].data, hdus[0].header
    good = _unmasked(data["and_mask"], data["ivar"], masks.SDSS)
    facts = _facts(header, ra="PLUG_RA", dec="PLUG_DEC", plate="PLATEID", mjd="MJD", fiber="FIBERID")
    if len(hdus) > 2:  # redshifts and classes stand in a table of their own, SPECOBJ or SPALL
        row, known = hdus[2].data[0], {name.lower() for name in hdus[2].columns.names}
        for fact, name in (("redshift", "z"), ("subclass", "subclass"), ("snr", "sn_median_all")):
            if name in known:
                facts[fact] = _plain(row[name])
    facts["id"] = f"{facts.get('plate', 0):04d}-{facts.get('mjd', 0)}-{facts.get('fiber', 0):04d}"
    return _piece(10 ** data["loglam"].astype(float), data["flux"], good, "sdss", "observed", facts)


# ---- APOGEE ---------------------------------------------------------------------------------------------------------


def _is_apstar(hdus: fits.HDUList) -> bool:
    return _is_apogee(hdus) and "NVISITS" in hdus[0].header and np.ndim(hdus[3].data) >= 1


def _apstar(hdus: fits.HDUList) -> Piece:
    """apStar: the combined spectrum of all visits, in the star's own frame; visits are rows below it."""
    header = hdus[1].header
    flux, error, mask = (np.atleast_2d(hdus[k].data)[0] for k in (1, 2, 3))
    wave = 10 ** (header["CRVAL1"] + header["CDELT1"] * np.arange(len(flux)))
    good = _unmasked(mask, _inverse_square(error), masks.APOGEE)
    facts = _facts(hdus[0].header, id="OBJID", ra="RA", dec="DEC", snr="SNR", rv="VHELIO", n_visits="NVISITS")
    return _piece(wave, flux, good, "apogee", "rest", facts)


def _is_apvisit(hdus: fits.HDUList) -> bool:
    return _is_apogee(hdus) and len(hdus) > 4 and np.shape(hdus[4].data)[:1] == (3,) and "BC" in hdus[0].header


def _apvisit(hdus: fits.HDUList) -> Piece:
    """apVisit: three chips on grids of their own, in the observer's frame; brought to the barycentre's here."""
    header = hdus[0].header
    parts = [np.asarray(hdus[k].data) for k in (4, 1, 2, 3)]
    wave, flux, error, mask = (part.reshape(-1) for part in parts)
    order = np.argsort(wave)
    wave, flux, error, mask = (part[order] for part in (wave, flux, error, mask))
    good = _unmasked(mask, _inverse_square(error), masks.APOGEE)
    facts = _facts(header, id="OBJID", ra="RA", dec="DEC", snr="SNR", rv="VHELIO", bc="BC", mjd="MJD5", fiber="FIBERID")
    return _piece(shifted(wave, header["BC"]), flux, good, "apogee", "observed", facts)


def _is_apogee(hdus: fits.HDUList) -> bool:
    return len(hdus) > 3 and "OBJID" in hdus[0].header and np.ndim(hdus[1].data) in (1, 2)


def _inverse_square(error: Any) -> np.ndarray:
    """ivar of errors; APOGEE writes 1e10 and more for pixels that hold nothing."""
    sigma = np.asarray(error, float)
    sound = np.isfinite(sigma) & (sigma > 0) & (sigma < 1e9)
    return np.where(sound, 1 / np.square(np.where(sound, sigma, 1)), 0)


LOADERS: dict[str, tuple[Callable[[fits.HDUList], bool], Callable[[fits.HDUList], Piece]]] = {
    "lamost": (lambda hdus: _is_lamost(hdus) and "COADD" in hdus, _lamost_table),
    "lamost-image": (lambda hdus: _is_lamost(hdus) and np.ndim(hdus[0].data) == 2, _lamost_image),
    "sdss": (_is_sdss, _sdss),
    "apogee-star": (_is_apstar, _apstar),
    "apogee-visit": (_is_apvisit, _apvisit),
}


# ---- what they share ------------------------------------------------------------------------------------------------


def _piece(wave: Any, flux: Any, ivar: np.ndarray, survey: str, frame: Frame, facts: dict[str, Any]) -> Piece:
    """A piece of native arrays whose wavelengths rise; bad pixels have ivar 0."""
    wave, flux, ivar = (np.asarray(part, float).reshape(-1) for part in (wave, flux, ivar))
    if not len(wave) == len(flux) == len(ivar):
        raise SlamError(f"has {len(wave)} wavelengths, {len(flux)} fluxes and {len(ivar)} errors; it is damaged")
    if len(wave) < 2 or not np.all(np.diff(wave) > 0):
        raise SlamError("has wavelengths that do not rise; it is damaged, or its columns are not what they say")
    sound = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0)
    return Piece(wave, np.where(sound, flux, 0), np.where(sound, ivar, 0), survey, frame, facts)


def _unmasked(mask: Any, ivar: Any, named: dict[str, int]) -> np.ndarray:
    """ivar, 0 where a bit is set; all of it where that would leave next to nothing."""
    ivar = np.asarray(ivar, float)
    usable = np.isfinite(ivar) & (ivar > 0)
    clear = (np.asarray(mask).astype(np.int64) & masks.bits(named)) == 0
    if (usable & clear).sum() < _LEAST_LEFT * usable.sum():
        return ivar
    return np.where(clear, ivar, 0)


def _facts(header: fits.Header, **names: str) -> dict[str, Any]:
    found = {fact: _plain(header[key]) for fact, key in names.items() if key in header}
    return {fact: value for fact, value in found.items() if value not in _UNKNOWN and value != ""}


def _plain(value: Any) -> Any:
    """A header's value as Python's own: numbers as numbers, text stripped."""
    return value.item() if isinstance(value, np.generic) else value.strip() if isinstance(value, str) else value


def _columns(hdu: Any) -> set[str]:
    return {name.lower() for name in hdu.columns.names} if isinstance(hdu, fits.BinTableHDU) else set()


def _names(hdus: fits.HDUList) -> str:
    return ", ".join(hdu.name or str(number) for number, hdu in enumerate(hdus))
