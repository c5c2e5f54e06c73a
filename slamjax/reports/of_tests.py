"""What a report says of test stars: how far fitted labels are from known ones, and whether errors tell so."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from scipy import stats

from slamjax._util.rounding import with_error
from slamjax.flags import flag_names
from slamjax.model.model import Model
from slamjax.plots.calibration import coverage_curves, judge_errors, known_pits
from slamjax.reports import charts
from slamjax.reports.blocks import Block, Chart, Charts, Column, Section, Sentence, Sheet
from slamjax.reports.charts import Points
from slamjax.reports.star_charts import spectrum_charts
from slamjax.reports.words import chi2_per_pixel, counted, fixed, numbers, short, star_names, title, titles
from slamjax.spectra.spectra import Spectra
from slamjax.validation import Validation
from slamjax.validation.coverage import JOINT, LEVELS

#: Stars that the table of the worst lists, and those whose spectra are drawn.
LISTED, DRAWN = 12, 4
_PIT_BINS = 20


def no_tests(why: str) -> Section:
    """The section where there is nothing to compare."""
    return Section("tests", "Test stars", [Sentence(why, is_note=True)])


def tests_section(model: Model, validation: Validation, spectra: Spectra | None) -> Section:
    """Fitted against known labels of stars that did not train the model."""
    comparison, by = validation.comparison, _binned_by(validation.by)
    left_out = validation.n_excluded
    blocks: list[Block] = [
        Sentence(
            f"{counted(len(comparison), 'star')} with known labels were fitted"
            + (f"; {counted(left_out, 'training star')} among them left out." if left_out else ".")
        )
    ]
    if not known_pits(comparison):
        return Section("tests", "Test stars", [*blocks, Sentence("None has both a fit and errors.", is_note=True)])
    blocks += [
        Sentence(
            f"Fitted minus known labels by {by}. Robust scatter is 1.4826 MAD; pulls are (fit − known) / error, of "
            "width 1 if errors are right; percentages are of the stars whose known label lies in the central "
            "50, 68, 90 and 95 % interval."
        ),
        _by_bin(validation, by),
        Charts(_label_charts(model, validation)),
        Charts([*_bin_charts(validation.calibration, by), *_calibration_charts(validation)]),
        *_worst(model, validation, spectra),
    ]
    return Section("tests", "Test stars", blocks)


def scatters(validation: Validation) -> dict[str, str]:
    """Robust scatter of each label, of all stars."""
    table = validation.table[np.isnan(validation.table["low"])]
    return {str(row["label"]): f"robust scatter {row['scatter']:.3g}" for row in table}


def verdicts(validation: Validation) -> dict[str, str]:
    """Whether the errors of each label are right, in words."""
    pulls = zip(validation.comparison.names, validation.comparison.pull.T, strict=True)
    return {name: judge_errors(pull).replace("\n", "; ") for name, pull in pulls}


def _binned_by(by: str) -> str:
    return {"snr": "S/N", "apogee_snr": "APOGEE's S/N"}.get(by, by)


def _bins(table: Table, by: str) -> Column:
    names = ["all" if np.isnan(row["low"]) else f"{short(row['low'])} to {short(row['high'])}" for row in table]
    return Column(by, names, [-np.inf if np.isnan(row["low"]) else float(row["low"]) for row in table])


def _by_bin(validation: Validation, by: str) -> Sheet:
    """Scatter and calibration, for each label and bin."""
    table = validation.to_table()
    biases = list(zip(table["median"], table["bias_err"], strict=True))
    return Sheet(
        "calibration",
        [
            _bins(table, by),
            Column("label", [title(str(name)) for name in table["label"]]),
            Column.of_numbers("stars", table["n"], "{:.0f}".format),
            Column.of_numbers("flagged", table["flagged"], "{:.0f}".format),
            Column("bias", [with_error(*pair) for pair in biases], [float(bias) for bias, _ in biases]),
            Column.of_numbers("robust scatter", table["scatter"], "{:.3g}".format),
            Column.of_numbers("standard deviation", table["std"], "{:.3g}".format),
            Column.of_numbers("pull width", table["pull_width"], fixed(2)),
            Column.of_numbers("pull sd", table["pull_sd"], fixed(2)),
            *(
                Column.of_numbers(f"{100 * level:.0f} %", 100 * table[f"cover{100 * level:.0f}"], fixed(1))
                for level in LEVELS
            ),
            Column.of_numbers("χ² / dof", table["chi2_dof"], fixed(2)),
        ],
    )


def _label_charts(model: Model, validation: Validation) -> list[Chart]:
    """Fitted against known labels; flagged stars in another colour."""
    labels, drawn = validation.labels, []
    flags = np.asarray(labels["flags"])
    rows = charts.some_of(len(labels))
    names = np.array(star_names(labels, rows))
    for name, shown in titles(model).items():
        known, fitted = numbers(labels, f"{name}_ref")[rows], numbers(labels, name)[rows]
        figure = charts.empty(f"known {shown}", f"fitted {shown}")
        ends = np.array([np.nanmin(known), np.nanmax(known)]) if np.isfinite(known).any() else np.zeros(2)
        for is_flagged, role, legend in ((False, "accent", "good"), (True, "flagged", "flagged")):
            some = (flags[rows] != 0) == is_flagged
            if some.any():
                texts = {
                    "star": names[some],
                    "known": [short(value) for value in known[some]],
                    "fitted": [short(value) for value in fitted[some]],
                    "flags": [flag_names(int(flag)) or "none" for flag in flags[rows][some]],
                }
                charts.add_points(figure, Points(known[some], fitted[some], role, legend, texts))
        charts.add_line(figure, Points(ends, ends, "muted"), dash="dashed")
        drawn.append(Chart(title(name), charts.finish(figure)))
    return drawn


def _bin_charts(table: Table, by: str) -> list[Chart]:
    """Pull width and coverage in bins."""
    binned = table[np.isfinite(table["low"])]
    if len(binned) == 0:
        return []
    widths, cover = charts.empty(by, "pull width"), charts.empty(by, "stars within the 68 % interval [%]")
    names = list(dict.fromkeys(str(name) for name in table["label"]))
    for number, name in enumerate(names):
        rows = binned[binned["label"] == name]
        middle = 0.5 * (np.asarray(rows["low"], float) + np.asarray(rows["high"], float))
        role = charts.SERIES[number % len(charts.SERIES)]
        dash = "dashed" if name == JOINT else "solid"
        for figure, values in ((widths, rows["pull_width"]), (cover, 100 * rows["cover68"])):
            points = Points(middle, np.asarray(values, float), role, title(name))
            charts.add_line(figure, points, dash=dash, marked=True)
    charts.add_level(widths, 1.0)
    charts.add_level(cover, 68.0)
    return [
        Chart(f"Pull width by {by}", charts.finish(widths), "1 if errors are right", kind="double"),
        Chart(f"Coverage by {by}", charts.finish(cover), "68 % if errors are right", kind="double"),
    ]


def _calibration_charts(validation: Validation) -> list[Chart]:
    """Coverage of intervals of every probability, and histograms of PIT values."""
    level = np.linspace(0, 1, 101)
    comparison = validation.comparison
    n = min(values.size for values in known_pits(comparison).values())
    figure = charts.empty("probability of the central interval", "fraction inside − probability")
    low, high = stats.binom.interval(0.99, n, level)
    charts.add_band(figure, level, low / n - level, high / n - level)
    for number, (name, covered) in enumerate(coverage_curves(comparison, level).items()):
        role, dash = charts.SERIES[number % len(charts.SERIES)], "dashed" if name == JOINT else "solid"
        charts.add_line(figure, Points(level, covered - level, role, title(name)), dash=dash)
    note = "how many more stars than promised are inside; the band holds 99 % of what right errors give"
    charts.add_level(figure, 0.0)
    charts.set_limits(figure, x=(0, 1))
    drawn = [Chart("Coverage of all intervals", charts.finish(figure), note, kind="wide")]
    said = verdicts(validation)
    edges = np.linspace(0, 1, _PIT_BINS + 1)
    for name, values in known_pits(comparison).items():
        histogram = charts.histogram(values, f"PIT of {title(name)}", edges=edges)
        charts.add_level(histogram, values.size / _PIT_BINS)
        drawn.append(Chart(f"PIT of {title(name)}", histogram, said[name]))
    return drawn


def _worst(model: Model, validation: Validation, spectra: Spectra | None) -> list[Block]:
    """The stars that are furthest off in units of their errors."""
    comparison, labels = validation.comparison, validation.labels
    largest = np.where(np.isfinite(comparison.pull), np.abs(comparison.pull), -np.inf).max(axis=1)
    far = np.where(np.isfinite(comparison.distance), comparison.distance, np.square(largest))
    order = np.argsort(-far, kind="stable")
    rows = order[np.isfinite(far[order])][:LISTED]
    sheet = Sheet(
        "worst",
        [
            Column("star", star_names(labels, rows)),
            Column.of_numbers("distance", comparison.distance[rows], fixed(1)),
            *(
                Column.of_numbers(f"pull of {title(name)}", comparison.pull[rows, k], fixed(1))
                for k, name in enumerate(comparison.names)
            ),
            Column.of_numbers("χ² / pixel", chi2_per_pixel(labels)[rows], fixed(2)),
            Column.of_numbers("S/N", numbers(labels, "snr")[rows], "{:.0f}".format),
            Column("flags", [flag_names(int(flags)) or "none" for flags in labels["flags"][rows]]),
        ],
    )
    head = Sentence(
        "The stars that are furthest from their known labels: distance is that of all labels together, squared, in "
        f"units of the errors ({len(comparison.names)} on average if these are right)."
    )
    return [head, sheet, *spectrum_charts(model, spectra, labels, rows[:DRAWN])]
