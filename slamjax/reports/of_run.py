"""What a report says of fitted stars: flags and what to do about them, labels, errors, and the worst fits."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from slamjax.flags import FLAG_ADVICE, FLAG_MEANINGS, Flag, flag_names
from slamjax.io import LabelTable
from slamjax.model.model import Model
from slamjax.reports import charts
from slamjax.reports.blocks import Block, Chart, Charts, Column, Facts, Section, Sentence, Sheet
from slamjax.reports.charts import Points
from slamjax.reports.star_charts import spectrum_charts
from slamjax.reports.words import (
    chi2_per_pixel,
    counted,
    fixed,
    numbers,
    plane_of,
    share,
    short,
    star_names,
    title,
    titles,
)
from slamjax.spectra.spectra import Spectra
from slamjax.views import facts

#: Stars that the table of the worst lists, and those whose spectra are drawn.
LISTED, DRAWN = 12, 4


def run_section(model: Model, labels: LabelTable, spectra: Spectra | None) -> Section:
    """Stars of a table of `slamjax.fit`."""
    if len(labels) == 0:
        return Section("run", "Fitted stars", [Sentence("The table of labels has no rows.", is_note=True)])
    said = labels.facts()
    for known in ("columns", "flags"):  # other parts of the page say more of them
        said.pop(known, None)
    blocks: list[Block] = [
        Sentence(f"{counted(len(labels), 'star')} fitted."),
        *([Facts(said)] if said else []),
        *_flags(labels),
        *_distributions(model, labels),
        *_worst(model, labels, spectra),
    ]
    return Section("run", "Fitted stars", blocks)


def _flags(labels: LabelTable) -> list[Block]:
    counts = facts(labels)["flags"]
    if counts is None:
        return [Sentence("The table has no column of flags.", is_note=True)]
    n_good = counts.pop("none")
    good = f"{n_good:,} of {counted(len(labels), 'star')} have no flag ({share(n_good, len(labels))})."
    if not counts:
        return [Sentence(good)]
    found = [Flag[name] for name in counts]
    return [
        Sentence(f"{good} What the others have, and what to do about it:"),
        Sheet(
            "flags",
            [
                Column("flag", list(counts)),
                Column.of_numbers("stars", list(counts.values()), "{:,.0f}".format),
                Column.of_numbers(
                    "share", [100 * count / len(labels) for count in counts.values()], lambda value: f"{value:.1f} %"
                ),
                Column("meaning", [FLAG_MEANINGS[flag] for flag in found]),
                Column("what to do", [FLAG_ADVICE[flag] for flag in found]),
            ],
        ),
    ]


def _distributions(model: Model, labels: LabelTable) -> list[Block]:
    """Diagram of the labels, and histograms of all that the fit gives."""
    drawn = [_plane(model, labels)]
    drawn += [Chart(shown, charts.histogram(numbers(labels, name), shown)) for name, shown in titles(model).items()]
    errors, absent = [], []
    for name, shown in titles(model).items():
        values = numbers(labels, f"{name}_err")
        if np.isfinite(values).any():
            errors.append(Chart(f"Error of {shown}", charts.histogram(values, f"error of {shown}")))
        else:
            absent.append(title(name))
    for name, values in (("χ² / pixel", chi2_per_pixel(labels)), ("S/N", numbers(labels, "snr"))):
        if np.isfinite(values).any():
            errors.append(Chart(name, charts.histogram(values, name)))
        else:
            absent.append(name)
    ends = "The outermost bars of a histogram count the stars beyond it, too."
    blocks: list[Block] = [Charts(drawn), Sentence(ends, is_note=True), *([Charts(errors)] if errors else [])]
    if absent:
        blocks.append(Sentence(f"No values, or no errors, of {', '.join(absent)} are in the table.", is_note=True))
    return blocks


def _plane(model: Model, labels: Table) -> Chart:
    """The Kiel diagram, where the labels allow one; training stars behind, flagged ones in another colour."""
    names, shown = model.label_names, list(titles(model).values())
    x, y = plane_of(model)
    across = numbers(labels, names[x])
    up = np.zeros(len(labels)) if y is None else numbers(labels, names[y])
    rows = charts.some_of(len(labels))
    figure = charts.empty(shown[x], "" if y is None else shown[y], height=520)
    if y is not None:
        training = np.asarray(model.host_emulator.scaling.inverse(np.asarray(model.training_labels.stars)), float)
        some = charts.some_of(len(training))
        charts.add_points(
            figure, Points(training[some, x], training[some, y], "stars", "training stars"), size=4, alpha=0.5
        )
    flags = np.asarray(labels["flags"]) if "flags" in labels.colnames else np.zeros(len(labels), int)
    for is_flagged, role, legend in ((False, "accent", "good"), (True, "flagged", "flagged")):
        some = rows[(flags[rows] != 0) == is_flagged]
        if some.size:
            texts = {
                "star": star_names(labels, some),
                shown[x]: [short(value) for value in across[some]],
                **({} if y is None else {shown[y]: [short(value) for value in up[some]]}),
                "flags": [flag_names(int(flag)) or "none" for flag in flags[some]],
            }
            charts.add_points(figure, Points(across[some], up[some], role, legend, texts))
    is_kiel = y is not None and (names[x], names[y]) == ("teff", "logg")
    charts.flip(figure, x=is_kiel, y=is_kiel)
    note = "" if len(rows) == len(labels) else f"{len(rows):,} of {len(labels):,} stars, by chance"
    return Chart("Kiel diagram" if is_kiel else "The stars' labels", charts.finish(figure), note, kind="tall")


def _worst(model: Model, labels: LabelTable, spectra: Spectra | None) -> list[Block]:
    chi2 = chi2_per_pixel(labels)
    order = np.argsort(np.where(np.isfinite(chi2), -chi2, np.inf), kind="stable")
    rows = order[np.isfinite(chi2[order])][:LISTED]
    if rows.size == 0:
        return [Sentence("No star has a χ².", is_note=True)]
    brief = labels[rows].brief()
    flags = np.asarray(labels["flags"])[rows] if "flags" in labels.colnames else np.zeros(len(rows), int)
    sheet = Sheet(
        "worst-chi2",
        [
            Column("star", star_names(labels, rows)),
            Column.of_numbers("χ² / pixel", chi2[rows], fixed(2)),
            Column.of_numbers("pixels", numbers(labels, "n_pix")[rows], "{:.0f}".format),
            Column.of_numbers("S/N", numbers(labels, "snr")[rows], "{:.0f}".format),
            *(
                Column(shown, [str(text) for text in brief[name]], list(numbers(labels, name)[rows]))
                for name, shown in titles(model).items()
                if name in brief.colnames
            ),
            Column("flags", [flag_names(int(one)) or "none" for one in flags]),
        ],
    )
    return [
        Sentence("The stars that fit worst, by χ² per pixel:"),
        sheet,
        *spectrum_charts(model, spectra, labels, rows[:DRAWN]),
    ]
