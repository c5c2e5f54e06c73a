"""TOML files of arrays of tables; the standard library reads TOML but does not write it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slamjax.errors import SlamError

#: A dot between two things of which one is no digit, or in a chain such as 1.2.3.
_DOTS = re.compile(r"(?<!\d)\.|\.(?!\d)|\.(?=\d+\.)")
#: Larger files are no settings.
_LARGEST = 2**24
#: Dots that belong to no number; each makes the parser go one table deeper, in time and memory that grow quadratically.
_MOST_DOTS = 500


def read_toml(path: Path) -> dict[str, Any]:
    """The data of a TOML file; raises SlamError if it cannot be parsed."""
    try:
        if path.stat().st_size > _LARGEST:
            raise SlamError(f"{path} is larger than {_LARGEST // 2**20} MiB; it is no file of settings")
        text = path.read_text(encoding="utf-8")
        if len(_DOTS.findall(text)) > _MOST_DOTS:
            raise SlamError(f"{path} has more than {_MOST_DOTS} dots outside numbers; it is no file of settings")
        return tomllib.loads(text)
    except RecursionError as error:
        raise SlamError(f"{path} cannot be read as TOML (its values are nested too deeply)") from error
    except (OSError, ValueError) as error:  # of the encoding, the grammar, or numbers of thousands of digits
        if isinstance(error, SlamError):
            raise
        raise SlamError(f"{path} cannot be read as TOML ({error})") from error


def to_toml(name: str, tables: Iterable[Mapping[str, Any]]) -> str:
    """An array ``[[name]]`` of flat tables as TOML; None and empty lists are left out."""
    return "\n".join(
        f"[[{name}]]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in table.items() if not _is_empty(value))
        for table in tables
    )


def _value(value: Any) -> str:
    """A number, string, boolean or list of these as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, (list, tuple)) and not value)
