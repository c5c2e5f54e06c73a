"""Files of SDSS's optical spectra: ``spec`` of SDSS-I to SDSS-IV.

https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html: vacuum, heliocentric.
"""

from __future__ import annotations

from astropy.io import fits

from slamjax.readers import masks
from slamjax.readers.pieces import Loader, Piece, column_names, header_facts, masked, piece, plain


def _is_spec(hdus: fits.HDUList) -> bool:
    return len(hdus) > 1 and {"flux", "loglam", "ivar", "and_mask"} <= column_names(hdus[1])


def _spec(hdus: fits.HDUList) -> Piece:
    """A COADD table, a row a pixel."""
    data, header = hdus[1].data, hdus[0].header
    ivar, ignored = masked(data["and_mask"], data["ivar"], masks.SDSS)
    facts = header_facts(header, ra="PLUG_RA", dec="PLUG_DEC", plate="PLATEID", mjd="MJD", fiber="FIBERID")
    if len(hdus) > 2:  # redshifts and classes stand in a table of their own, SPECOBJ or SPALL
        row, names = hdus[2].data[0], column_names(hdus[2])
        for fact, name in (("redshift", "z"), ("subclass", "subclass"), ("snr", "sn_median_all")):
            if name in names:
                facts[fact] = plain(row[name])
    facts["id"] = f"{facts.get('plate', 0):04d}-{facts.get('mjd', 0)}-{facts.get('fiber', 0):04d}"
    facts["mask_ignored"] = ignored
    return piece(10 ** data["loglam"].astype(float), data["flux"], ivar, "sdss", "observed", facts)


LOADERS: dict[str, Loader] = {"sdss": (_is_spec, _spec)}
