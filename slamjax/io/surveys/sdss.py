"""Files of SDSS's optical spectra: ``spec`` of SDSS-I to SDSS-IV.

https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html: vacuum, heliocentric.
"""

from __future__ import annotations

from astropy.io import fits

from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.base import Loader, SurveySpectra, hdu_at, header_facts, masked, piece, plain, row_facts
from slamjax.io.surveys.fits_columns import column_names, read_columns


def _is_spec(hdus: fits.HDUList) -> bool:
    return {"flux", "loglam", "ivar", "and_mask"} <= column_names(hdu_at(hdus, 1))


def _spec(hdus: fits.HDUList) -> SurveySpectra:
    """A COADD table, a row a pixel."""
    data, header = read_columns(hdus[1], ("loglam", "flux", "ivar", "and_mask")), hdus[0].header
    ivar, ignored = masked(data["and_mask"], data["ivar"], bitmasks.SDSS)
    facts = header_facts(header, ra="PLUG_RA", dec="PLUG_DEC", plate="PLATEID", mjd="MJD", fiber="FIBERID")
    results = hdu_at(hdus, 2)  # redshifts and classes stand in a table of their own, SPECOBJ or SPALL
    if isinstance(results, fits.BinTableHDU):
        found = row_facts(results, redshift="z", subclass="subclass", snr="sn_median_all")
        facts |= {name: plain(values[0]) for name, values in found.items()}
    facts["id"] = f"{facts.get('plate', 0):04d}-{facts.get('mjd', 0)}-{facts.get('fiber', 0):04d}"
    facts["mask_ignored"] = ignored
    return piece(10 ** data["loglam"].astype(float), data["flux"], ivar, "sdss", "observed", facts)


LOADERS: dict[str, Loader] = {"sdss": (_is_spec, _spec)}
