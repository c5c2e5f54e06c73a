"""Spectra of every kind that a table may hold, and whether two are the same."""

import string

import numpy as np
from astropy import units as u
from astropy.table import Table
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slamjax.spectra.spectra import Spectra

WAVE = np.array([400.0, 401.0, 403.0, 406.0])


def make(n=3, **given):
    fields = {"wave": WAVE, "flux": np.ones((n, 4)), "ivar": np.full((n, 4), 4.0), "wave_unit": "nm"}
    return Spectra(**{**fields, **given})


def assert_same(a, b):
    for name in ("wave", "flux", "ivar"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype, name
    assert (a.wave_unit, a.medium, a.frame, a.flux_unit) == (b.wave_unit, b.medium, b.frame, b.flux_unit)
    assert type(a.fwhm) is type(b.fwhm)
    assert np.array_equal(a.fwhm, b.fwhm, equal_nan=isinstance(a.fwhm, np.ndarray))
    assert a.table.colnames == b.table.colnames
    for name in a.table.colnames:
        np.testing.assert_array_equal(np.asarray(a.table[name]), np.asarray(b.table[name]))
        assert a.table[name].dtype.kind == b.table[name].dtype.kind
        assert a.table[name].unit == b.table[name].unit


# FITS strings are ASCII and lose trailing spaces
words = st.text(string.ascii_letters + string.digits + " +-.&'", max_size=8).map(str.rstrip)


@st.composite
def spectra_of_any_kind(draw):
    n, p = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    width = 32 if dtype == np.float32 else 64
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    positive = st.floats(0, allow_infinity=True, width=width)
    columns = {
        f"c{k}": draw(kind)
        for k, kind in enumerate(
            [
                st.lists(words, min_size=n, max_size=n),
                *(
                    hnp.arrays(kind, n, elements=None if kind[0] != "f" else st.floats(width=8 * int(kind[1])))
                    for kind in ("f4", "f8", "i2", "i4", "i8", "u1", "u2", "u8", "b1")
                ),
            ]
        )
    }
    table = Table(columns)
    for name in ("c1", "c2"):
        table[name].unit = draw(st.sampled_from([None, u.K, u.km / u.s, u.mag, u.dex, u.dex(u.cm / u.s**2)]))
    steps = draw(hnp.arrays(np.float64, p, elements=st.floats(1e-3, 1e3)))
    return Spectra(
        wave=300 + np.cumsum(steps),
        flux=draw(hnp.arrays(dtype, (n, p), elements=finite)),
        ivar=draw(st.one_of(st.none(), hnp.arrays(dtype, (n, p), elements=positive))),
        table=table,
        wave_unit=draw(st.sampled_from([u.nm, u.AA, u.um, u.m])),
        medium=draw(st.sampled_from(["vacuum", "air", "unknown"])),
        frame=draw(st.sampled_from(["rest", "observed", "unknown"])),
        flux_unit=draw(st.sampled_from([None, "", "1e-17 erg / (s cm2 AA)", "3 W / (m2 nm)", "Jy", "adu"])),
        fwhm=draw(
            st.one_of(
                st.none(),
                st.floats(1e-3, 1e3),
                hnp.arrays(np.float64, p, elements=st.floats(1e-3, 1e3)),
                hnp.arrays(np.float64, (n, p), elements=st.one_of(st.floats(1e-3, 1e3), st.just(np.nan))),
            )
        ),
    )
