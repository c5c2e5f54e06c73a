"""Tables of any length: spectra are read, fitted and let go of part by part."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from astropy.table import QTable, vstack

from slamjax.errors import SlamError
from slamjax.expressions import evaluate_selection
from slamjax.fitting import fit
from slamjax.model import Model
from slamjax.readers import count_rows, read_table
from slamjax.typing import Progress

#: Copies of a part's spectra that are in memory at the same time: as read, on the model's pixels, prepared, on the
#: device, each with its errors.
_COPIES = 8
#: Parts of fewer stars would not fill a batch.
_FEWEST = 512


def fit_table(
    model: Model,
    path: str | os.PathLike[str],
    *,
    select: str = "",
    memory: float = 1.0,
    progress: Progress | None = None,
    **options: Any,
) -> QTable:
    """Labels, errors and flags of the spectra in a FITS table, however many: what `slamjax.fit` gives of all of them.

    Parameters
    ----------
    model : Model
    path : path
        A slamjax FITS table.
    select : str
        Which rows, such as ``"logg < 3.6 & teff > 3600"``.
    memory : float
        GiB that spectra may take, and again a batch on the device.
    progress : callable, optional
        Called with (rows done, rows in all).
    **options
        As of `slamjax.fit`.

    Raises
    ------
    SlamError
        As `slamjax.read_table` and `slamjax.fit` do, and if no row is selected.
    """
    n, width = count_rows(path)
    size = int(max(_FEWEST, memory * 2**30 / (_COPIES * max(width, 1))))
    parts: list[QTable] = []
    for start in range(0, n, size):
        rows = slice(start, min(n, start + size))
        spectra = read_table(path, rows)
        if select:
            spectra = spectra[np.flatnonzero(evaluate_selection(select, spectra.columns(), len(spectra)))]

        def told(done: int, total: int, rows: slice = rows) -> None:
            if progress is not None:
                progress(rows.start + (rows.stop - rows.start) * done // max(total, 1), n)

        if len(spectra):
            parts.append(fit(model, spectra, memory=memory, progress=told, **options))
        told(1, 1)
    if not parts:
        if n == 0:
            raise SlamError(f"{path} holds no spectra to fit")
        raise SlamError(f"the selection {select!r} keeps none of the {n} rows of {path}; loosen it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # identical meta of the parts
        return parts[0] if len(parts) == 1 else vstack(parts, metadata_conflicts="silent")
