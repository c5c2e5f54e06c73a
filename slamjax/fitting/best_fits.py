"""`write_best_fits`: the spectra that a fit found, beside those that were fitted, as a file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator

import jax.numpy as jnp
import numpy as np
from astropy.io import fits
from astropy.table import Table

from slamjax._util.progress import reporter
from slamjax.errors import SlamError
from slamjax.fitting.fitter import Fitter
from slamjax.forward.nuisances import Nuisances
from slamjax.io.fits_tables import table_to_hdu
from slamjax.io.label_stream import write_label_blocks
from slamjax.io.label_table import LabelTable
from slamjax.io.labels import label_sheet
from slamjax.model.model import Model
from slamjax.model.named_labels import labels_of
from slamjax.spectra.columns import float_column, float_values
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import with_unit
from slamjax.typing import Progress

#: Arrays of each star, in this order.
ARRAYS = ("flux", "ivar", "model_flux", "continuum", "residual")
#: Names of the extensions.
SPECTRA, WAVELENGTHS = "BEST_FITS", "WAVELENGTH"
#: Stars whose spectra are predicted at once.
_ROWS = 512


def write_best_fits(
    model: Model | Fitter,
    spectra: Spectra,
    labels: Table,
    path: str | os.PathLike[str],
    *,
    on_progress: Progress | bool | None = True,
) -> None:
    """Write the best-fit spectrum of every star beside what was fitted, as FITS.

    One table has a row per star: the columns of ``labels`` that hold one value each, and arrays on the model's pixels:
    ``flux`` and ``ivar`` as prepared, ``model_flux`` predicted at the fitted labels and nuisances, ``continuum`` that
    the recipe divided by (1 if it has none), and ``residual``, flux minus model_flux. The second extension has the
    wavelengths. Stars whose fit failed have NaN. The file appears whole or not at all.

    Parameters
    ----------
    model : Model or Fitter
        That made the labels; a Fitter knows its nuisances.
    spectra : Spectra
        N spectra, as read.
    labels : Table
        N rows of `slamjax.fit` for these spectra.
    path : path
    on_progress : callable or bool
        Called with (stars done, stars in all). By default a line in terminals and notebooks; False for none.

    Raises
    ------
    SlamError
        If there are other numbers of spectra and rows, a column is missing, or the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> from astropy.table import Table
    >>> import slamjax
    >>> stars, new_stars = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> labels = slamjax.fit(model, new_stars[:3], n_starts=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "best.fits")
    ...     slamjax.write_best_fits(model, new_stars[:3], labels, path)
    ...     Table.read(path, hdu="BEST_FITS")["model_flux"].shape
    (3, 31)
    """
    fitter = model if isinstance(model, Fitter) else Fitter(model)
    if len(spectra) != len(labels):
        raise SlamError(f"there are {len(labels)} rows of labels for {len(spectra)} spectra; give those of its fit")
    with reporter(on_progress) as report:
        report.stage("writing best-fit spectra")
        write_blocks(fitter.model, len(spectra), best_fits(fitter, spectra, labels), path, report)


def best_fits(fitter: Fitter, spectra: Spectra, labels: Table) -> Iterator[LabelTable]:
    """The rows of such a table, in blocks."""
    for start in range(0, len(spectra), _ROWS):
        some = slice(start, start + _ROWS)
        yield _best_fits(fitter, spectra[some], labels[some])


def _best_fits(fitter: Fitter, spectra: Spectra, labels: Table) -> LabelTable:
    spectra = fitter.as_given(spectra)
    model = fitter.model.matched(spectra)
    names = [*model.label_names, *_needed(model, fitter.nuisances, spectra)]
    missing = [name for name in names if name not in labels.colnames]
    if missing:
        raise SlamError(f"the labels have no column {', '.join(missing)}; give the table of the fit with these options")
    values = [float_values(labels[name]).reshape(len(labels), -1) for name in names]
    fitted = np.all(np.isfinite(np.concatenate(values, axis=1)), axis=1)
    arrays = {name: np.full((len(spectra), model.wave.size), np.nan, np.float32) for name in ARRAYS}
    if fitted.any():
        stars, rows = spectra[np.flatnonzero(fitted)], labels[np.flatnonzero(fitted)]
        for name, found in _arrays(model, fitter.nuisances, stars, rows).items():
            arrays[name][fitted] = found
    arrays["ivar"][~fitted] = 0
    return _with_arrays(labels, arrays, model)


def no_best_fits(model: Model, labels: Table) -> LabelTable:
    """Rows of stars of which there is no spectrum."""
    shape = (len(labels), model.wave.size)
    arrays = {name: np.full(shape, 0 if name == "ivar" else np.nan, np.float32) for name in ARRAYS}
    return _with_arrays(labels, arrays, model)


def write_blocks(
    model: Model, n: int, blocks: Iterable[LabelTable], path: str | os.PathLike[str], report: Progress
) -> None:
    """Write n rows that come in blocks."""
    blocks = _told(blocks, n, report)
    first = next(blocks, None)
    if first is None:
        raise SlamError("there are no spectra to write")
    info = model.info
    wave = table_to_hdu(Table({"wavelength": with_unit(model.wave, info.wave_unit)}), WAVELENGTHS)
    wave.header["MEDIUM"], wave.header["FRAME"] = info.medium, info.frame
    write_label_blocks(first[:1], n, itertools.chain([first], blocks), path, sheet_of=_sheet, behind=[wave])


def _told(blocks: Iterable[LabelTable], n: int, report: Progress) -> Iterator[LabelTable]:
    """Blocks, each of which is told of once it is written."""
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        report(done, n)


def _sheet(table: LabelTable) -> fits.BinTableHDU:
    """A label table with spectra as a FITS extension."""
    sheet = label_sheet(table)
    sheet.name = SPECTRA
    return sheet


def _needed(model: Model, nuisances: Nuisances | None, spectra: Spectra) -> list[str]:
    """Columns besides the labels that a prediction needs."""
    free = [] if nuisances is None else [*nuisances.free]
    polynomial = [] if nuisances is None or nuisances.polynomial is None else ["polynomial"]
    measured = model.needs_rv(spectra) and (nuisances is None or nuisances.rv is None)
    return [*free, *polynomial, *(["rv"] if measured else [])]


def _arrays(model: Model, nuisances: Nuisances | None, spectra: Spectra, labels: Table) -> dict[str, np.ndarray]:
    velocity = None
    if model.needs_rv(spectra):
        measured = nuisances is None or nuisances.rv is None
        velocity = float_column(labels["rv"]) if measured else np.zeros(len(spectra))
    prepared, continuum = model.prepare_with_continuum(spectra, velocity)
    at = np.asarray(labels_of(model, labels), float)
    if nuisances is None:
        predicted = model.as_seen(prepared, model.emulator(at))
    else:
        forward = model.with_nuisances(nuisances)
        free = {name: float_column(labels[name]) for name in nuisances.free}
        predicted = model.as_seen(prepared, forward(at, **free))
        if nuisances.polynomial is not None:
            predicted = predicted * forward.polynomial(jnp.asarray(float_values(labels["polynomial"])))
    predicted, flux = np.asarray(predicted, float), np.where(prepared.good, prepared.flux, np.nan).astype(float)
    ivar = np.where(prepared.good, prepared.ivar, 0)
    return dict(zip(ARRAYS, (flux, ivar, predicted, continuum, flux - predicted), strict=True))


def _with_arrays(labels: Table, arrays: dict[str, np.ndarray], model: Model) -> LabelTable:
    """The label table's columns of single values, and behind them the arrays."""
    table = LabelTable()
    for name in labels.colnames:
        if labels[name].ndim == 1 and name not in ARRAYS:
            table[name] = labels[name]
    unit = model.info.flux_unit
    for name, values in arrays.items():
        has_unit = unit is not None and name in ("flux", "model_flux", "residual")
        table[name] = with_unit(values, unit or "") if has_unit else values
    table.meta["labels"] = ",".join(model.label_names)
    return table
