"""``validate``: how good fitted labels and their errors are, by stars with known labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from slamjax._util.files import atomic_path
from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.io.label_table import LabelTable
from slamjax.model.model import Model
from slamjax.spectra.label_errors import stated_label_errors
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress
from slamjax.validation.bins import checked_edges
from slamjax.validation.coverage import JOINT, calibration_table
from slamjax.validation.pulls import Comparison, compare_fit
from slamjax.validation.report import format_calibration, format_scatter
from slamjax.validation.scatter import scatter_table

_FORMATS = {
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".fits": "fits",
    ".html": "ascii.html",
    ".tex": "ascii.latex",
}


@dataclass(frozen=True, eq=False)
class Validation:
    """Fitted labels of stars with known ones, their differences, and how honest the errors are.

    Attributes
    ----------
    labels : LabelTable
        Of the stars, as `slamjax.fit` returns it.
    table : Table
        Differences by bin, see `slamjax.validation.scatter_table`.
    calibration : Table
        Pulls and coverage by bin, see `slamjax.validation.calibration_table`.
    comparison : Comparison
        Pulls and PIT values of the stars, for other bins or figures.
    by : str
        What the bins are of.
    n_excluded : int
        Training stars left out.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 530), wave_unit="nm", continuum="gaussian:50nm")
    >>> quadratic = slamjax.Polynomial()
    >>> model = slamjax.train(stars[:80], ["teff", "logg"], emulator=quadratic, recipe=recipe, noise="diagonal")
    >>> report = slamjax.validate(model, others[:20], by="apogee_snr")
    >>> len(report.labels), report.comparison.names
    (20, ('teff', 'logg'))
    """

    labels: LabelTable
    table: Table
    calibration: Table
    comparison: Comparison
    by: str
    n_excluded: int

    def __str__(self) -> str:
        return "\n\n".join(
            [
                format_scatter(self.table, self.by),
                "Errors: pulls are (fit - known) / error; percentages of the stars whose known label lies in the "
                "central 50, 68, 90, 95 % interval:",
                format_calibration(self.calibration, self.by),
            ]
        )

    def to_table(self) -> Table:
        """Scatter and calibration in one table, one row per label and bin; joint rows have no scatter (NaN)."""
        table = self.calibration.copy()
        single = np.flatnonzero(table["label"] != JOINT)
        for place, name in enumerate(("median", "std", "mad", "scatter"), start=4):
            column = np.full(len(table), np.nan)
            column[single] = self.table[name]
            table.add_column(column, name=name, index=place)
        table.remove_column("bias")  # the median
        return table

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table as ECSV, CSV, FITS, HTML or LaTeX, by the file's ending; otherwise all as Markdown text."""
        with atomic_path(path) as temporary:
            kind = _FORMATS.get(Path(path).suffix.lower())
            if kind is None:
                temporary.write_text(f"{self}\n")
            else:
                self.to_table().write(temporary, format=kind, overwrite=True)


def validate(
    model: Model,
    spectra: Spectra,
    *,
    by: str = "snr",
    bins: Sequence[float] | None = None,
    include_training: bool = False,
    good_only: bool = False,
    reference_errors: bool = False,
    n_starts: int = 3,
    on_progress: Progress | bool | None = True,
) -> Validation:
    """Fit stars with known labels that did not train the model, and compare.

    Parameters
    ----------
    model : Model
    spectra : Spectra
        Stars with the model's labels in their table. Stars with a missing label, and stars that trained the model (by
        identifier or by identical flux), are left out.
    by : str
        What to bin by: ``"snr"``, the median signal-to-noise ratio per pixel, or a column of the table.
    bins : sequence of float, optional
        Rising edges; default: the quartiles.
    include_training : bool
        Keep the training stars.
    good_only : bool
        Count only stars without flags; default: all stars with a fit.
    reference_errors : bool
        Add the table's ``<label>_err`` in quadrature to the errors of the fit: for known labels that are less precise
        than those of the training stars, whose errors the noise model includes already. A model whose training labels
        stated their errors does not include them, and they are added wherever the table has them.
    n_starts : int
        Starting points per star, as in `slamjax.fit`.
    on_progress : callable or bool
        Called with (stars fitted, stars in all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    Validation

    Raises
    ------
    SlamError
        If no star is left, or ``by`` or ``bins`` cannot be used.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 530), wave_unit="nm", continuum="gaussian:50nm")
    >>> quadratic = slamjax.Polynomial()
    >>> model = slamjax.train(stars[:80], ["teff", "logg"], emulator=quadratic, recipe=recipe, noise="diagonal")
    >>> report = slamjax.validate(model, others[:20], by="apogee_snr")
    >>> report.table.colnames
    ['label', 'low', 'high', 'n', 'median', 'std', 'mad', 'scatter', 'pull']
    """
    spectra.require(model.label_names)
    edges = checked_edges(bins)
    columns = [] if by == "snr" else [by]
    columns += [f"{name}_err" for name in model.label_names] if reference_errors else []
    spectra.values(columns)  # raises now, not after the fit
    known, trained = known_and_trained(model, spectra)
    kept = known if include_training else known & ~trained
    if not kept.any():
        raise SlamError(
            f"{spectra.source} has no star to validate with: of {len(spectra)}, {int((~known).sum())} lack a label and "
            f"{int((known & trained).sum())} trained the model (include_training keeps those)"
        )
    stars = spectra[kept]
    if by == "snr" and edges is not None and not stars.has_errors and "snr" not in stars.table.colnames:
        raise SlamError(f"{spectra.source} states no errors, so its S/N is unknown; bin by a column (by, --by) instead")
    labels = fit(model, stars, n_starts=n_starts, on_progress=on_progress)
    column = np.asarray(labels["snr"] if by == "snr" else stars.values(by), float)
    if by == "snr" and not np.any(np.isfinite(column)) and "snr" in stars.table.colnames:
        column = stars.values("snr")  # spectra without errors may still have a catalogue's S/N
    table = scatter_table(labels, model.label_names, column, edges, good_only=good_only)
    errors = stars.values([f"{name}_err" for name in model.label_names]) if reference_errors else None
    if errors is None and model.info.calibration.without_label_errors:
        errors = stated_label_errors(stars, model.label_names)
    comparison = compare_fit(labels, model.label_names, reference_errors=errors)
    calibration = calibration_table(comparison, column, edges, good_only=good_only)
    return Validation(labels, table, calibration, comparison, by, int((known & ~kept).sum()))


def known_and_trained(model: Model, spectra: Spectra) -> tuple[np.ndarray, np.ndarray]:
    """Which spectra have all known labels, and which are of stars that trained the model: (N,) bool each."""
    known = np.all(np.isfinite(spectra.values(model.label_names)), axis=1)
    return known, model.info.record.contains(spectra)
