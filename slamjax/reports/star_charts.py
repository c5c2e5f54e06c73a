"""Spectra of single stars with their fits, as charts."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from slamjax.explorer.stars import rows_of
from slamjax.io import LabelTable
from slamjax.model.description import flux_name
from slamjax.model.model import Model
from slamjax.plots.canvas import robust_limits
from slamjax.plots.spectra import FittedSpectrum, fitted_spectra
from slamjax.reports import charts
from slamjax.reports.blocks import Block, Chart, Charts, Sentence
from slamjax.reports.charts import Points
from slamjax.reports.words import chi2_per_pixel, numbers, star_names, title
from slamjax.spectra.spectra import Spectra

#: Half the height of an axis of residuals, at least.
_LEAST = 3.5


def spectrum_charts(model: Model, spectra: Spectra | None, labels: Table, rows: np.ndarray) -> list[Block]:
    """The spectra of rows of a table of labels; a sentence where the spectra are not at hand."""
    if spectra is None:
        return [Sentence("Their spectra are drawn where the spectra are given, too.", is_note=True)]
    fitted = np.all([np.isfinite(numbers(labels, name)) for name in model.label_names], axis=0)
    rows = rows[fitted[rows]]
    if rows.size == 0:
        return []
    stars = fitted_spectra(model, spectra[rows_of(spectra, labels)], labels, rows)
    captions = _captions(model, LabelTable(labels[rows]))
    named = zip(star_names(labels, rows), stars, captions, strict=True)
    return [Charts([_star(model, star, name, said) for name, star, said in named])]


def _captions(model: Model, labels: LabelTable) -> list[str]:
    """What the fit says of each star, in a line."""
    brief, chi2, said = labels.brief(), chi2_per_pixel(labels), []
    units = dict(zip(model.label_names, model.info.label_units, strict=True))
    shown = {name: unit.replace("dex", "") for name, unit in units.items() if name in brief.colnames}
    for row, one in enumerate(brief):
        parts = [f"{title(name)} {one[name]} {unit}".rstrip() for name, unit in shown.items()]
        parts += [f"χ² per pixel {chi2[row]:.2f}"] if np.isfinite(chi2[row]) else []
        parts += [str(one["flags"]).replace("good", "no flags")] if "flags" in brief.colnames else []
        said.append(", ".join(parts))
    return said


def _star(model: Model, star: FittedSpectrum, name: str, said: str) -> Chart:
    """Flux above, residuals below."""
    across = f"wavelength [{model.info.wave_unit}]"
    flux = charts.empty(across, flux_name(model), height=230)
    flux.xaxis.visible = False
    charts.add_line(flux, Points(model.wave, star.observed, "observed", "observed"))
    predicted = np.where(model.trained, star.predicted, np.nan)
    charts.add_line(
        flux, Points(model.wave, predicted, "predicted", f"{model.host_emulator.name} at the fitted labels")
    )
    charts.set_limits(flux, y=robust_limits(star.observed, predicted))
    residual = (star.observed - star.predicted) / star.sigma
    below = charts.empty(across, "residual / σ", height=160, like=flux)
    charts.add_band(below, model.wave, np.full(model.wave.size, -1.0), np.full(model.wave.size, 1.0))
    charts.add_line(below, Points(model.wave, residual, "observed"))
    size = np.abs(residual[np.isfinite(residual)])
    limit = max(_LEAST, 1.15 * float(np.percentile(size, 98))) if size.size else _LEAST
    charts.set_limits(below, y=(-limit, limit))
    return Chart(name, charts.finish(flux), said, kind="wide", below=below)
