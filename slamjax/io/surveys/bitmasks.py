"""Which bits of a survey's pixel masks make a pixel bad by default, and why."""

from __future__ import annotations

from collections.abc import Mapping

#: SDSS and BOSS ``and_mask`` (SPPIXMASK): what every exposure of a pixel suffers from.
#: https://www.sdss4.org/dr17/algorithms/bitmasks/#SPPIXMASK
SDSS = {"FULLREJECT": 18, "NOSKY": 22, "BRIGHTSKY": 23, "NODATA": 24}

#: APOGEE pixel mask: bad detectors and reductions, and sky lines that are left (bits 0-7 and 12).
#: https://www.sdss4.org/dr17/irspec/apogee-bitmasks/#APOGEE_PIXMASK
APOGEE = {
    "BADPIX": 0,
    "CRPIX": 1,
    "SATPIX": 2,
    "UNFIXABLE": 3,
    "BADDARK": 4,
    "BADFLAT": 5,
    "BADERR": 6,
    "NOSKY": 7,
    "SIG_SKYLINE": 12,
}

#: LAMOST ``ANDMASK``: bad columns, bad profiles, no sky, fibre traces off the detector, no data; not bright sky, which
#: is told of whole stretches in the red. https://www.lamost.org/dr10/v2.0/doc/lr-data-production-description
LAMOST = {"BADCCD": 0, "BADPROFILE": 1, "NOSKY": 2, "BADCENTER": 4, "NODATA": 5}

#: SDSS-V's ``pixel_flags`` of stacked BOSS spectra, bits of SPPIXMASK that any exposure of any visit has set: only what
#: says that there was nothing to measure. A pixel rejected in one exposure does not make the stack bad.
BOSS_STACK = {"NOSKY": 22, "NODATA": 24}

#: DESI's SPECMASK: "all bits are bad" (https://desidatamodel.readthedocs.io/en/latest/bitmasks.html).
DESI = {
    "SOMEBADPIX": 0,
    "ALLBADPIX": 1,
    "COSMIC": 2,
    "LOWFLAT": 3,
    "BADFIBERFLAT": 4,
    "BRIGHTSKY": 5,
    "BADSKY": 6,
    "BAD2DFIT": 7,
    "NODATA": 8,
    "BADFIBER": 9,
    "BADCOLUMN": 10,
}


def bits(named: Mapping[str, int]) -> int:
    """The mask value that has all these bits."""
    return sum(1 << bit for bit in named.values())
