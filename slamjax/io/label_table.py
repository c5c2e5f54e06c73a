"""`LabelTable`: a table of labels with a short view, a flat form for text files, and a card in notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.io import registry
from astropy.table import QTable, Table

from slamjax._util.cards import html_card, shortened
from slamjax._util.rounding import decimals_of, with_error
from slamjax.flags import Flag, flag_names
from slamjax.spectra.columns import float_column, plain_column
from slamjax.spectra.star_names import naming_column

#: Stars that a card shows.
_SHOWN = 5
#: Astropy's names of text formats, which hold one number in each cell; ECSV holds vectors.
_ASCII = ("csv", "basic", "tab", "html", "latex", "commented_header", "fixed_width", "rst", "no_header")
_TEXT = ("ascii", "csv", "html", "latex", *(f"ascii.{kind}" for kind in _ASCII))


class BriefTable(Table):
    """A table of texts whose columns are all printed, however narrow the terminal is."""

    def __str__(self) -> str:
        return "\n".join(self.pformat(max_width=-1))


class LabelTable(QTable):
    """What `slamjax.fit` and `slamjax.Posterior.table` return: an astropy `QTable` with views of its own.

    Examples
    --------
    >>> import astropy.units as u
    >>> from slamjax.io import LabelTable
    >>> labels = LabelTable(
    ...     {"row": [0, 1], "teff": [4512.3, 4790.2] * u.K, "teff_err": [43.1, 8.6] * u.K, "flags": [0, 36]},
    ...     meta={"labels": "teff"},
    ... )
    >>> print(labels.brief())
    row     teff            flags
             K
    --- ------------ -------------------
      0    4512 ± 43                good
      1 4790.2 ± 8.6 AT_BOUND, HIGH_CHI2
    """

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in the order of ``cov``."""
        return tuple(name for name in str(self.meta.get("labels", "")).split(",") if name)

    def brief(self) -> BriefTable:
        """Each star's name, its labels rounded to their errors, and its flags in words: all as text.

        Returns
        -------
        BriefTable
            An astropy Table; columns ``row``, the first column that names stars, the velocity if there is one, the
            labels in their units, ``flags``.
        """
        table = BriefTable()
        naming = naming_column({name: self[name] for name in self.colnames if self[name].ndim == 1})
        for name in ("row", naming):
            if name is not None and name in self.colnames:
                table[name] = plain_column(self[name])
        for name in (*(["rv"] if "rv" in self.colnames and "rv" not in self.label_names else []), *self.label_names):
            if name in self.colnames and f"{name}_err" in self.colnames:
                pairs = zip(_plain(self[name]), _plain(self[f"{name}_err"]), strict=True)
                table[name] = [with_error(value, error) for value, error in pairs]
                table[name].unit = _shown_unit(self[name])
        if "flags" in self.colnames:
            table["flags"] = [flag_names(int(flags)) or "good" for flags in self["flags"]]
        return table

    def flat(self) -> QTable:
        """The same with one number in each cell, as text files and data frames need it.

        Returns
        -------
        QTable
            The covariance is in the columns ``cov_<label>_<label>`` (each pair once; the variances are the squares of
            the errors), other vectors in numbered columns.
        """
        table = QTable(meta=dict(self.meta))
        for name in self.colnames:
            for flat_name, values in _flat_columns(name, self[name], self.label_names):
                table[flat_name] = values
        return table

    def to_pandas(self, *args: Any, **kwargs: Any) -> Any:
        """The `flat` table as a pandas DataFrame; arguments as of `astropy.table.Table.to_pandas`."""
        return self.flat().to_pandas(*args, **kwargs)

    def facts(self) -> dict[str, str]:
        """What is in the table, in words, by topic."""
        facts = {}
        described = []
        for name in self._described():
            error = _plain(self[f"{name}_err"])
            median = np.median(error[np.isfinite(error)]) if np.isfinite(error).any() else np.nan
            described.append(f"{name} ± {median:.{decimals_of(median)}f} {_shown_unit(self[name]) or ''}".strip())
        if described:
            facts["labels"] = f"{', '.join(described)} (median errors)"
        if "flags" in self.colnames:
            facts["flags"] = flag_summary(self["flags"])
        facts["columns"] = shortened(self.colnames, 40)
        return facts

    def title(self) -> str:
        """What it is, in a line."""
        return f"Labels of {len(self)} star{'' if len(self) == 1 else 's'}"

    def _described(self) -> list[str]:
        """The labels that are here with their errors."""
        return [name for name in self.label_names if {name, f"{name}_err"} <= set(self.colnames)]

    def _repr_html_(self) -> str:
        if not (self._described() and {"flags", "cov"} <= set(self.colnames)):
            return str(super()._repr_html_())  # columns that someone has chosen to see
        facts = {**self.facts(), "columns": f"{len(self.colnames)}; see .colnames, and .brief() for all stars"}
        return html_card(self.title(), facts, *brief_rows(self[:_SHOWN].brief(), len(self)))


def brief_rows(table: BriefTable, n: int) -> tuple[list[list[str]], str]:
    """The first rows of a `LabelTable.brief` of n stars for a card, below their names, and what is left."""
    header = [f"{name} [{table[name].unit}]" if table[name].unit else name for name in table.colnames]
    rows = [header, *([str(cell) for cell in row] for row in table[:_SHOWN])]
    return rows, f"and {n - _SHOWN} more" if n > _SHOWN else ""


def flag_summary(flags: Any) -> str:
    """How many stars have no flag, and how many have each flag, in a line.

    Examples
    --------
    >>> from slamjax.io.label_table import flag_summary
    >>> flag_summary([0, 0, 36])
    '2 of 3 without flags; AT_BOUND 1, HIGH_CHI2 1'
    """
    values = np.asarray(flags)
    counts = [f"{flag.name} {int(np.sum(values & flag != 0))}" for flag in Flag if np.any(values & flag)]
    return f"{int(np.sum(values == 0))} of {values.size} without flags" + ("; " if counts else "") + ", ".join(counts)


def _flat_columns(name: str, column: Any, labels: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if column.ndim == 1:
        yield name, column
    elif column.shape[1:] == (len(labels), len(labels)):
        for i, j in zip(*np.triu_indices(len(labels), 1), strict=True):
            yield f"{name}_{labels[i]}_{labels[j]}", column[:, i, j]
    else:
        for place in np.ndindex(column.shape[1:]):
            yield "_".join([name, *map(str, place)]), column[(slice(None), *place)]


def _plain(column: Any) -> np.ndarray:
    return float_column(getattr(column, "value", column))


def _shown_unit(column: Any) -> str | None:
    return str(getattr(column, "unit", None) or "") or None


for _format in _TEXT:

    def _writer(table: LabelTable, output: Any, _format: str = _format, **options: Any) -> None:
        """`LabelTable.flat` in a format of text, instead of astropy's refusal of vectors."""
        table.flat().write(output, format=_format, **options)

    registry.register_writer(_format, LabelTable, _writer)
