"""Columns of a label table as they are known before anything is fitted: what Dask calls ``meta``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slamjax.fitting import Fitter
from slamjax.forward.nuisances import UNITS
from slamjax.io import LabelTable
from slamjax.io.label_arrow import to_arrow
from slamjax.spectra.units import label_unit, with_unit

_KM_S = "km / s"


@dataclass(frozen=True)
class LabelColumn:
    """A column: its name, NumPy type ("str" for text), unit (None: no quantity), and the shape of a cell."""

    name: str
    dtype: str
    unit: str | None = None
    shape: tuple[int, ...] = ()

    def empty(self, n: int) -> Any:
        """Values of ``n`` rows of which nothing is known: NaN, 0, False or an empty text."""
        kind = np.dtype(self.dtype).kind
        values = np.full((n, *self.shape), np.nan if kind == "f" else 0, dtype=self.dtype)
        if kind == "U":
            values = np.full((n, *self.shape), "", dtype=self.dtype)
        return values if self.unit is None else with_unit(values, self.unit)

    def of(self, table: LabelTable) -> Any:
        """The column of a table, in this type and unit; empty values if it has none."""
        if self.name not in table.colnames:
            return self.empty(len(table))
        values = table[self.name]
        if self.unit is not None:
            unit = label_unit(self.unit)
            values = values.to_value(unit) if hasattr(values, "to_value") else values
            return np.asarray(values, self.dtype) * unit
        return np.asarray(getattr(values, "value", values)).astype(self.dtype)


@dataclass(frozen=True)
class LabelSchema:
    """The columns of a label table, in order, and the names of its labels; see `label_schema`.

    Examples
    --------
    >>> from slamjax.survey import LabelSchema
    >>> LabelSchema((), ("teff",)).empty(2).label_names
    ('teff',)
    """

    columns: tuple[LabelColumn, ...]
    labels: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def conform(self, table: LabelTable) -> LabelTable:
        """The table with exactly these columns: others are left out, missing ones are empty."""
        fixed = LabelTable(meta={"labels": ",".join(self.labels)})
        for column in self.columns:
            fixed[column.name] = column.of(table)
        return fixed

    def empty(self, n: int = 0) -> LabelTable:
        """A table of ``n`` rows that knows nothing."""
        fixed = LabelTable(meta={"labels": ",".join(self.labels)})
        for column in self.columns:
            fixed[column.name] = column.empty(n)
        return fixed

    def arrow(self) -> Any:
        """The ``pyarrow.Schema``; units are in the metadata of fields, the covariance is a list of fixed size."""
        return to_arrow(self.empty()).schema

    def frame(self, table: LabelTable) -> Any:
        """The table as a pandas DataFrame with one number in each cell (`LabelTable.flat`), in Arrow's types."""
        import pandas

        return to_arrow(self.conform(table).flat()).to_pandas(types_mapper=pandas.ArrowDtype)

    def meta(self) -> Any:
        """The DataFrame of no rows that `frame` gives: names and types, for ``map_partitions``."""
        return self.frame(self.empty())


def label_schema(
    fitter: Fitter,
    carried: Mapping[str, str] | None = None,
    *,
    velocity: bool = False,
    references: Sequence[str] = (),
) -> LabelSchema:
    """The columns that fits by this fitter give, whatever the spectra.

    Parameters
    ----------
    fitter : Fitter
    carried : mapping, optional
        Columns of the input that are kept, with their NumPy types, such as ``{"source_id": "int64", "id": "str"}``.
    velocity : bool
        Whether spectra are in the observed frame, so that velocities are measured.
    references : names
        Labels whose values the input has: columns <label>_ref.

    Returns
    -------
    LabelSchema
        ``row``, those carried, ``problem`` (empty, or why there are no labels), and those of
        `slamjax.fitting.label_table.label_table`.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> slamjax.survey.label_schema(slamjax.Fitter(model), {"source_id": "int64"}).names[:5]
    ('row', 'source_id', 'problem', 'teff', 'teff_err')
    """
    names, units = fitter.model.label_names, fitter.model.info.label_units
    columns: list[LabelColumn] = []
    nuisances = list(_nuisances(fitter))
    if velocity and not any(column.name == "rv" for column in nuisances):
        columns += [LabelColumn(name, "float64", _KM_S) for name in ("rv", "rv_err")]
    for name, unit in zip(names, units, strict=True):
        endings = ["", "_err", "_err68", "_err95"]
        endings += ["_mean", "_std"] if fitter.posterior_mean else []
        endings += ["_ref"] if name in references else []
        columns += [LabelColumn(name + ending, "float64", unit) for ending in endings]
    columns += nuisances
    kinds = {"chi2": "float64", "n_pix": "int32", "snr": "float32", "unlike": "float64", "n_iter": "int32"}
    columns += [LabelColumn(name, kind) for name, kind in kinds.items()]
    columns += [LabelColumn("flags", "int32"), LabelColumn("noise_scale", "float64")]
    columns.append(LabelColumn("cov", "float64", shape=(len(names), len(names))))
    made = {"row", "problem", *(column.name for column in columns)}
    kept = [LabelColumn(name, kind) for name, kind in (carried or {}).items() if name not in made]
    first = [LabelColumn("row", "int64"), *kept, LabelColumn("problem", "str")]
    return LabelSchema((*first, *columns), tuple(names))


def _nuisances(fitter: Fitter) -> Iterator[LabelColumn]:
    """Nuisances that are fitted with the labels, and coefficients of a polynomial."""
    nuisances = fitter.nuisances
    if nuisances is None:
        return
    for name in nuisances.free:
        yield LabelColumn(name, "float64", UNITS[name])
        yield LabelColumn(f"{name}_err", "float64", UNITS[name])
    if nuisances.n_coefficients:
        yield LabelColumn("polynomial", "float64", shape=(nuisances.n_coefficients,))
