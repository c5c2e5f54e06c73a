"""`report`: what a model and its fits are worth, as one page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import ClassVar

from astropy.table import Table

from slamjax.errors import SlamError
from slamjax.explorer.figures import bokeh_script
from slamjax.explorer.packing import as_script
from slamjax.explorer.pages import Page, filled
from slamjax.io import LabelTable
from slamjax.io.label_table import flag_summary
from slamjax.model.facts import model_title
from slamjax.model.model import Model
from slamjax.reports import charts
from slamjax.reports.blocks import Body, Facts, Section, contents
from slamjax.reports.of_model import model_sections
from slamjax.reports.of_run import run_section
from slamjax.reports.of_tests import no_tests, scatters, tests_section, verdicts
from slamjax.reports.words import counted, title
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress
from slamjax.validation import Validation, validate
from slamjax.validation.bins import checked_edges
from slamjax.validation.known_stars import known_and_trained
from slamjax.views.describe import as_labels


@dataclass(frozen=True, eq=False, repr=False)
class Report(Page):
    """A page for a browser and for paper, as made by `report`; a notebook shows it as the last value of a cell.

    Attributes
    ----------
    html : str
        The whole page: it needs no server, no other file and no network.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> "No test stars were given" in slamjax.report(model).html
    True
    """

    frame_title: ClassVar[str] = "slamjax report"


def report(
    model: Model,
    spectra: Spectra | None = None,
    labels: Table | None = None,
    *,
    validation: Validation | None = None,
    by: str = "snr",
    bins: Sequence[float] | None = None,
    name: str = "",
    on_progress: Progress | bool | None = True,
) -> Report:
    """A page that says how a model was trained, how far its labels can be trusted, and what its fits gave.

    Parameters
    ----------
    model : Model
    spectra : Spectra, optional
        Without ``labels``: test stars with known labels, which are fitted now, see `slamjax.validate`. With ``labels``
        or ``validation``: the spectra that were fitted, of which the worst are drawn.
    labels : Table, optional
        Stars that the model has fitted, as `slamjax.fit` returns them or as read from a file.
    validation : Validation, optional
        Test stars that were compared already.
    by, bins : str and sequence of float, optional
        What test stars are binned by, as in `slamjax.validate`.
    name : str
        Of the model or the run, for the title.
    on_progress : callable or bool
        As in `slamjax.validate`.

    Returns
    -------
    Report
        ``.write("report.html")`` writes it; a notebook shows it.

    Raises
    ------
    SlamError
        If Bokeh is not installed (``pip install 'slamjax[explore]'``), labels are of another model or not of these
        spectra, or ``by`` or ``bins`` cannot be used.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> page = slamjax.report(model, others[:30], by="apogee_snr")
    >>> page.html.startswith("<!DOCTYPE html>"), "30 stars with known labels" in page.html
    (True, True)
    """
    script = bokeh_script()  # raises now, not after a fit
    fitted = None if labels is None else _labels_of(model, labels)
    tests: Section | None = None
    if validation is None and fitted is None:
        lack = _why_no_tests(model, spectra, by, bins)
        if lack or spectra is None:
            tests = no_tests(lack)
        else:
            validation = validate(model, spectra, by=by, bins=bins, on_progress=on_progress)
    if validation is not None:
        tests = tests_section(model, validation, spectra)
    run = fitted if fitted is not None else None if validation is None else validation.labels
    sections = [
        _glance(model, validation, run),
        *([] if tests is None else [tests]),
        *([] if run is None else [run_section(model, run, spectra)]),
        *model_sections(model),
    ]
    return Report(_filled(sections, name, script))


def _labels_of(model: Model, labels: Table) -> LabelTable:
    table = as_labels(labels)
    missing = [name for name in model.label_names if name not in table.colnames]
    if missing:
        raise SlamError(f"the table of labels has no {', '.join(missing)}; give one that this model has fitted")
    return table


def _why_no_tests(model: Model, spectra: Spectra | None, by: str, bins: Sequence[float] | None) -> str:
    """Why there is nothing to compare; empty where there is."""
    checked_edges(bins)
    if spectra is None:
        return (
            "No test stars were given: with spectra of stars whose labels are known, the page says how good fits are."
        )
    missing = [name for name in model.label_names if name not in spectra.table.colnames]
    if missing:
        return f"{spectra.source} has no known {', '.join(missing)} to compare fits with."
    if by != "snr":
        spectra.values(by)
    known, trained = known_and_trained(model, spectra)
    if (known & ~trained).any():
        return ""
    return (
        f"{spectra.source} has no star to test with: of {len(spectra)}, {int((~known).sum())} lack a label and "
        f"{int((known & trained).sum())} trained the model."
    )


def _glance(model: Model, validation: Validation | None, run: LabelTable | None) -> Section:
    """The page in a few lines."""
    said = {"model": model_title(model._parts)}
    if validation is not None:
        said["test stars"] = counted(len(validation.comparison), "star")
        units = dict(zip(model.label_names, model.info.label_units, strict=True))
        scatter = scatters(validation)
        for label, verdict in verdicts(validation).items():
            said[title(label)] = f"{scatter[label]} {units[label].replace('dex', '')}".rstrip() + f"; {verdict}"
    if run is not None and "flags" in run.colnames:
        said["fitted stars"] = flag_summary(run["flags"])
    return Section("glance", "At a glance", [Facts(said)])


def _filled(sections: Sequence[Section], name: str, script: str) -> str:
    """The page: its parts put into their places."""

    def read(package: str, file: str) -> str:
        return resources.files(package).joinpath("page").joinpath(file).read_text(encoding="utf-8")

    body = Body()
    for section in sections:
        body.add(section)
    parts = {
        "title": html.escape(f"slamjax report{': ' if name else ''}{name}"),
        "heading": html.escape(name or "slamjax report"),
        "style": read("slamjax.explorer", "style.css") + read("slamjax.reports", "report.css"),
        "contents": contents(sections),
        "body": body.html,
        "bokeh": script,
        "figures": as_script(charts.as_document(body.figures)),
        "script": "\n".join(
            [
                read("slamjax.explorer", "theme.js"),
                *(read("slamjax.reports", file) for file in ("tables.js", "printing.js", "report.js")),
            ]
        ),
    }
    return filled(read("slamjax.reports", "report.html"), parts)
