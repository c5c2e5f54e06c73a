"""Simulated GaiaXPy files of real XP spectra, compared with the arrays written and with astropy."""

import csv
import re

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from models import giants_model, held_out
from survey_files import XP_SCALE, xp_arrays, xp_csv, xp_ecsv, xp_fits

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.io import read
from slamjax.io.surveys.gaia import DEFAULT_SAMPLING, vectors


@pytest.mark.parametrize(("make", "name"), [(xp_csv, "xp.csv"), (xp_ecsv, "xp.ecsv"), (xp_fits, "xp.fits")])
def test_every_format_gives_the_same_spectra_on_the_grid_of_the_table(tmp_path, make, name):
    spectra = read(make(tmp_path / name))
    source_id, wave, flux, error = xp_arrays()
    np.testing.assert_array_equal(spectra.wave, wave)
    np.testing.assert_array_equal(wave, DEFAULT_SAMPLING)
    np.testing.assert_array_equal(spectra.flux, flux)
    np.testing.assert_allclose(spectra.ivar, error**-2, rtol=2e-7)  # GaiaXPy's errors in FITS are float32
    np.testing.assert_array_equal(spectra.table["source_id"], source_id)
    assert list(spectra.table["id"]) == [str(one) for one in source_id]
    table = held_out()
    assert (spectra.medium, spectra.frame, spectra.wave_unit) == (table.medium, table.frame, table.wave_unit)


def test_astropy_reads_the_same_ecsv(tmp_path):
    path = xp_ecsv(tmp_path / "xp.ecsv")
    reference, spectra = Table.read(path, format="ascii.ecsv"), read(path)
    np.testing.assert_array_equal(spectra.flux, reference["flux"])
    np.testing.assert_array_equal(spectra.wave, reference.meta["sampling"])


def test_a_model_trained_on_a_table_fits_gaiaxpy_files(tmp_path):
    model = giants_model()
    labels = slamjax.fit(model, read(xp_csv(tmp_path / "xp.csv")))
    expected = slamjax.fit(model, held_out()[:4])
    for name in ("teff", "logg", "fe_h"):
        np.testing.assert_allclose(labels[name], expected[name], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(labels[f"{name}_err"], expected[f"{name}_err"], rtol=1e-2)


def test_sources_without_a_spectrum_are_flagged_rows(tmp_path):
    path = xp_csv(tmp_path / "xp.csv")
    rows = path.read_text().splitlines()
    rows[2] = rows[2].split(",")[0] + ",,"
    path.write_text("\n".join(rows))
    for spectra in (read(path), read(xp_fits(tmp_path / "xp.fits", missing=True))):
        assert list(spectra.good.any(axis=1)) == [True, False, True, True]
        assert "no spectrum of this source" in spectra.table["problem"][1]
        np.testing.assert_array_equal(spectra.flux[[0, 2, 3]], xp_arrays()[2][[0, 2, 3]])


def test_patterns_skip_sampling_files(tmp_path):
    for name in ("a.csv", "b.csv"):
        xp_csv(tmp_path / name)
    spectra = read(str(tmp_path / "*.csv"))
    assert list(spectra.table["file"]) == ["a.csv"] * 4 + ["b.csv"] * 4
    assert list(read(sorted(tmp_path.glob("*.csv"))).table["file"]) == list(spectra.table["file"])
    with pytest.raises(SlamError, match=r"a_sampling\.csv: has wavelengths only; read a\.csv"):
        read(tmp_path / "a_sampling.csv")


def test_without_wavelengths_only_the_default_number_of_pixels_is_accepted(tmp_path):
    np.testing.assert_array_equal(read(xp_csv(tmp_path / "xp.csv", sampling=False)).wave, DEFAULT_SAMPLING)
    short = xp_csv(tmp_path / "short.csv", lambda values: str(tuple(values[:10].tolist())), sampling=False)
    with pytest.raises(SlamError, match=r"does not state the wavelengths of its 10 pixels.*NAME_sampling\.csv"):
        read(short)
    with_file = xp_csv(tmp_path / "file.csv", lambda values: str(tuple(values[:10].tolist())))
    np.testing.assert_array_equal(read(with_file).wave, DEFAULT_SAMPLING[:10])


def test_numbers_printed_by_numpy_2_are_read(tmp_path):
    def wrap(values):
        return f"({', '.join(f'np.float64({x!r})' for x in values.tolist())})"

    plain, wrapped = xp_csv(tmp_path / "plain.csv"), xp_csv(tmp_path / "wrapped.csv", wrap)
    np.testing.assert_array_equal(read(plain).flux, read(wrapped).flux)
    np.testing.assert_array_equal(read(plain).wave, read(wrapped).wave)


def renamed(text):
    return text.replace("flux_error", "flux_err")


def uncalibrated(text):
    return re.sub(
        r"^(\d+|source_id),", lambda result: result[0] + ("BP," if result[1].isdigit() else "xp,"), text, flags=re.M
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "has no column flux_error"),
        (uncalibrated, "write it with gaiaxpy.calibrate"),
        (lambda text: text[: len(text) // 2], "is cut off|in others"),
        (lambda text: text.replace("e-1", "e-x", 1), "a value of flux that is no number"),
        (lambda text: text.replace(text.splitlines()[1].split(",")[0], "star", 1), "source_id that is no whole number"),
        (lambda text: text.splitlines()[0], "has no row"),
        (lambda text: "", "has no row"),
    ],
)
def test_errors_of_broken_text_say_what_is_wrong(tmp_path, change, message):
    good, path = xp_csv(tmp_path / "good.csv"), xp_csv(tmp_path / "broken.csv")
    path.write_text(change(path.read_text()))
    with pytest.raises(SlamError, match=rf"broken\.csv: .*({message})"):
        read(path)
    with pytest.warns(SlamWarning, match="1 of 2 files give no spectrum"):
        spectra = read([good, path])
    assert spectra.good.any(axis=1).tolist() == [True] * 4 + [False]


def test_long_fields_are_read_and_pythons_limit_is_restored(tmp_path):
    before = csv.field_size_limit()
    path = xp_csv(tmp_path / "xp.csv")
    rows = path.read_text().splitlines()
    long = f'"({", ".join(["0.25"] * 60_000)})"'
    path.write_text("\n".join([f"{rows[0]},correlation", *(f"{row},{long}" for row in rows[1:])]))
    np.testing.assert_array_equal(read(path).flux, xp_arrays()[2])
    assert csv.field_size_limit() == before


def test_invalid_errors_are_bad_pixels(tmp_path):
    path = xp_csv(tmp_path / "xp.csv")
    rows = path.read_text().splitlines()
    head, flux, error = rows[1].split('"')[0], rows[1].split('"')[1], rows[1].split('"')[3]
    values = error.strip("()").split(", ")
    values[:3] = ["nan", "-1e-18", "0.0"]
    path.write_text("\n".join([rows[0], f'{head}"{flux}","({", ".join(values)})"', *rows[2:]]))
    assert list(np.flatnonzero(~read(path).good[0])) == [0, 1, 2]


@given(arrays(float, (3, 4), elements=st.floats(allow_nan=True, allow_infinity=False)))
def test_vectors_are_parsed_from_every_notation(values):
    ways = [
        [str(tuple(row)) for row in values.tolist()],
        [str(row) for row in values.tolist()],
        ["[" + ", ".join("null" if np.isnan(x) else repr(x) for x in row) + "]" for row in values.tolist()],
    ]
    for cells in ways:
        np.testing.assert_array_equal(vectors(cells, "flux"), values)


def test_errors_of_faint_fluxes_do_not_overflow(tmp_path):
    """1 / σ² of a star of 15th magnitude is beyond float32."""
    spectra = read(xp_fits(tmp_path / "xp.fits"))
    assert XP_SCALE < 1e-16
    assert spectra.ivar.dtype == np.float64
    assert np.isfinite(spectra.ivar).all()
    slamjax.write_table(spectra, tmp_path / "table.fits")
    np.testing.assert_array_equal(slamjax.read_table(tmp_path / "table.fits").ivar, spectra.ivar)
