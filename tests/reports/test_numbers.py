"""What a report states is what the functions that it is made of give."""

import json
import re

import numpy as np
from models import LABELS, giants_model, held_out, searched_model

import slamjax
from slamjax.plots.calibration import judge_errors
from slamjax.validation import calibration_table, scatter_table

TITLES = dict(zip(LABELS, ("Teff", "log g", "[Fe/H]", "[α/M]"), strict=True))


def first_number(text):
    return float(text.split()[0])


def test_scatter_pulls_and_coverage_are_those_of_the_validation_functions(page, validated, sheet):
    rows = sheet(page, "calibration")
    snr = held_out().values("apogee_snr")
    scatter = scatter_table(validated.labels, LABELS, snr)
    calibration = calibration_table(validated.comparison, snr)
    assert len(rows) == len(calibration) == 5 * (len(LABELS) + 1)
    for row, expected in zip(rows, calibration, strict=True):
        assert row["label"] == TITLES.get(expected["label"], expected["label"])
        assert int(row["stars"]) == expected["n"]
        assert row["pull width"] == f"{expected['pull_width']:.2f}"
        assert row["68 %"] == f"{100 * expected['cover68']:.1f}"
        assert row["95 %"] == f"{100 * expected['cover95']:.1f}"
    single = [row for row in rows if row["label"] != "jointly"]
    for row, expected in zip(single, scatter, strict=True):
        np.testing.assert_allclose(float(row["robust scatter"]), expected["scatter"], rtol=0.01)
        np.testing.assert_allclose(first_number(row["bias"]), expected["median"], atol=0.06 * expected["scatter"])


def test_verdicts_on_errors_are_in_the_first_lines(page, validated, words):
    glance = words(page).partition("Test stars were")[0]
    for name, pulls in zip(LABELS, validated.comparison.pull.T, strict=True):
        assert judge_errors(pulls).replace("\n", "; ") in glance, name


def test_the_worst_stars_are_those_of_the_largest_distance(page, validated, sheet):
    order = np.argsort(-validated.comparison.distance)[:12]
    rows = sheet(page, "worst")
    assert [row["star"] for row in rows] == [str(validated.labels["apogee_id"][k]).strip() for k in order]
    np.testing.assert_allclose(
        [float(row["pull of Teff"]) for row in rows], validated.comparison.pull[order, 0], atol=0.051
    )


def test_flags_are_counted_with_their_advice(sheet):
    model, stars = giants_model(), held_out()[:8]
    labels = slamjax.fit(model, stars, n_starts=1)
    high, bound = slamjax.Flag.HIGH_CHI2, slamjax.Flag.AT_BOUND
    labels["flags"] = [0, 0, high, high, high, high | bound, 0, 0]
    page = slamjax.report(model, stars, labels)
    rows = {row["flag"]: row for row in sheet(page, "flags")}
    assert {name: row["stars"] for name, row in rows.items()} == {"AT_BOUND": "1", "HIGH_CHI2": "4"}
    assert rows["HIGH_CHI2"]["share"] == "50.0 %"
    assert rows["HIGH_CHI2"]["what to do"] == slamjax.flags.FLAG_ADVICE[high]
    assert rows["AT_BOUND"]["meaning"] == slamjax.flags.FLAG_MEANINGS[bound]


def test_the_worst_fits_are_those_of_the_largest_chi2(validated, sheet):
    page = slamjax.report(giants_model(), labels=validated.labels)
    chi2 = np.asarray(validated.labels["chi2"] / validated.labels["n_pix"])
    shown = [float(row["χ² / pixel"]) for row in sheet(page, "worst-chi2")]
    np.testing.assert_allclose(shown, np.sort(chi2)[::-1][:12], atol=0.0051)


def test_search_scores_and_choices_of_pixels_are_listed(sheet):
    model = searched_model()
    rows = sheet(slamjax.report(model), "candidates")
    tried, pixels = model.info.candidates, model.info.pixels[model.trained]
    assert len(rows) == len(tried) == 6
    for k, (row, candidate) in enumerate(zip(rows, tried, strict=True)):
        assert (float(row["C"]), float(row["gamma"])) == (candidate["C"], candidate["gamma"])
        chose = (pixels["C"] == candidate["C"]) & (pixels["gamma"] == candidate["gamma"])
        assert int(row["pixels"]) == chose.sum()
        expected = np.median(model.info.cv_scores[model.trained, k])
        np.testing.assert_allclose(float(row["median CV error / variance"]), expected, atol=5.1e-5)
    assert sum(int(row["pixels"]) for row in rows) == model.trained.sum()


def test_lengths_of_the_kernel_are_those_of_the_metric(sheet):
    model = giants_model()
    rows = {row["label"]: row for row in sheet(slamjax.report(model), "lengths")}
    for k, name in enumerate(LABELS):
        length = model.host_emulator.length_scales[k] / np.sqrt(2 * 0.1)
        np.testing.assert_allclose(float(rows[TITLES[name]]["length of the kernel"]), length, rtol=0.006)
        span = np.ptp(model.label_range[k]) / length
        np.testing.assert_allclose(float(rows[TITLES[name]]["lengths in the training range"]), span, atol=0.0051)


def test_a_page_asks_no_other_place_for_anything(page):
    own = re.sub(r"<script>.*?</script>", "", page.html, flags=re.DOTALL)  # Bokeh's comments name addresses
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", own)
    assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", own)
    assert {found for found in re.findall(r"""\shref=["']([^"']*)""", own) if not found.startswith("#")} == {"data:,"}
    (figures,) = re.findall(r'<script id="figures" type="application/json">(.*?)</script>', page.html)
    targets = json.loads(figures)["places"][0]["roots"].values()
    assert all(f'id="{target}"' in own for target in targets)
    assert len(targets) > 20
