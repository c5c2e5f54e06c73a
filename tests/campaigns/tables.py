"""Tables of ours and of others: spectra and labels damaged at random, catalogues with what people put into them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from astropy.table import Table
from helpers import xp_giants

from campaigns.frame import Campaign, Outcome, Report, judged
from campaigns.mutations import damaged
from slamjax.io import LabelTable, join_labels, read_labels, read_table, write_labels, write_table
from slamjax.spectra import Spectra

_LABELS = ("teff", "logg", "fe_h")


def prepare(folder: Path) -> None:
    stars = xp_giants()[:6]
    write_table(stars, folder / "stars.fits")
    rows = np.arange(6)
    columns = {"row": rows, **{name: stars.values(name) for name in _LABELS}, "flags": rows}
    columns["cov"] = np.arange(54.0).reshape(6, 3, 3)
    labels = LabelTable(columns, meta={"labels": ",".join(_LABELS)})
    write_labels(labels, folder / "labels.fits")
    write_labels(labels, folder / "labels.ecsv")
    catalogue = Table({"source_id": stars.table["source_id"], **{name: stars.values(name) for name in _LABELS}})
    catalogue.write(folder / "catalogue.csv", format="ascii.csv", overwrite=True)
    catalogue.write(folder / "catalogue.ecsv", format="ascii.ecsv", overwrite=True)
    catalogue.write(folder / "catalogue.fits", overwrite=True)


@cache
def _stars(folder: Path) -> Spectra:
    return read_table(folder / "stars.fits")


def attempt(number: int, folder: Path) -> Report:
    rng = np.random.default_rng(number)
    kind = number % 5
    if kind == 0:
        target = _written(folder, "attempt.fits", damaged((folder / "stars.fits").read_bytes(), rng))
        start = int(rng.integers(3))
        rows = None if rng.random() < 0.3 else slice(start, start + 3)
        return judged(lambda: _same_stars(read_table(target, rows), _stars(folder)[rows or slice(None)]), target.name)
    if kind == 1:
        target = _written(folder, "attempt.fits", damaged((folder / "labels.fits").read_bytes(), rng))
        return judged(lambda: _same_labels(target, folder), target.name)
    if kind == 2:
        target = _written(folder, "attempt.ecsv", _broken_text((folder / "labels.ecsv").read_text(), rng))
        return judged(lambda: _same_labels(target, folder), target.name)
    suffix = ("csv", "ecsv", "csv")[int(rng.integers(3))]
    target = _written(folder, f"attempt.{suffix}", _broken_text((folder / f"catalogue.{suffix}").read_text(), rng))
    if number % 3 == 0:
        target = folder / "attempt.fits"
        _strange_catalogue(rng).write(target, overwrite=True)
    return judged(lambda: _same_joined(target, folder))


def _written(folder: Path, name: str, content: bytes) -> Path:
    target = folder / name
    target.write_bytes(content)
    if len(content) % 11 == 0 and not name.endswith("fits"):
        with target.open("r+b") as file:
            file.truncate(2**32)
    return target


def _same_stars(spectra: Spectra, known: Spectra) -> Report:
    same = np.array_equal(spectra.flux, known.flux) and np.array_equal(spectra.ivar, known.ivar)
    same &= np.array_equal(spectra.wave, known.wave) and spectra.wave_unit == known.wave_unit
    same &= np.array_equal(spectra.values(_LABELS), known.values(_LABELS))
    return Report(Outcome.SAME if same else Outcome.WRONG, "read")


def _same_labels(target: Path, folder: Path) -> Report:
    """Rows may be missing at the end of a text; those that are there must be as they were written."""
    table, known = read_labels(target), read_labels(folder / "labels.fits")
    rows = np.asarray(table["row"])
    same = np.isin(rows, known["row"]).all()
    missing = False
    for name in (*_LABELS, "flags", "cov"):
        values = np.asarray(table[name])
        given = np.isfinite(values)
        same = same and np.array_equal(values[given], np.asarray(known[name])[rows][given])
        missing |= not given.all()
    return Report(Outcome.WRONG if not same else Outcome.FLAGGED if missing else Outcome.SAME, "read")


def _same_joined(target: Path, folder: Path) -> Report:
    """Labels of the catalogue are those that it had, or missing."""
    known = _stars(folder)
    bare = Spectra(known.wave, known.flux, known.ivar, Table({"source_id": known.table["source_id"]}), wave_unit="nm")
    joined = join_labels(bare, target, on="source_id")
    values, expected = joined.values(_LABELS), known.values(_LABELS)
    given = np.isfinite(values)
    if not np.array_equal(values[given], expected[given]):
        return Report(Outcome.WRONG, "other labels")
    return Report(Outcome.SAME if given.all() else Outcome.FLAGGED, "joined")


_TEXTS = ["abc", "", "--", "nan", "1e999", "½", "1,5", '"', "None", "'", "1;2", "\ufeff", "5000 K", "<4000", "4500±50"]


def _broken_text(text: str, rng: np.random.Generator) -> bytes:
    """Text in the place of a cell, lines cut, dropped or repeated, another encoding, something behind it."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    at = int(rng.integers(first, len(lines)))
    separator = "," if "," in lines[first] else " "
    kind = int(rng.integers(9))
    if kind < 3:
        cells = lines[at].split(separator)
        cells[int(rng.integers(len(cells)))] = _TEXTS[int(rng.integers(len(_TEXTS)))]
        lines[at] = separator.join(cells)
    elif kind == 3:
        lines[at] = lines[at][: lines[at].rindex(separator)]
    elif kind == 4:
        lines.append(lines[-1])
    elif kind == 5:
        del lines[at]
    elif kind == 6:
        return "\n".join(lines).encode(["utf-16", "utf-32", "utf-8-sig"][int(rng.integers(3))])
    elif kind == 7:
        return text.encode() + [b"\x00" * 100, b"\xff\xfe\xfd", b"," * 10**6, b"a" * 10**6][int(rng.integers(4))]
    else:
        return [b"", b"\n" * 1000, b"#" * 1000, b"\x80\x81", b"a,b\n" * 1000, b'"' + b"x\n" * 10**5][
            int(rng.integers(6))
        ]
    return ("\n".join(lines) + "\n").encode()


def _strange_catalogue(rng: np.random.Generator) -> Table:
    """Columns of other shapes and kinds under the names of labels."""
    stars = xp_giants()[:6]
    table = Table({"source_id": stars.table["source_id"], **{name: stars.values(name) for name in _LABELS}})
    name = str(rng.choice(_LABELS))
    kind = int(rng.integers(8))
    if kind == 0:
        table[name] = np.zeros((6, 3))
    elif kind == 1:
        table[name] = np.full(6, "hot")
    elif kind == 2:
        table[name] = np.ones(6, complex)
    elif kind == 3:
        table = Table(table, masked=True)
        table[name].mask[2] = True
    elif kind == 4:
        table = table[[0, 1, 2, 3, 4, 5, 5]]
    elif kind == 5:
        table["source_id"] = np.asarray(table["source_id"], float)
    elif kind == 6:
        table = table[:0]
    else:
        table["source_id"] = np.asarray(table["source_id"]).astype(str)
    return table


CAMPAIGN = Campaign("label and catalogue tables", attempt, prepare, tried=1000, short=60)
