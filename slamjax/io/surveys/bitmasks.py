"""Bits of each survey's pixel masks that make a pixel bad, and why."""

from __future__ import annotations

from collections.abc import Mapping

#: SDSS and BOSS ``and_mask`` (SPPIXMASK): problems that all exposures of a pixel share.
#: https://www.sdss4.org/dr17/algorithms/bitmasks/#SPPIXMASK
SDSS = {"FULLREJECT": 18, "NOSKY": 22, "BRIGHTSKY": 23, "NODATA": 24}

#: The same of a single exposure, and what was rejected when exposures were combined, such as cosmic rays.
SDSS_EXPOSURE = SDSS | {"COMBINEREJ": 25}

#: APOGEE pixel mask: defects of detector and reduction, and residuals of sky lines (bits 0-7 and 12).
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
#: is set in whole ranges of the red. https://www.lamost.org/dr10/v2.0/doc/lr-data-production-description
LAMOST = {"BADCCD": 0, "BADPROFILE": 1, "NOSKY": 2, "BADCENTER": 4, "NODATA": 5}

#: SDSS-V's ``pixel_flags`` of stacked BOSS spectra: SPPIXMASK bits set in any exposure of any visit. Only bits that
#: mean "no data" are used: a pixel rejected in one exposure does not spoil the stack.
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


def bits(bad_bits: Mapping[str, int]) -> int:
    """The mask value with all these bits set."""
    return sum(1 << bit for bit in bad_bits.values())
