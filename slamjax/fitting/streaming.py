"""Tables of any length, read and fitted part by part by one `Fitter`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from slamjax._util.progress import reporter
from slamjax._util.threads import one_blas_thread
from slamjax.errors import SlamError
from slamjax.fitting.fitter import Fitter, warn_without_errors
from slamjax.fitting.parts import fitter_of, one_ahead, rows_within, selected, stacked
from slamjax.io import LabelTable, count_rows, read_rows
from slamjax.model.model import Model
from slamjax.spectra.selection import Selection
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress


def fit_table(
    model: Model | Fitter,
    path: str | os.PathLike[str],
    *,
    select: str = "",
    medium: str | None = None,
    frame: str | None = None,
    fwhm: float | None = None,
    part_size: int | None = None,
    on_progress: Progress | bool | None = True,
) -> LabelTable:
    """Labels, errors and flags of the spectra in a FITS table of any length: what `slamjax.fit` gives of all of them.

    Parameters
    ----------
    model : Model or Fitter
        A Model is fitted with the default options; a `slamjax.Fitter` holds others.
    path : path
        A slamjax table, or a file of XP coefficients (`slamjax.read_xp_coefficients`).
    select : str
        Which rows, such as ``"logg < 3.6 & teff > 3600"``.
    medium, frame, fwhm : optional
        Metadata that the table lacks, see `slamjax.Spectra.with_metadata`.
    part_size : int, optional
        Rows that are read at once; by default as many as the fitter's ``memory`` holds.
    on_progress : callable or bool
        Called with (rows done, rows in all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    LabelTable
        As of `slamjax.fit`.

    See Also
    --------
    slamjax.fit_survey : writes labels of any number of spectra, and continues where it was stopped

    Raises
    ------
    SlamError
        As `slamjax.read_table` and `slamjax.fit` do, and if no row is selected.

    Examples
    --------
    >>> import os, tempfile
    >>> import slamjax
    >>> stars, new_stars = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> path = os.path.join(tempfile.mkdtemp(), "new.fits")
    >>> slamjax.write_table(new_stars[:6], path)
    >>> fitter = slamjax.Fitter(model, n_starts=1)
    >>> len(slamjax.fit_table(fitter, path, part_size=3))
    6
    """
    fitter = fitter_of(model)
    n, width = count_rows(path)
    size = part_size or rows_within(fitter.memory, width)
    selection = Selection(select)

    def read_part(start: int) -> tuple[int, Spectra]:
        stop = min(n, start + size)
        return stop - start, selected(read_rows(path, slice(start, stop)).with_metadata(medium, frame, fwhm), selection)

    def parts(starts: Iterable[int]) -> Iterator[Spectra]:
        for n_rows, spectra in one_ahead(read_part, starts):
            progress.add(n_rows, len(spectra))
            if len(spectra):
                yield spectra
                warn_without_errors(fitter.model, spectra)  # after the fitter's checks: an error stands alone

    with reporter(on_progress) as told, one_blas_thread():
        told.stage("fitting rows")
        progress = _RowProgress(told, n)
        tables = list(fitter.fit_parts(parts(range(0, n, size)), report=progress.report))
        progress.report(progress.spectra)
    if not tables:
        if n == 0:
            raise SlamError(f"{path} holds no spectra to fit")
        raise selection.keeps_none_of(f"the {n} rows of {path}")
    return stacked(tables)


class _RowProgress:
    """Progress in rows of a table, from the number of spectra done; not all rows are selected."""

    def __init__(self, told: Progress, n: int) -> None:
        self.told, self.n = told, n
        self.rows = self.spectra = self.last = 0

    def add(self, rows: int, spectra: int) -> None:
        """Rows that were read, and how many of them are selected."""
        self.rows, self.spectra = self.rows + rows, self.spectra + spectra

    def report(self, done: int) -> None:
        """Spectra that are done."""
        self.last = max(self.last, self.rows * min(done, self.spectra) // max(self.spectra, 1))
        self.told(self.n if done == self.spectra and self.rows == self.n else self.last, self.n)
