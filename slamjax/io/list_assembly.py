"""Spectra put together from parts of an Arrow table, and rows that are wrong."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from astropy.table import Column, Table

from slamjax.errors import SlamError, SlamWarning
from slamjax.io.arrow import field_unit, from_arrow_column, import_pyarrow, is_list, list_values, matrix
from slamjax.io.list_columns import SpectralAxis, SpectrumColumns, column_of
from slamjax.spectra.flux_units import flux_unit
from slamjax.spectra.length_units import in_length_unit, length_unit
from slamjax.spectra.spectra import Spectra

#: What is done with a row whose lists are of another length: an error, or no good pixel and a column ``problem``.
BadRows = Literal["raise", "flag"]
#: Wavelengths of two rows are the same if they differ by less than this fraction, a rounding error of float32.
_SAME_WAVE = 1e-7


@dataclass(frozen=True)
class Part:
    """Some rows of a table: Arrow columns of M rows, the numbers of those rows, and their places among all N."""

    table: Any
    rows: np.ndarray
    places: np.ndarray | slice


class Assembly:
    """Spectra of N rows, put together from parts of an Arrow table.

    Parameters
    ----------
    columns : SpectrumColumns
    axis : SpectralAxis
    schema : pyarrow.Schema
        Of the whole table, for the units of its columns.
    source : str
        What messages call it.
    n : int
    bad_rows : "raise" or "flag"

    Raises
    ------
    SlamError
        If columns hold other things than lists of numbers, or wavelengths or their unit are not stated; where wrong
        rows are errors, if lists have another length than the wavelengths, or rows other wavelengths.
    """

    def __init__(
        self, columns: SpectrumColumns, axis: SpectralAxis, schema: Any, source: str, n: int, bad_rows: BadRows
    ) -> None:
        self.columns, self.axis, self.schema, self.source, self.bad_rows = columns, axis, schema, source, bad_rows
        self._wave, self._unit = axis.wave, _wave_unit(columns, axis, schema, source)
        self._arrays: dict[str, np.ndarray] = {}
        self._rows, self._problems = np.zeros(n, np.int64), np.zeros(n, "U80")
        self._others: list[Any] = []
        self._places: list[np.ndarray] = []

    def add(self, part: Part) -> None:
        """Put in some rows."""
        everywhere = np.arange(len(self._rows))[part.places]
        self._rows[everywhere] = part.rows
        self._places.append(everywhere)
        self._others.append(part.table.select(list(self.columns.others)))
        if self._wave is None:
            self._wave = self._first_wave(part.table)
        for name in self.columns.vectors[: 2 if self.columns.errors else 1]:
            values = self._matrix(part, name, self._wave.size, everywhere)
            if name not in self._arrays:
                self._arrays[name] = np.empty((len(self._rows), self._wave.size), values.dtype)
            self._arrays[name][everywhere] = values
        if self.columns.wave is not None:
            self._check_waves(part, everywhere, self._wave)

    def spectra(self) -> Spectra:
        """The spectra, once all parts are in."""
        wave = np.zeros(1) if self._wave is None else self._wave
        flux = self._arrays.get(self.columns.flux, np.zeros((0, wave.size), np.float32))
        flux[self._problems != ""] = np.nan
        given: dict[str, Any] = {}
        if self.columns.errors in self._arrays:
            errors = self._arrays[self.columns.errors]
            given[self.columns.errors_are] = Column(errors, unit=_unit_in(self.schema, self.columns.errors))
        unit, table, fwhm = _unit_in(self.schema, self.columns.flux), self._table(), self.axis.fwhm
        if fwhm is None and "fwhm" in table.colnames and table["fwhm"].shape == flux.shape:
            fwhm = np.asarray(table["fwhm"], float)
            table.remove_column("fwhm")
        return Spectra(
            wave,
            flux,
            table=table,
            wave_unit=self._unit,
            medium=self.axis.medium,
            frame=self.axis.frame,
            fwhm=fwhm,
            flux_unit=None if unit is None else flux_unit(unit, f"of {self.source}"),
            rows=self._rows,
            source=self.source,
            **given,
        )

    def _table(self) -> Table:
        """All columns that a table can hold; structures and lists of different lengths are left out."""
        pa, kept = import_pyarrow(), Table()
        others = pa.concat_tables(self._others) if self._others else self.schema.empty_table()
        order = np.argsort(np.concatenate([np.zeros(0, int), *self._places]), kind="stable")
        others = others if np.all(np.diff(order) == 1) else others.take(pa.array(order))
        for name in self.columns.others:
            column = from_arrow_column(others[name], self.schema.field(name))
            if column is not None:
                kept[name] = column
        left_out = [name for name in self.columns.others if name not in kept.colnames]
        if left_out:
            warnings.warn(
                f"{self.source}: columns {', '.join(left_out)} hold structures or lists of different lengths and are "
                "left out",
                SlamWarning,
                stacklevel=4,
            )
        if np.any(self._problems != ""):
            before = np.asarray(kept["problem"]) if "problem" in kept.colnames else np.zeros(len(self._rows), "U1")
            kept["problem"] = np.where(self._problems != "", self._problems, before)
        if self.axis.comments:
            kept.meta["comments"] = list(self.axis.comments)
        return kept

    def _first_wave(self, table: Any) -> np.ndarray:
        """The wavelengths of the first row that has any."""
        values, starts, lengths = list_values(self._list_array(table, self.columns.wave or ""))
        whole = np.flatnonzero(lengths > 0)
        if not whole.size:
            raise SlamError(f"column {self.columns.wave!r} of {self.source} has no wavelengths in {len(lengths)} rows")
        first = values.slice(int(starts[whole[0]]), int(lengths[whole[0]]))
        return np.asarray(first.to_numpy(zero_copy_only=False), np.float64)

    def _list_array(self, table: Any, name: str) -> Any:
        array = column_of(table, name)
        if not is_list(array.type):
            raise SlamError(f"column {name!r} of {self.source} holds {array.type}, no lists of numbers")
        return array

    def _matrix(self, part: Part, name: str, n_pix: int, places: np.ndarray) -> np.ndarray:
        """A column as (M, n_pix); rows of another length are noted, missing ones are bad pixels throughout."""
        try:
            values, lengths = matrix(self._list_array(part.table, name), n_pix)
        except TypeError as error:
            raise SlamError(f"column {name!r} of {self.source} {error}") from error
        wrong = np.flatnonzero((lengths != n_pix) & (lengths >= 0))
        self._note(part, places, name, wrong, [f"{lengths[row]} pixels instead of {n_pix}" for row in wrong])
        return values

    def _check_waves(self, part: Part, places: np.ndarray, wave: np.ndarray) -> None:
        """Note rows whose wavelengths are not those of all others."""
        name = self.columns.wave or ""
        given, lengths = matrix(self._list_array(part.table, name), wave.size)
        stated = _unit_in(self.schema, name)
        if stated is not None and self.axis.wave is not None:
            given = np.asarray(in_length_unit(Column(given, unit=stated), self._unit, f"of {self.source}"))
        same = np.all(np.abs(given - wave) <= _SAME_WAVE * np.abs(wave), axis=1)
        other = np.flatnonzero(~same & (lengths >= 0))
        self._note(part, places, name, other, ["other wavelengths than the rows before it"] * len(other))

    def _note(self, part: Part, places: np.ndarray, name: str, wrong: np.ndarray, problems: Sequence[str]) -> None:
        """Rows (K,) of a part that are wrong in a column: an error, or rows without a spectrum."""
        if len(wrong) and self.bad_rows == "raise":
            raise SlamError(
                f"column {name!r} of {self.source} has {problems[0]} in row {part.rows[wrong[0]]}; all rows of a table "
                "are on one wavelength grid: write one file for each"
            )
        self._problems[places[wrong]] = [f"{name} has {problem}" for problem in problems]


def _unit_in(schema: Any, name: str | None) -> Any:
    return field_unit(schema.field(name)) if name in schema.names else None


def _wave_unit(columns: SpectrumColumns, axis: SpectralAxis, schema: Any, source: str) -> Any:
    """The unit of the wavelengths; raises SlamError if there are none, or no unit."""
    if axis.wave is None and columns.wave is None:
        raise SlamError(
            f"{source} states no wavelengths; add a column 'wave', or write the table with slamjax.write_table, which "
            "puts them into the schema's metadata"
        )
    unit = _unit_in(schema, columns.wave) if axis.wave_unit is None else axis.wave_unit
    if unit is None:
        raise SlamError(
            f'the wavelengths of {source} state no unit; put {{"wave_unit": "nm"}} into the schema\'s metadata '
            "'slamjax', or 'unit' into those of their column"
        )
    return length_unit(unit, f"of {source}")
