"""Differences from known labels by bin, and which stars may count."""

import dataclasses
import os
from functools import cache

import numpy as np
import pytest
from astropy.table import Table, vstack
from helpers import xp_giants
from models import LABELS, giants_model, held_out
from scipy.stats import norm

from slamjax.errors import SlamError
from slamjax.spectra.spectra import Spectra
from slamjax.validation import compare_fit, format_scatter, scatter_table, validate

SIGMAS_PER_MAD = 1 / norm.ppf(0.75)
STATISTICS = ("median", "std", "mad", "scatter", "pull")


@cache
def validated():
    return validate(giants_model(), held_out(), n_starts=1, by="apogee_snr", bins=(80, 150, 400))


def fitted(n=101, seed=2):
    rng = np.random.default_rng(seed)
    known = rng.normal(4500, 300, n)
    labels = Table({"teff": known + rng.normal(20, 50, n), "teff_ref": known, "teff_err": rng.uniform(30, 60, n)})
    labels["flags"] = np.where(rng.random(n) < 0.3, 4, 0)
    return labels, rng.uniform(0, 30, n)


def by_hand(labels, chosen):
    difference = (labels["teff"] - labels["teff_ref"])[chosen]
    pull = difference / labels["teff_err"][chosen]
    middle = np.median(difference)
    mad = np.median(np.abs(difference - middle))
    return [
        middle,
        np.sqrt(np.mean((difference - np.mean(difference)) ** 2)),
        mad,
        SIGMAS_PER_MAD * mad,
        SIGMAS_PER_MAD * np.median(np.abs(pull - np.median(pull))),
    ]


@pytest.mark.parametrize("good_only", [False, True])
def test_statistics_agree_with_those_by_hand(good_only):
    labels, snr = fitted()
    table = scatter_table(labels, ["teff"], snr, [0, 10, 30], good_only=good_only)
    usable = labels["flags"] == 0 if good_only else np.ones(len(labels), bool)
    for row, chosen in zip(table, [usable, usable & (snr < 10), usable & (snr >= 10)], strict=True):
        assert row["n"] == chosen.sum()
        np.testing.assert_allclose([row[name] for name in STATISTICS], by_hand(labels, chosen), rtol=1e-12)
    assert table["n"][0] < 101 if good_only else table["n"][0] == 101
    assert np.isnan(table["low"][0])
    assert np.isnan(table["high"][0])


def test_a_bin_includes_its_lower_edge_only():
    labels, _ = fitted(3)
    table = scatter_table(labels, ["teff"], np.array([1.0, 2.0, 3.0]), [1, 2, 3])
    assert list(table["n"]) == [3, 1, 1]


def test_quartiles_count_every_star_once():
    """The largest value belongs to the last bin although bins are open above."""
    labels, snr = fitted()
    table = scatter_table(labels, ["teff"], snr)
    assert len(table) == 5
    assert table["n"][1:].sum() == 101
    assert np.ptp(table["n"][1:]) <= 1


def test_an_empty_bin_has_no_stars_and_no_statistics():
    labels, snr = fitted()
    row = scatter_table(labels, ["teff"], snr, [0, 50, 60])[-1]
    assert row["n"] == 0
    assert all(np.isnan(row[name]) for name in STATISTICS)


def test_failed_fits_and_unknown_labels_are_not_counted():
    labels, snr = fitted()
    labels["teff"][:5], labels["teff_err"][:5], labels["teff_ref"][5:8] = np.nan, np.inf, np.nan
    table = scatter_table(labels, ["teff"], snr, [0, 30])
    assert list(table["n"]) == [93, 93]
    np.testing.assert_allclose([table[name][0] for name in STATISTICS], by_hand(labels, slice(8, None)), rtol=1e-12)


def test_infinite_errors_count_in_the_scatter_and_not_in_the_pull():
    labels, snr = fitted()
    half = np.arange(101) < 50
    expected = by_hand(labels, ~half)[-1]
    labels["teff_err"][half] = np.inf
    row = scatter_table(labels, ["teff"], snr, [])[0]
    assert row["n"] == 101
    np.testing.assert_allclose(row["pull"], expected, rtol=1e-12)


def test_training_stars_are_left_out_by_identifier_and_by_flux():
    """Rows of other files: the same stars with other noise, and the same spectra with no name."""
    stars = xp_giants()
    noisy, nameless = stars[:4], stars[4:7]
    noisy = noisy.with_arrays(noisy.flux * np.float32(1.01), noisy.ivar)
    nameless = dataclasses.replace(nameless, table=nameless.table.copy())
    nameless.table["apogee_id"], nameless.table["source_id"] = "", 0
    joined = join(noisy, join(stars[110:116], nameless))
    result = validate(giants_model(), joined, n_starts=1)
    assert result.n_excluded == 7
    assert list(result.labels["row"]) == list(range(4, 10))
    assert result.table["n"][0] == 6

    kept = validate(giants_model(), joined, n_starts=1, include_training=True)
    assert list(kept.labels["row"]) == list(range(13))
    assert kept.n_excluded == 0


def join(a, b):
    return Spectra(
        a.wave,
        np.concatenate([a.flux, b.flux]),
        np.concatenate([a.ivar, b.ivar]),
        vstack([a.table, b.table]),
        wave_unit="nm",
        medium="vacuum",
    )


def test_stars_without_a_known_label_are_left_out():
    some = held_out()[:6]
    some = dataclasses.replace(some, table=some.table.copy())
    some.table["fe_h"][[1, 4]] = np.nan
    result = validate(giants_model(), some, n_starts=1)
    assert list(result.labels["row"]) == [110, 112, 113, 115]
    assert set(result.table["label"]) == set(LABELS)


def test_stars_are_binned_by_a_column_of_the_table():
    result = validated()
    snr = held_out().values("apogee_snr")
    teff = result.table[result.table["label"] == "teff"]
    assert list(teff["n"]) == [40, np.sum((snr >= 80) & (snr < 150)), np.sum((snr >= 150) & (snr < 400))]
    assert result.n_excluded == 0
    assert "apogee_snr" in str(result)


def test_the_snr_of_a_catalogue_is_used_if_spectra_state_no_errors():
    stars = held_out()[:6]
    table = stars.table.copy()
    table["snr"] = np.arange(6.0)
    silent = Spectra(stars.wave, stars.flux, None, table, wave_unit="nm", medium="vacuum")
    with pytest.warns(UserWarning, match="states no flux errors"):
        result = validate(giants_model(), silent, n_starts=1, bins=(0, 2, 6))
    assert list(result.table["n"][[0, 4, 8]]) == [6, 2, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": [10]}, "give at least two edges, rising"),
        ({"bins": [10, 20, 20]}, "bins are 10, 20, 20; give at least two edges, rising"),
        ({"bins": [float("nan"), 3]}, "give at least two edges, rising"),
        ({"by": "colour"}, "has no column 'colour'; it has: apogee_id"),
        ({"by": "apogee_id"}, "column 'apogee_id' of .* holds no numbers"),
    ],
)
def test_impossible_bins_are_refused_before_the_fit(options, message):
    def told(done, total):
        raise AssertionError("fitting has begun")

    with pytest.raises(SlamError, match=message):
        validate(giants_model(), held_out(), on_progress=told, **options)


def test_a_missing_label_is_named():
    stars = held_out()
    stars = dataclasses.replace(stars, table=stars.table["apogee_id", "teff"])
    with pytest.raises(SlamError, match="has no column 'logg', 'fe_h', 'alpha_m'; it has: apogee_id, teff"):
        validate(giants_model(), stars)


def test_an_error_says_why_no_star_is_left():
    with pytest.raises(SlamError, match="no star to validate with: of 20, 0 lack a label and 20 trained the model"):
        validate(giants_model(), xp_giants()[:20])


def test_the_printed_tables_have_a_line_for_every_label_and_bin():
    """And the table of errors one more, for the labels together."""
    scatter, words, calibration = str(validated()).split("\n\n")
    assert "percentages" in words
    errors = calibration.splitlines()
    assert len(errors) == 2 + 5 * 3
    assert len({len(line) for line in errors}) == 1
    assert errors[6].split("|")[2].strip() == "jointly"
    lines = scatter.splitlines()
    assert len(lines) == 2 + 4 * 3
    assert len({len(line) for line in lines}) == 1
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:3] == ["all", "teff", "40"]
    assert cells[3] == f"{validated().table['median'][0]:.1f}"
    assert "80.0-150.0" in lines[6]


def test_negative_edges_can_be_read():
    labels, _ = fitted(4)
    table = scatter_table(labels, ["teff"], np.array([-2.5, -2.4, -1.0, -1.0]), [-3, -2, 0])
    assert "-3.000 to -2.000" in format_scatter(table, "fe_h")


@pytest.mark.parametrize("name", ["report.ecsv", "report.csv", "report.fits"])
def test_a_written_report_reads_back_equal(name, tmp_path):
    result = validated()
    result.write(tmp_path / name)
    back = Table.read(tmp_path / name)
    report = result.to_table()
    assert back.colnames == report.colnames
    for column in back.colnames:
        np.testing.assert_array_equal(np.ma.filled(back[column], np.nan), report[column])
    single = np.asarray(report["label"]) != "jointly"
    for column in ("label", "low", "n", "median", "std", "scatter"):
        np.testing.assert_array_equal(np.asarray(report[column])[single], result.table[column])
    np.testing.assert_allclose(np.asarray(report["pull_width"])[single], result.table["pull"], rtol=1e-12)
    assert np.all(np.isnan(np.asarray(report["std"])[~single]))
    assert os.listdir(tmp_path) == [name]


def test_any_other_ending_gives_markdown(tmp_path):
    validated().write(tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == f"{validated()}\n"


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    """A table that FITS cannot hold stands for a full disk."""
    calibration = validated().calibration.copy()
    calibration["what"] = np.array([{}] * len(calibration), dtype=object)
    with pytest.raises(Exception, match=r"(?i)object|dtype|column|type"):
        dataclasses.replace(validated(), calibration=calibration).write(tmp_path / "report.fits")
    assert os.listdir(tmp_path) == []


def test_reference_errors_are_added_on_request():
    """A catalogue less precise than the training stars': the same fits, wider intervals."""
    stars = held_out()[:8]
    result = validate(giants_model(), stars, n_starts=1, reference_errors=True)
    errors = np.stack([stars.values(f"{name}_err") for name in LABELS], axis=-1)
    assert np.all(errors > 0)
    expected = compare_fit(result.labels, LABELS, reference_errors=errors)
    np.testing.assert_array_equal(result.comparison.pull, expected.pull)
    assert np.all(np.abs(result.comparison.pull) < np.abs(compare_fit(result.labels, LABELS).pull))


def test_missing_reference_errors_are_reported_before_the_fit():
    stars = held_out()
    stars = dataclasses.replace(stars, table=stars.table["apogee_id", *LABELS])

    def told(done, total):
        raise AssertionError("fitting has begun")

    with pytest.raises(SlamError, match="has no column 'teff_err', 'logg_err'"):
        validate(giants_model(), stars, reference_errors=True, on_progress=told)
