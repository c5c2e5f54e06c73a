"""What is not there is said in a sentence; what is odd in names and tables stays harmless."""

import dataclasses
import sys

import numpy as np
import pytest
from commands import invoke
from models import LABELS, giants_model, held_out, quadratic_model, tiny_model

import slamjax
from slamjax.errors import SlamError


def fitted():
    return slamjax.fit(giants_model(), held_out()[:6], n_starts=1)


def test_without_test_stars_a_page_says_how_to_have_them(words):
    page = slamjax.report(giants_model())
    assert "No test stars were given" in words(page)
    assert "Fitted stars" not in words(page)


def test_spectra_without_known_labels_are_told_of(words):
    stars = held_out()[:5]
    columns = {name: stars.table[name] for name in stars.table.colnames if name != "fe_h"}
    unknown = dataclasses.replace(stars, table=type(stars.table)(columns))
    assert "has no known fe_h to compare fits with" in words(slamjax.report(giants_model(), unknown))


def test_training_stars_do_not_test_a_model(words):
    from helpers import xp_giants

    text = words(slamjax.report(giants_model(), xp_giants()[:9], by="apogee_snr"))
    assert "no star to test with: of 9, 0 lack a label and 9 trained the model" in text


def test_an_empty_table_of_labels_has_a_page(words):
    assert "The table of labels has no rows." in words(slamjax.report(giants_model(), labels=fitted()[:0]))


def test_stars_without_errors_quality_or_flags_have_a_page(words):
    labels = fitted()[["row", *LABELS]]
    text = words(slamjax.report(giants_model(), labels=labels))
    assert "The table has no column of flags." in text
    assert "No star has a χ²." in text
    assert "No values, or no errors, of Teff, log g, [Fe/H], [α/M], χ² / pixel, S/N are in the table." in text


def test_of_many_stars_some_are_drawn_and_all_are_counted(words, sheet):
    labels = fitted()
    labels["flags"] = [slamjax.Flag.FEW_PIXELS, 0, 0, 0, 0, 0]
    page = slamjax.report(giants_model(), labels=labels[np.arange(6000) % 6])
    assert "4,000 of 6,000 stars, by chance" in words(page)
    (row,) = sheet(page, "flags")
    assert (row["flag"], row["stars"]) == ("FEW_PIXELS", "1,000")
    assert len(page.html) < 3e6


def test_fits_that_failed_have_a_page():
    labels = fitted()
    for name in LABELS:
        labels[name][:] = np.nan
        labels[f"{name}_err"][:] = np.inf
    labels["chi2"] = np.nan
    assert "No star has a χ²." in slamjax.report(giants_model(), held_out()[:6], labels).html


def test_a_model_without_scores_has_a_page(words):
    model = giants_model()
    pixels = model.info.pixels.copy()
    pixels["cv_mse"] = np.nan
    info = dataclasses.replace(model.info, pixels=pixels, cv_scores=np.empty((0, 0)))
    model = slamjax.Model(model.host_emulator, model.noise, model.training_labels, info)
    assert "The model has no scores of cross-validation." in words(slamjax.report(model))


@pytest.mark.parametrize("model", [quadratic_model, tiny_model], ids=["quadratic", "one label"])
def test_other_emulators_have_a_page(model, words):
    text = words(slamjax.report(model(), held_out()[:12], by="apogee_snr", on_progress=False))
    assert "no kernel with lengths" in text
    assert "12 stars with known labels were fitted" in text


def test_special_characters_are_text(words):
    bad = "<script>alert(1)</script><!--body-->&\"'"
    labels = fitted()
    labels["apogee_id"] = [bad, *labels["apogee_id"][1:]]
    page = slamjax.report(giants_model(), held_out()[:6], labels, name=bad)
    assert "<script>alert" not in page.html
    assert words(page).count(bad) >= 2


def test_labels_of_another_model_are_refused():
    with pytest.raises(SlamError, match="has no teff"):
        slamjax.report(giants_model(), labels=slamjax.LabelTable({"x": [1.0]}, meta={"labels": "x"}))


def test_labels_of_other_spectra_are_refused():
    with pytest.raises(SlamError, match="not of the 3 spectra"):
        slamjax.report(giants_model(), held_out()[20:23], fitted())


def test_bins_that_cannot_be_are_refused_before_any_fit():
    with pytest.raises(SlamError, match="no_such"):
        slamjax.report(giants_model(), held_out(), by="no_such")
    with pytest.raises(SlamError, match="rising"):
        slamjax.report(giants_model(), held_out(), bins=(100, 50))


@pytest.fixture
def files(tmp_path):
    giants_model().write(tmp_path / "giants.h5")
    slamjax.write_table(held_out()[:6], tmp_path / "new.fits")
    slamjax.write_labels(fitted(), tmp_path / "labels.fits")
    return tmp_path


def test_the_command_reports_test_stars_and_runs(files, words):
    for arguments, part in (
        ((files / "new.fits", "--by", "apogee_snr"), "6 stars with known labels"),
        (("--labels", files / "labels.fits", files / "new.fits"), "6 stars fitted."),
        (("--labels", files / "labels.fits"), "Their spectra are drawn where the spectra are given, too."),
        ((), "No test stars were given"),
    ):
        result = invoke("report", files / "giants.h5", *arguments, "-o", files / "page.html")
        assert result.stdout == f"written: {files / 'page.html'}\n"
        assert part in (files / "page.html").read_text()


def test_without_bokeh_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh.embed", None)
    with pytest.raises(SlamError, match=r"pip install 'slamjax\[explore\]'"):
        slamjax.report(giants_model())
