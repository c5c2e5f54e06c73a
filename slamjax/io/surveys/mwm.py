"""SDSS-V Milky Way Mapper: mwmStar and mwmVisit files of the Astra pipeline, since DR19.

https://github.com/sdss/datamodel (products/md/mwmStar.md) and Astra's own source (astra/products/mwm.py, apogee.py,
boss.py): HDUs BOSS/APO, BOSS/LCO, APOGEE/APO and APOGEE/LCO hold tables, possibly empty, whose rows are coadded spectra
(mwmStar) or visits (mwmVisit); the header has the first wavelength and the step, in log10. Wavelengths are vacuum.

Coadds are at rest, and so are the visits that they consist of (``in_stack``). Other visits are bad spectra that Astra
does not shift to rest; their rows get a "problem".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import apogee, bitmasks
from slamjax.io.surveys.base import (
    Loader,
    SurveySpectra,
    apply_mask,
    header_metadata,
    log_wavelengths,
    survey_spectra,
    table_metadata,
)
from slamjax.io.surveys.fits_columns import column_names, read_columns

_NOT_AT_REST = "the visit is not in the stack: a bad spectrum, not shifted to rest"


def _tables(hdus: fits.HDUList, instrument: str) -> list[fits.BinTableHDU]:
    """The HDUs with spectra of an instrument, from both observatories."""
    return [
        hdu
        for hdu in hdus[1:]
        if hdu.name.upper().startswith(f"{instrument}/")
        and {"flux", "ivar", "pixel_flags"} <= column_names(hdu)
        and hdu.header["NAXIS2"] > 0
    ]


def _loader(instrument: str, survey: str, bad_bits: dict[str, int]) -> Loader:
    """Tests and reads the spectra of one instrument."""

    def recognises(hdus: fits.HDUList) -> bool:
        if "V_ASTRA" not in hdus[0].header:
            return False
        if all(_tables(hdus, name) for name in ("APOGEE", "BOSS")):
            raise SlamError(
                "has spectra of both APOGEE and BOSS; choose one of them with survey, mwm-apogee or mwm-boss"
            )
        return bool(_tables(hdus, instrument))

    def load(hdus: fits.HDUList) -> SurveySpectra:
        tables = _tables(hdus, instrument)
        if not tables:
            raise SlamError(f"has no {instrument} spectrum")
        waves = [log_wavelengths(hdu.header, hdu.header["NPIXELS"], "") for hdu in tables]
        if any(wave.shape != waves[0].shape or not np.allclose(wave, waves[0], rtol=1e-9) for wave in waves):
            raise SlamError("has spectra of two observatories on different grids")
        columns = [read_columns(hdu, ("flux", "ivar", "pixel_flags")) for hdu in tables]
        flux, ivar, flags = (
            np.concatenate([table[name].astype(float) for table in columns]) for name in ("flux", "ivar", "pixel_flags")
        )
        ivar, ignored = apply_mask(flags, ivar, bad_bits)
        metadata = _metadata(hdus[0].header, tables) | {"mask_ignored": ignored}
        if "in_stack" in metadata:
            ivar = np.where(metadata["in_stack"][:, None], ivar, 0)
            metadata["problem"] = np.where(metadata["in_stack"], "", _NOT_AT_REST)
        fwhm = waves[0] / apogee.RESOLUTION if instrument == "APOGEE" else _line_spread(tables, waves[0])
        units = {hdu.columns["flux"].unit for hdu in tables}
        flux_unit = units.pop() if len(units) == 1 else None
        return survey_spectra(waves[0], flux, ivar, survey, "rest", metadata, fwhm=fwhm, flux_unit=flux_unit)

    return recognises, load


def _line_spread(tables: list[fits.BinTableHDU], wave: np.ndarray) -> np.ndarray | None:
    """(N, P) FWHM in Å of BOSS visits, NaN where a spectrum has none; None of coadds, which lack the column.

    ``wresl`` is a "spectral resolution [Angstrom]" (Astra: glossary.py): the FWHM of Gaussians that are fitted to arc
    lines (idlspec2d: pro/spec2d/fitspectraresol.pro, 2 √(2 ln 2) σ), 0 where it is unknown. Astra takes it over from
    the visit without shifting it to rest, by some pixels, in which it hardly changes.
    """
    widths = [read_columns(hdu, ("wresl",), required=False).get("wresl") for hdu in tables]
    if all(width is None for width in widths):
        return None
    rows = []
    for hdu, width in zip(tables, widths, strict=True):
        given = np.zeros((int(hdu.header["NAXIS2"]), len(wave))) if width is None else width.astype(float)
        rows += [_between_known(each, wave) for each in given]
    return np.array(rows) if np.isfinite(rows).any() else None


def _between_known(width: np.ndarray, wave: np.ndarray) -> np.ndarray:
    known = np.isfinite(width) & (width > 0)
    return np.interp(wave, wave[known], width[known]) if known.any() else np.full(len(wave), np.nan)


def _metadata(header: fits.Header, tables: list[fits.BinTableHDU]) -> dict[str, Any]:
    metadata = header_metadata(header, id="SDSS_ID", source_id="GAIA3_ID", ra="RA", dec="DEC", apogee_id="APOGEEID")
    if "id" in metadata:
        metadata["id"] = str(metadata["id"])
    rows = [
        table_metadata(
            hdu, telescope="telescope", snr="snr", rv=("v_rad", "xcsao_v_rad"),
            rv_err=("e_v_rad", "xcsao_e_v_rad", "e_v_rel"), mjd="mjd", n_visits="n_visits", in_stack="in_stack",
        )
        for hdu in tables
    ]  # fmt: skip
    shared = [name for name in rows[0] if all(name in table for table in rows)]
    return metadata | {name: np.concatenate([table[name] for table in rows]) for name in shared}


LOADERS: dict[str, Loader] = {
    "mwm-apogee": _loader("APOGEE", "apogee", bitmasks.APOGEE),
    "mwm-boss": _loader("BOSS", "sdss", bitmasks.BOSS_STACK),
}
