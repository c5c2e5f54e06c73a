"""SDSS-V's Milky Way Mapper: mwmStar and mwmVisit of the Astra pipeline, since DR19.

https://github.com/sdss/datamodel (products/md/mwmStar.md) and Astra's own source (astra/products/mwm.py, apogee.py,
boss.py): HDUs BOSS/APO, BOSS/LCO, APOGEE/APO, APOGEE/LCO hold tables, empty where there is nothing, whose rows are
coadded spectra (mwmStar) or visits (mwmVisit); the header has the grid's log10 start and step. Wavelengths are vacuum.

Coadds are at rest. So are visits that went into them (``in_stack``); the others are bad spectra that Astra leaves where
they were, shifted by no velocity: their rows are flagged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.base import Loader, SurveySpectra, header_facts, log_wave, masked, piece, row_facts
from slamjax.io.surveys.fits_columns import column_names, read_columns

_NOT_AT_REST = "the visit is not in the stack: a bad spectrum, not shifted to rest"


def _tables(hdus: fits.HDUList, instrument: str) -> list[fits.BinTableHDU]:
    """The HDUs with spectra of an instrument, of both observatories."""
    return [
        hdu
        for hdu in hdus[1:]
        if hdu.name.upper().startswith(f"{instrument}/")
        and {"flux", "ivar", "pixel_flags"} <= column_names(hdu)
        and hdu.header["NAXIS2"] > 0
    ]


def _loader(instrument: str, survey: str, named: dict[str, int]) -> Loader:
    def recognises(hdus: fits.HDUList) -> bool:
        if "V_ASTRA" not in hdus[0].header:
            return False
        if all(_tables(hdus, one) for one in ("APOGEE", "BOSS")):
            raise SlamError(
                "has spectra of APOGEE and BOSS, which do not go together; name those to read by survey, mwm-apogee or "
                "mwm-boss"
            )
        return bool(_tables(hdus, instrument))

    def load(hdus: fits.HDUList) -> SurveySpectra:
        tables = _tables(hdus, instrument)
        if not tables:
            raise SlamError(f"has no {instrument} spectrum")
        waves = [log_wave(hdu.header, hdu.header["NPIXELS"], "") for hdu in tables]
        if any(wave.shape != waves[0].shape or not np.allclose(wave, waves[0], rtol=1e-9) for wave in waves):
            raise SlamError("has spectra of two observatories on different grids")
        columns = [read_columns(hdu, ("flux", "ivar", "pixel_flags")) for hdu in tables]
        flux, ivar, flags = (
            np.concatenate([one[name].astype(float) for one in columns]) for name in ("flux", "ivar", "pixel_flags")
        )
        ivar, ignored = masked(flags, ivar, named)
        facts = _facts(hdus[0].header, tables) | {"mask_ignored": ignored}
        if "in_stack" in facts:
            ivar = np.where(facts["in_stack"][:, None], ivar, 0)
            facts["problem"] = np.where(facts["in_stack"], "", _NOT_AT_REST)
        return piece(waves[0], flux, ivar, survey, "rest", facts)

    return recognises, load


def _facts(header: fits.Header, tables: list[fits.BinTableHDU]) -> dict[str, Any]:
    facts = header_facts(header, id="SDSS_ID", source_id="GAIA3_ID", ra="RA", dec="DEC", apogee_id="APOGEEID")
    if "id" in facts:
        facts["id"] = str(facts["id"])
    rows = [
        row_facts(
            hdu, telescope="telescope", snr="snr", rv=("v_rad", "xcsao_v_rad"),
            rv_err=("e_v_rad", "xcsao_e_v_rad", "e_v_rel"), mjd="mjd", n_visits="n_visits", in_stack="in_stack",
        )
        for hdu in tables
    ]  # fmt: skip
    shared = [name for name in rows[0] if all(name in one for one in rows)]
    return facts | {name: np.concatenate([one[name] for one in rows]) for name in shared}


LOADERS: dict[str, Loader] = {
    "mwm-apogee": _loader("APOGEE", "apogee", bitmasks.APOGEE),
    "mwm-boss": _loader("BOSS", "sdss", bitmasks.BOSS_STACK),
}
