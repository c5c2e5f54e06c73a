"""What fits of parts of a data set have in common: how large parts are, which spectra count, one table in the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from slamjax.errors import SlamError
from slamjax.fitting.fitter import Fitter, stack_tables
from slamjax.io import LabelTable
from slamjax.model.model import Model
from slamjax.spectra.selection import Selection
from slamjax.spectra.spectra import Spectra

_Argument = TypeVar("_Argument")
_Part = TypeVar("_Part")
#: Copies of a part's spectra that are in memory at the same time: as read, on the model's pixels, prepared, on the
#: device, each with its errors; those of the previous part, whose slow stars are still being fitted; and the next part.
_COPIES = 11
#: Parts of fewer stars would not fill a batch.
_FEWEST = 512


def fitter_of(model: Model | Fitter) -> Fitter:
    """The fitter of a table or of files; one whose prior has arrays does not know which spectra they belong to."""
    fitter = model if isinstance(model, Fitter) else Fitter(model)
    if fitter.prior is not None and fitter.prior.has_arrays:
        raise SlamError("the prior has arrays, which belong to spectra in memory; name columns of the table instead")
    return fitter


def rows_within(memory: float, width: int) -> int:
    """Spectra of ``width`` bytes that are read at once within ``memory`` GiB."""
    return int(max(_FEWEST, memory * 2**30 / (_COPIES * max(width, 1))))


def selected(spectra: Spectra, selection: Selection) -> Spectra:
    """The spectra that are selected; unlike `Spectra.select`, none at all is no error."""
    if not selection.expression:
        return spectra
    return spectra[np.flatnonzero(selection.keeps(spectra.columns(), len(spectra)))]


def stacked(tables: list[LabelTable]) -> LabelTable:
    """One table; a column that only some parts have is filled up."""
    table = stack_tables(tables)
    for name in table.colnames:
        if getattr(table[name], "mask", None) is not None and np.any(table[name].mask):
            empty = {"U": "", "S": b"", "f": np.nan}.get(table[name].dtype.kind, 0)
            table[name] = table[name].filled(empty)
    return table


def one_ahead(function: Callable[[_Argument], _Part], arguments: Iterable[_Argument]) -> Iterator[_Part]:
    """Results in order; the next one is computed in a thread while the caller works with the one before."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending: deque[Future[_Part]] = deque()
        for argument in arguments:
            pending.append(pool.submit(function, argument))
            if len(pending) == 2:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
