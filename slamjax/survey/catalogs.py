"""Catalogues of LSDB: spectra in the partitions of a HATS catalogue, and their labels as another catalogue."""

from __future__ import annotations

import atexit
import copy
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slamjax._util.files import existing_file
from slamjax._util.threads import one_blas_thread
from slamjax._version import __version__
from slamjax.errors import SlamError
from slamjax.fitting import Fitter
from slamjax.fitting.checkpoint import model_digest
from slamjax.fitting.parts import fitter_of, rows_within, stacked
from slamjax.io.arrow import is_nested
from slamjax.io.list_assembly import Assembly, Part
from slamjax.io.list_columns import SpectralAxis, SpectrumColumns
from slamjax.model.model import Model
from slamjax.spectra.length_units import stated_unit
from slamjax.spectra.spectra import Spectra
from slamjax.survey.engines import Engine
from slamjax.survey.pieces import MOST_SPECTRA, Piece
from slamjax.survey.schema import LabelSchema, label_schema
from slamjax.survey.work import Done, Job, Read, Reading, do_piece, engine_of_job

#: One partition is fitted at a time in a process: a fit has all cores of its process anyway.
_ONE_FIT = threading.Lock()


@dataclass(frozen=True)
class CatalogTask:
    """What is done to every partition; small, and the same for all.

    Attributes
    ----------
    job : model and options
    columns : of the spectra; others that fits may use
    axis : wavelengths and what else all spectra have in common
    about : pyarrow.Schema of the catalogue, with the units of its columns
    carried : columns that the labels are joined to
    schema : columns of the labels
    source : what messages call the catalogue
    """

    job: Job
    columns: SpectrumColumns
    axis: SpectralAxis
    about: Any
    carried: tuple[str, ...]
    schema: LabelSchema
    source: str

    def __dask_tokenize__(self) -> tuple[str, ...]:
        """What tells two tasks apart, for the names of Dask's tasks."""
        return (self.job.digest, repr(self.job.options), repr(self.columns), repr(self.axis.metadata()), self.source,
                repr(self.carried), repr(self.schema.names))  # fmt: skip


def fit_catalog(
    model: Model | Fitter | str | os.PathLike[str],
    catalog: Any,
    columns: Mapping[str, str] | None = None,
    *,
    carry: Sequence[str] | None = None,
    wave: Any = None,
    medium: str | None = None,
    frame: str | None = None,
    fwhm: Any = None,
) -> Any:
    """Labels, errors and flags of the spectra of an LSDB catalogue, as another catalogue with the same partitions.

    Nothing is fitted yet: LSDB fits partition by partition when the catalogue is computed or written,
    ``labels.write_catalog("labels", resume=True)``, by the Dask client that exists then, or in threads.

    Parameters
    ----------
    model : path of a model, Model or Fitter
        Workers read the model from its file, once each; a Model or Fitter in memory is written to a temporary file,
        which workers on other machines do not see. A `slamjax.Fitter` holds other options than the default ones.
    catalog : lsdb.Catalog
        Its spectra are columns of lists, or a nested column of them.
    columns : mapping, optional
        Which columns are ``flux``, ``ivar`` or ``error``, and ``wave``, if they have other names: ``{"flux":
        "xp.flux", "error": "xp.flux_error"}``.
    carry : names, optional
        Columns of the catalogue that the labels are joined to; by default those of text, integers and booleans. The
        coordinates and the index are always there.
    wave : Quantity (P,), optional
        Wavelengths, where neither the catalogue's schema (see `slamjax.write_table`) nor a column states them.
    medium, frame, fwhm : optional
        Metadata that the catalogue lacks, see `slamjax.Spectra.with_metadata`.

    Returns
    -------
    lsdb.Catalog
        The columns that are carried, ``problem``, and those of `slamjax.fit` with one number in each cell
        (`slamjax.LabelTable.flat`). A row that cannot be fitted is flagged and its ``problem`` says why. The
        catalogue's properties have the digest of the model, the version of slamjax, and the labels with their units.

    Raises
    ------
    SlamError
        If columns are missing, wavelengths are not stated, or the spectra do not suit the model.

    Examples
    --------
    >>> import slamjax
    >>> labels = slamjax.fit_catalog("giants.h5", lsdb.open_catalog("xp"))  # doctest: +SKIP
    >>> labels.write_catalog("xp_labels", resume=True)  # doctest: +SKIP
    """
    path, fitter = _model_file(model)
    source = f"catalogue {catalog.name}"
    about = _schema_of(catalog)
    layout = SpectrumColumns.of_schema(about, columns, source)
    axis = _axis(about, fitter, layout, source, {"wave": wave, "medium": medium, "frame": frame, "fwhm": fwhm})
    numbers = tuple(name for name in layout.others if _is_number(about.field(name).type))
    layout = replace(layout, others=numbers)
    has_rv = axis.frame == "observed" and fitter.model.info.frame == "rest"
    schema = label_schema(
        fitter,
        velocity=has_rv or "rv" in numbers,
        references=[name for name in fitter.model.label_names if name in numbers],
    )
    schema = replace(schema, columns=tuple(column for column in schema.columns if column.name != "row"))
    meta = schema.meta()
    carried = _carried(catalog, about, carry, set(meta.columns), source)
    job = Job(str(path), model_digest(fitter.model), fitter.options, Reading())
    task = CatalogTask(job, layout, axis, about, carried, schema, source)
    labels = catalog.map_partitions(labels_of_partition, task, meta=_joined(catalog.meta, carried, meta))
    labels.hc_structure = copy.copy(labels.hc_structure)
    labels.hc_structure.catalog_info = labels.hc_structure.catalog_info.copy_and_update(**properties_of(fitter, job))
    return labels


def labels_of_partition(frame: Any, task: CatalogTask) -> Any:
    """The labels of a partition, joined to the columns that are carried: what LSDB's workers run."""
    if not len(frame):
        return _joined(frame, task.carried, task.schema.meta())
    with _ONE_FIT, one_blas_thread():
        engine = engine_of_job(task.job)
        most = min(MOST_SPECTRA, rows_within(engine.memory, 8 * engine.model.wave.size))
        bounds = np.linspace(0, len(frame), -(-len(frame) // most) + 1).astype(int)
        tables = [_fitted(engine, frame.iloc[a:b], task).table for a, b in itertools.pairwise(bounds)]
    table = stacked([table for table in tables if table is not None])
    return _joined(frame, task.carried, task.schema.frame(table))


def _fitted(engine: Engine, frame: Any, task: CatalogTask) -> Done:
    """Labels of some rows; what cannot be fitted has rows without labels that say so."""
    rows = np.arange(len(frame))
    try:
        assembly = Assembly(task.columns, task.axis, task.about, task.source, len(rows), "flag")
        assembly.add(Part(frame.to_pyarrow(), rows, rows))
        read = Read([assembly.spectra()])
    except SlamError as error:
        read = Read([], str(error))
    return do_piece(engine, task.job.reading, Piece(0, "table", (task.source,), 0, len(rows)), read)


def properties_of(fitter: Fitter, job: Job) -> dict[str, str]:
    """What a catalogue's properties say of its labels."""
    info = fitter.model.info
    labels = [f"{name} [{unit}]" for name, unit in zip(fitter.model.label_names, info.label_units, strict=True)]
    return {"slamjax_version": __version__, "slamjax_model": job.digest, "slamjax_labels": ", ".join(labels)}


def _model_file(model: Model | Fitter | str | os.PathLike[str]) -> tuple[Path, Fitter]:
    """A file of the model, written if there is none, and its fitter."""
    if isinstance(model, str | os.PathLike):
        path = existing_file(model).resolve()
        return path, fitter_of(Model.read(path))
    fitter = fitter_of(model)
    folder = Path(tempfile.mkdtemp(prefix="slamjax-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    fitter.model.write(folder / "model.h5")
    return folder / "model.h5", fitter


def _schema_of(catalog: Any) -> Any:
    """The Arrow schema of a catalogue, with what the files that it was opened from state of units and wavelengths."""
    schema = catalog.meta.to_pyarrow().schema.remove_metadata()
    stated = catalog.hc_structure.original_schema
    if stated is None:
        return schema
    for k, field in enumerate(schema):
        if field.name in stated.names:
            schema = schema.set(k, field.with_metadata(stated.field(field.name).metadata))
    return schema.with_metadata(stated.metadata)


def _axis(about: Any, fitter: Fitter, layout: SpectrumColumns, source: str, given: dict[str, Any]) -> SpectralAxis:
    """What all spectra have in common, as the schema and the user state it, and whether it suits the model."""
    axis = SpectralAxis.from_schema(about, source)
    if given["wave"] is not None:
        unit = stated_unit(given["wave"])
        if unit is None:
            raise SlamError("wave has no unit; give a Quantity, such as np.linspace(336, 1020, 343) * u.nm")
        axis = replace(
            axis, wave=np.asarray(getattr(given["wave"], "value", given["wave"]), float), wave_unit=str(unit)
        )
    more = {name: given[name] for name in ("medium", "frame", "fwhm") if given[name] is not None}
    try:
        empty = Assembly(replace(layout, others=()), axis, about, source, 0, "flag").spectra()
    except SlamError as error:
        hint = "; or give wave, a Quantity" if given["wave"] is None else ""
        raise SlamError(f"{error}{hint}") from error
    if axis.wave is None:  # every row has its own
        return replace(axis, **more)
    one = np.zeros((1, empty.n_pix), np.float32)
    spectra = Spectra(
        empty.wave, one, one, wave_unit=empty.wave_unit, medium=axis.medium, frame=axis.frame, fwhm=axis.fwhm,
        flux_unit=empty.flux_unit, source=source,
    ).with_metadata(**more)  # fmt: skip
    fitter.check(spectra)
    return SpectralAxis.of(spectra)


def _carried(catalog: Any, about: Any, carry: Sequence[str] | None, made: set[str], source: str) -> tuple[str, ...]:
    """Names of the columns that labels are joined to: coordinates first."""
    info = catalog.hc_structure.catalog_info
    index = catalog.meta.index.name
    names = [name for name in about.names if name != index]
    missing = [name for name in carry or () if name not in names]
    if missing:
        raise SlamError(f"{source} has no column {missing[0]!r} to carry; it has: {', '.join(names)}")
    twice = [name for name in (info.ra_column, info.dec_column, *(carry or ())) if name in made]
    if twice:
        raise SlamError(f"column {twice[0]!r} of {source} is called as one of the labels' columns; rename it first")
    wanted = carry
    if wanted is None:
        wanted = [name for name in names if _is_identifier(about.field(name).type) and name not in made]
    return tuple(dict.fromkeys([info.ra_column, info.dec_column, *wanted]))


def _is_number(kind: Any) -> bool:
    return not is_nested(kind) and np.dtype(kind.to_pandas_dtype()).kind in "biuf"


def _is_identifier(kind: Any) -> bool:
    """Whether a column is of text, integers or booleans."""
    return not is_nested(kind) and np.dtype(kind.to_pandas_dtype()).kind in "biuO"


def _joined(frame: Any, carried: Sequence[str], labels: Any) -> Any:
    """Columns of a frame with labels beside them; index and types stay as they are."""
    joined = frame[list(carried)].iloc[: len(labels)].copy()
    for name in labels.columns:
        joined[name] = labels[name].array
    return joined
