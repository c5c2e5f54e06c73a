"""What people are told of objects and of files, whichever they are."""

import os
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import QTable, Table
from helpers import DATA, miles, xp_giants
from models import giants_model, held_out

import slamjax
from slamjax.sampling import Diagnostics, Posterior
from slamjax.views import files


def labels(n=12):
    table = slamjax.LabelTable({"row": np.arange(n)}, meta={"labels": "logg"})
    table["logg"], table["logg_err"], table["flags"] = np.full(n, 2.5), np.full(n, 0.1), np.zeros(n, np.int32)
    table["cov"] = np.full((n, 1, 1), 0.01)
    return table


def posterior(n=2):
    draws = np.random.default_rng(0).normal([4500, 2.0], [50, 0.1], size=(2, 100, n, 2))
    ess = np.full((n, 2), 150.0)
    return Posterior(
        ("teff", "logg"), ("K", ""), draws, np.zeros(draws.shape[:3]), np.zeros(draws.shape[:3], bool),
        Diagnostics(np.full((n, 2), np.nan), ess, ess), np.full(n, 0.1), np.full(n, "importance"), np.zeros(n, int),
        {"row": np.arange(n)},
    )  # fmt: skip


def line_of(text, topic):
    return next(line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(f"  {topic}"))


def test_spectra_state_wavelengths_errors_and_ranges():
    text = slamjax.describe(xp_giants())
    assert text.splitlines()[0] == f"150 spectra of {xp_giants().n_pix} pixels"
    assert line_of(text, "wavelengths") == "336 to 1020 nm, vacuum, observed frame, line spread unknown"
    assert f"median S/N per pixel {np.median(xp_giants().snr()):.3g}" in line_of(text, "errors")
    teff = xp_giants().values("teff")
    assert f"teff {teff.min():.5g} to {teff.max():.5g}" in line_of(text, "ranges")
    assert "teff_err" not in line_of(text, "ranges")
    assert "teff_err" in line_of(text, "columns")
    silent = slamjax.describe(miles())
    assert line_of(silent, "errors") == "not stated"
    assert "FWHM 2.5 Angstrom" in line_of(silent, "wavelengths")
    unknown = int(np.isnan(miles().values("fe_h")).sum())
    assert unknown > 0
    assert f"({unknown} unknown)" in line_of(silent, "ranges")


def test_spectra_without_a_good_pixel_are_counted():
    spectra = xp_giants()[:4]
    ivar = spectra.ivar.copy()
    ivar[1:3] = 0
    text = slamjax.describe(spectra.with_arrays(spectra.flux, ivar))
    assert "  bad pixels   50 %; 2 spectra without a good pixel\n" in text


@pytest.mark.parametrize("rows", [0, 1])
def test_no_spectrum_and_one_are_described(rows):
    text = slamjax.describe(xp_giants()[:rows])
    assert text.startswith(f"{rows} spectr{'um' if rows == 1 else 'a'} of ")
    assert "card" not in xp_giants()[:rows]._repr_html_()


def written(kind, folder):
    """A file of a kind, and what it holds."""
    path, thing = folder / kind, None
    if kind == "model.h5":
        thing = giants_model()
        thing.write(path)
    elif kind == "spectra.fits":
        thing = held_out()
        slamjax.write_table(thing, path)
    elif kind in ("labels.fits", "labels.ecsv"):
        thing = labels()
        slamjax.write_labels(thing, path)
    elif kind == "posterior.nc":
        thing = posterior()
        thing.write(path)
    elif kind == "recipe.toml":
        thing = giants_model().recipe
        thing.write(path)
    return path, thing


KINDS = ["model.h5", "spectra.fits", "labels.fits", "labels.ecsv", "posterior.nc", "recipe.toml"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_described_as_what_it_holds(kind, tmp_path):
    path, thing = written(kind, tmp_path)
    text = slamjax.describe(path)
    assert text.splitlines()[0] == slamjax.describe(thing).splitlines()[0]
    if kind != "spectra.fits":  # whose source is the file
        assert text == slamjax.describe(thing)


@pytest.mark.parametrize("kind", KINDS)
def test_the_content_decides_not_the_name(kind, tmp_path):
    path, _ = written(kind, tmp_path)
    before = slamjax.describe(path).splitlines()[0]
    os.rename(path, tmp_path / "thing")
    assert slamjax.describe(tmp_path / "thing").splitlines()[0] == before


def test_labels_and_posteriors_list_their_first_stars():
    text = slamjax.describe(labels())
    assert "12 of 12 without flags" in text
    assert text.count("2.50 ± 0.10") == 10
    assert text.endswith("and 2 more")
    listed = slamjax.describe(posterior())
    assert listed.count("good") == 2
    assert "more" not in listed
    assert "drawn by     importance (2 stars)" in listed
    assert "R-hat" not in listed  # importance draws have none


def test_a_plain_table_of_labels_is_described_and_another_refused():
    assert slamjax.describe(QTable(labels())) == slamjax.describe(labels())
    with pytest.raises(slamjax.SlamError, match="does not name its labels"):
        slamjax.describe(Table({"a": [1]}))
    with pytest.raises(TypeError, match="describe takes models, spectra"):
        slamjax.describe(3)


def test_survey_files_are_described_as_spectra():
    text = slamjax.describe(DATA / "surveys" / "3703110.fits")
    assert text.startswith("1 spectrum of ")
    assert "vacuum, observed frame" in text


@pytest.mark.parametrize("name", ["s.fits", "s.parquet"])
def test_of_a_large_file_the_first_rows_are_read(tmp_path, monkeypatch, name):
    slamjax.write_table(held_out(), tmp_path / name)
    monkeypatch.setattr(files, "_LARGE", 30_000)
    text = slamjax.describe(tmp_path / name)
    n = int(text.split()[0])
    assert 1 <= n < len(held_out())
    assert text.endswith(f"(of the first {n} of {len(held_out())} spectra in the file)")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"hello", "is none of slamjax's files"),
        ("empty.h5", b"", "is none of slamjax's files"),
        ("cut.fits", b"SIMPLE  =", "cut.fits"),
        ("cut.h5", b"slamjax, HDF5 after 512 bytes", "cut.h5"),
        ("bad.toml", b"[[steps]]\nstep = ", "bad.toml"),
        ("l.csv", b"teff\n4500\n", "is CSV, which states no units"),
    ],
)
def test_files_that_cannot_be_described_are_refused_in_one_sentence(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(slamjax.SlamError, match=message):
        slamjax.describe(tmp_path / name)


def test_a_model_is_described_without_loading_numpyro(tmp_path):
    giants_model().write(tmp_path / "m.h5")
    code = "import sys, slamjax; slamjax.describe(sys.argv[1]); print('numpyro' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m.h5"], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_cards_are_short_escaped_and_without_colours_of_their_own():
    stars = held_out()[:3]
    odd = slamjax.Spectra(stars.wave, stars.flux, stars.ivar, stars.table, wave_unit="nm", source="<b>&")
    for thing in (giants_model(), odd, labels(), posterior()):
        card = thing._repr_html_()
        assert card.startswith("<div")
        assert card.count("<div") == card.count("</div>")
        assert len(card) < 8000
        assert "color:#" not in card.replace("border-color", "")
        assert "background" not in card
    assert "&lt;b&gt;&amp;" in odd._repr_html_()
    assert "teff " in giants_model()._repr_html_()
    assert str(giants_model().recipe) in giants_model()._repr_html_()
