"""Spectra as list columns of an Arrow table: which columns they are, and what they have in common.

One row per star. ``flux`` and ``ivar`` (or ``error``, ``flux_error``) are lists of P numbers; a missing number is a bad
pixel. The wavelengths, their unit, medium, frame and line spread are JSON in the schema's metadata, under ``slamjax``;
or each row has its own in a column ``wave``, the same in all rows. Line spreads that each star has of its own are a
list column ``fwhm`` in the unit of the wavelengths. Units of columns are in the metadata of their fields, under
``unit``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from slamjax.errors import SlamError
from slamjax.io.arrow import as_array, import_pyarrow, is_list
from slamjax.spectra.spectra import Spectra

#: Names that columns of errors may have, and the arguments of Spectra that take them.
ERRORS = {"ivar": "ivar", "error": "error", "flux_error": "error"}
_KEY = b"slamjax"


@dataclass(frozen=True, eq=False)
class SpectralAxis:
    """What all spectra of a table have in common; None and "unknown" are not stated."""

    wave: np.ndarray | None = None
    wave_unit: str | None = None
    medium: str = "unknown"
    frame: str = "unknown"
    fwhm: float | np.ndarray | None = None
    comments: tuple[str, ...] = ()
    #: Units of columns as they were when the file was written.
    units: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, spectra: Spectra) -> SpectralAxis:
        """That of spectra in memory."""
        fwhm = None if spectra.has_own_line_spreads else spectra.fwhm
        details = (spectra.medium, spectra.frame, fwhm, tuple(spectra.table.meta.get("comments", ())))
        return cls(spectra.wave, spectra.wave_unit.to_string(), *details)

    def same(self, other: SpectralAxis) -> bool:
        """Whether it is stated alike, comments and units aside."""
        ours, theirs = (replace(one, comments=(), units=()).metadata() for one in (self, other))
        return ours == theirs

    def metadata(self) -> dict[bytes, bytes]:
        """Metadata of a schema; numbers are written so that they are read back exactly."""
        stated = {name: getattr(self, name) for name in ("wave", "wave_unit", "medium", "frame", "fwhm")}
        stated |= {"comments": list(self.comments), "units": dict(self.units)}
        plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in stated.items()}
        given = {name: value for name, value in plain.items() if value not in (None, [], {})}
        return {_KEY: json.dumps(given | {"crc32": _checksum(given)}).encode()}

    @classmethod
    def from_schema(cls, schema: Any, source: str) -> SpectralAxis:
        """What the metadata of a schema state; raises SlamError if they cannot be understood."""
        text = (schema.metadata or {}).get(_KEY)
        if text is None:
            return cls()
        try:
            stated = json.loads(text)
            if stated.pop("crc32", None) not in (None, _checksum(stated)):
                raise ValueError("their checksum does not match")
            wave, fwhm = (stated.get(name) for name in ("wave", "fwhm"))
            return cls(
                None if wave is None else np.asarray(wave, np.float64),
                stated.get("wave_unit"),
                str(stated.get("medium", "unknown")),
                str(stated.get("frame", "unknown")),
                np.asarray(fwhm, np.float64) if isinstance(fwhm, list) else fwhm,
                tuple(map(str, stated.get("comments", ()))),
                tuple((str(name), str(unit)) for name, unit in stated.get("units", {}).items()),
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise SlamError(f"the metadata 'slamjax' of {source} cannot be read ({error})") from error


@dataclass(frozen=True)
class SpectrumColumns:
    """Names of the columns of spectra; ``spectrum.flux`` is the field ``flux`` of a structure ``spectrum``."""

    flux: str
    errors: str | None = None
    #: The argument of Spectra that takes the errors.
    errors_are: str = "ivar"
    wave: str | None = None
    #: Scalar and other columns, which become the table.
    others: tuple[str, ...] = field(default=())

    @classmethod
    def of_schema(cls, schema: Any, given: Mapping[str, str] | None, source: str) -> SpectrumColumns:
        """The columns that are named (keys ``flux``, ``ivar``, ``error``, ``wave``), else those of these names.

        Where no column is called ``flux``, fields of these names of a structure that has one are taken.

        Raises
        ------
        SlamError
            If there is no flux, or a column that is named.
        """
        names = dict(given or {})
        unknown = sorted(set(names) - {"flux", "wave", *ERRORS})
        if unknown:
            raise SlamError(f"columns has no {unknown[0]!r}; give names of flux, ivar or error, and wave")
        for name in names.values():
            if _outer(schema, name) not in schema.names:
                raise SlamError(f"{source} has no column {name!r}; it has: {', '.join(schema.names)}")
        found = _usual_names(schema)
        if set(names) & set(ERRORS):
            found = {name: column for name, column in found.items() if name not in ERRORS}
        names = found | names
        if "flux" not in names:
            raise SlamError(f"{source} has no column 'flux'; it has: {', '.join(schema.names) or 'none'}")
        error = next((name for name in ERRORS if name in names), None)
        errors, argument = (None, "ivar") if error is None else (names[error], ERRORS[error])
        taken = {_outer(schema, name) for name in names.values()}
        others = tuple(name for name in schema.names if name not in taken)
        return cls(names["flux"], errors, argument, names.get("wave"), others)

    @property
    def vectors(self) -> list[str]:
        """The columns that are lists."""
        return [name for name in (self.flux, self.errors, self.wave) if name is not None]

    def read_from(self, schema: Any) -> list[str]:
        """Names of all columns as Parquet's readers take them: fields of a structure without its other fields."""
        types = import_pyarrow().types
        lists = [
            name
            if name in schema.names or types.is_struct(schema.field(_outer(schema, name)).type)
            else _outer(schema, name)
            for name in self.vectors
        ]
        return [*dict.fromkeys(lists), *self.others]


def _checksum(stated: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(stated, sort_keys=True).encode())


def _outer(schema: Any, name: str) -> str:
    """The column that a name or the name of a field is in."""
    return name if name in schema.names else name.split(".")[0]


def _usual_names(schema: Any) -> dict[str, str]:
    """Columns called flux, ivar, error, flux_error and wave, or fields of the one structure that has a flux."""
    pa = import_pyarrow()
    names = [name for name in ("flux", *ERRORS, "wave") if name in schema.names]
    if "flux" in names:
        return {name: name for name in names if name == "flux" or is_list(schema.field(name).type)}
    inside: list[dict[str, str]] = []
    for outer in schema.names:
        kind = schema.field(outer).type
        kind = kind.value_type if pa.types.is_list(kind) else kind
        fields = [kind.field(k).name for k in range(kind.num_fields)] if pa.types.is_struct(kind) else []
        if "flux" in fields:
            inside.append({name: f"{outer}.{name}" for name in ("flux", *ERRORS, "wave") if name in fields})
    return inside[0] if len(inside) == 1 else {}


def column_of(table: Any, name: str) -> Any:
    """The array of a column, or of a field of a structure or of lists of structures."""
    pa = import_pyarrow()
    if name in table.schema.names:
        return as_array(table[name])
    first, _, rest = name.partition(".")
    array = as_array(table[first])
    if pa.types.is_struct(array.type) and array.type.get_field_index(rest) >= 0:
        return as_array(array.flatten()[array.type.get_field_index(rest)])
    if pa.types.is_list(array.type) and pa.types.is_struct(array.type.value_type):
        inside = array.type.value_type.get_field_index(rest)
        if inside >= 0:
            offsets = pa.array(np.asarray(array.offsets))
            missing = array.is_null() if array.null_count else None
            return pa.ListArray.from_arrays(offsets, array.values.field(inside), mask=missing)
    raise SlamError(f"column {first!r} holds {array.type}, in which there are no lists {rest!r}")
