"""How good the labels are: fits of stars whose labels are known, compared bin by bin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table

from slamjax._util.files import atomic_path
from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress
from slamjax.validation.bins import checked_edges
from slamjax.validation.calibration import JOINT, Comparison, calibration_table, compare_fit
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
    """Labels of the validated stars, how far they lie from the known ones, and how honest their errors are.

    Attributes
    ----------
    labels : of the stars, as fitted
    table : differences by bin, see `scatter_table`
    calibration : pulls and coverage by bin, see `calibration_table`
    comparison : the pulls and PIT values themselves, for other bins or figures
    by : what the bins are of
    n_excluded : training stars left out
    """

    labels: QTable
    table: Table
    calibration: Table
    comparison: Comparison
    by: str
    n_excluded: int

    def __str__(self) -> str:
        return "\n\n".join(
            [
                format_scatter(self.table, self.by),
                "Errors: pulls are (fit - known) / error; per cent of the stars whose known label lies in the central "
                "50, 68, 90, 95 % interval:",
                format_calibration(self.calibration, self.by),
            ]
        )

    def to_table(self) -> Table:
        """Scatter and calibration side by side, a row per label and bin; joint rows have no scatter (NaN)."""
        table = self.calibration.copy()
        single = np.flatnonzero(table["label"] != JOINT)
        for place, name in enumerate(("median", "std", "mad", "scatter"), start=4):
            column = np.full(len(table), np.nan)
            column[single] = self.table[name]
            table.add_column(column, name=name, index=place)
        table.remove_column("bias")  # the median
        return table

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the tables: as ECSV, CSV, FITS, HTML or LaTeX by the name's ending, else as Markdown text."""
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
    on_progress: Progress | None = None,
) -> Validation:
    """Fit stars with known labels that did not train the model, and compare.

    Parameters
    ----------
    model, spectra
        Stars without a known label, and (by identifier or by the very same flux) stars that trained the model, are
        left out.
    by : str
        ``"snr"``, the spectra's median signal-to-noise ratio a pixel, or a column of the table, to bin by.
    bins : sequence of float, optional
        Edges, rising; default: the quartiles.
    include_training : bool
        Keep the training stars.
    good_only : bool
        Count only stars without flags; otherwise all whose fit did not fail.
    reference_errors : bool
        Add the table's ``<label>_err`` to the fit's errors in the calibration: for known labels that are less precise
        than those of the training stars, whose errors the model's noise holds already
        (see `slamjax.validation.calibration`).

    Raises
    ------
    SlamError
        If no star is left, or ``by`` or ``bins`` cannot be used.
    """
    spectra.require(model.label_names)
    edges = checked_edges(bins)
    asked = ([] if by == "snr" else [by]) + ([f"{name}_err" for name in model.label_names] if reference_errors else [])
    spectra.values(asked)  # raises now, not after the fit
    known = np.all(np.isfinite(spectra.values(model.label_names)), axis=1)
    trained = np.zeros(len(spectra), bool) if include_training else model.info.record.contains(spectra)
    kept = known & ~trained
    if not kept.any():
        raise SlamError(
            f"{spectra.source} leaves no star to validate with: of {len(spectra)}, {int((~known).sum())} lack a label "
            f"and {int((known & trained).sum())} trained the model (include_training keeps those)"
        )
    some = spectra[kept]
    if by == "snr" and edges is not None and not some.has_errors and "snr" not in some.table.colnames:
        raise SlamError(
            f"{spectra.source} states no errors, so its S/N is not known; bin by a column (by, --by) instead"
        )
    labels = fit(model, some, n_starts=n_starts, on_progress=on_progress)
    column = np.asarray(labels["snr"] if by == "snr" else some.values(by), float)
    if by == "snr" and not np.any(np.isfinite(column)) and "snr" in some.table.colnames:
        column = some.values("snr")  # spectra without errors may still have a catalogue's S/N
    table = scatter_table(labels, model.label_names, column, edges, good_only=good_only)
    errors = some.values([f"{name}_err" for name in model.label_names]) if reference_errors else None
    comparison = compare_fit(labels, model.label_names, reference_errors=errors)
    calibration = calibration_table(comparison, column, edges, good_only=good_only)
    return Validation(labels, table, calibration, comparison, by, int((known & trained).sum()))
