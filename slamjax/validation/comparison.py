"""``compare``: SLAM and The Cannon's polynomial, trained on the same stars and judged by the same others."""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable, Table, vstack

from slamjax._util.files import atomic_path
from slamjax.errors import SlamError, SlamWarning
from slamjax.fitting import fit
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra
from slamjax.training import train
from slamjax.training.data import drawn, label_names, usable
from slamjax.training.search import make_folds
from slamjax.training.specs import SVR, Polynomial, TrainingSpec
from slamjax.typing import Progress
from slamjax.validation.bins import MAD_TO_SIGMA, checked_edges
from slamjax.validation.report import format_scatter, markdown
from slamjax.validation.scatter import scatter_table

#: The emulators that are compared, as tables and figures name them.
EMULATORS = ("SLAM", "polynomial")


@dataclass(frozen=True, eq=False)
class EmulatorComparison:
    """Both emulators side by side; the keys of every mapping are "SLAM" and "polynomial".

    Attributes
    ----------
    models : trained on all training stars
    stars : the training stars, as read
    labels : of the held-out stars, fitted by models that had not seen them
    flux : Table of P rows, see `flux_table`
    scatter : differences of labels by bin, see `slamjax.validation.scatter_table`
    by : what the bins are of
    held_out : in words, which stars were held out
    """

    models: dict[str, Model]
    stars: Spectra
    labels: dict[str, QTable]
    flux: Table
    scatter: dict[str, Table]
    by: str
    held_out: str

    def summary(self) -> Table:
        """A row an emulator: median over pixels of the flux errors, and each label's scatter over all stars."""
        rows = []
        for name, model in self.models.items():
            table = self.scatter[name][np.isnan(self.scatter[name]["low"])]
            errors = [_median(self.flux[f"{name}_{kind}"]) for kind in ("rms", "scatter")]
            share = [_median(self.flux[f"{name}_{kind}"] / self.flux["spread"]) for kind in ("rms", "scatter")]
            labels = {f"{row['label']}_scatter": float(row["scatter"]) for row in table}
            flags = np.asarray(self.labels[name]["flags"])
            rows.append(
                {
                    "emulator": name,
                    "pixels": int(model.trained.sum()),
                    "flux_rms": errors[0],
                    "flux_scatter": errors[1],
                    "flux_rms_of_spread": share[0],
                    "flux_scatter_of_spread": share[1],
                    **labels,
                    "stars": int(table["n"].max()),
                    "flagged": int(np.sum(flags != 0)),
                }
            )
        return Table(rows)

    def __str__(self) -> str:
        first, second = (np.asarray(self.flux[f"{name}_scatter"]) for name in EMULATORS)
        known = np.isfinite(first) & np.isfinite(second)
        better = 100 * np.mean(first[known] < second[known]) if known.any() else np.nan
        parts = [
            f"Held out: {self.held_out}. Flux errors are at the known labels, medians over pixels; scatter is robust "
            f"(1.4826 MAD). SLAM has the smaller flux scatter in {better:.0f} % of {known.sum()} pixels.",
            markdown(_rounded(self.summary())),
        ]
        for name, table in self.scatter.items():
            parts += [f"Labels by {name}, fit - known:", format_scatter(table, self.by)]
        return "\n\n".join(parts)

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write report.md, flux_error.ecsv, label_scatter.ecsv and labels_*.fits; the paths."""
        target = _folder(folder)
        scatter = vstack([_named(table, name) for name, table in self.scatter.items()])
        written = []
        for name, table in (("flux_error.ecsv", self.flux), ("label_scatter.ecsv", scatter)):
            with atomic_path(target / name) as temporary:
                table.write(temporary, format="ascii.ecsv", overwrite=True)
            written.append(target / name)
        with atomic_path(target / "report.md") as temporary:
            temporary.write_text(f"{self}\n")
        from slamjax.io.labels import write_labels

        for name, labels in self.labels.items():
            write_labels(labels, target / f"labels_{name.lower()}.fits")
            written.append(target / f"labels_{name.lower()}.fits")
        return [*written, target / "report.md"]


@dataclass(frozen=True, eq=False)
class _HeldOut:
    """What both emulators say of the stars that judge them.

    ``labels`` are fitted, ``residuals`` (N, P) are of the flux at the known labels, NaN where there is none.
    """

    stars: Spectra
    labels: dict[str, QTable]
    residuals: dict[str, np.ndarray]
    description: str


def compare(
    spectra: Spectra,
    labels: Sequence[str],
    *,
    svr: SVR = SVR(),
    polynomial: Polynomial = Polynomial(),
    training: TrainingSpec = TrainingSpec(),
    test: Spectra | int = 5,
    by: str = "snr",
    bins: Sequence[float] | None = None,
    n_starts: int = 3,
    on_progress: Progress | None = None,
) -> EmulatorComparison:
    """Train SLAM and a polynomial on the same stars, and judge both by stars that they have not seen.

    Parameters
    ----------
    spectra : Spectra
        Stars whose ``table`` holds the labels.
    labels : sequence of str
        Columns to learn from.
    svr, polynomial : SVR, Polynomial
        The emulators, with their hyper-parameters.
    training : TrainingSpec
        Recipe, search, noise, ``log_labels``, data and seed of both, as in `slamjax.train`.
    test : Spectra or int
        Other stars with known labels to judge by (those that train are left out of them), or the number of parts into
        which the stars are divided, each judged by models of the others; spectra of one star stay together.
    by, bins : str, sequence of float, optional
        What label differences are binned by, ``"snr"`` or a column of the table, and the edges, as in
        `slamjax.validate`; one bin where no errors are stated.
    n_starts : int
        As in `slamjax.fit`.
    on_progress : callable, optional
        Called with (emulators trained and judged, those in all).

    Returns
    -------
    EmulatorComparison

    Raises
    ------
    SlamError
        For missing columns or too few stars.
    """
    names = label_names(labels)
    spectra.require(names)
    edges = checked_edges(bins)
    if by != "snr":
        (test if isinstance(test, Spectra) else spectra).values(by)  # raises now, not after the fits
    stars = drawn(usable(spectra, names), training.data.n_train, training.seed)
    options = vars(training) | {"data": dataclasses.replace(training.data, n_train=None)}
    emulators: dict[str, SVR | Polynomial] = dict(zip(EMULATORS, (svr, polynomial), strict=True))
    if isinstance(test, Spectra):
        fold, n_models = None, len(emulators)
    else:
        fold = make_folds(stars.star_groups(), test, training.seed)
        n_models = len(emulators) * (test + 1)
    done = itertools.count(1)

    def step() -> None:
        if on_progress is not None:
            on_progress(next(done), n_models)

    def trained(name: str, some: Spectra) -> Model:
        return train(some, names, emulator=emulators[name], **options)

    models = {}
    for name in emulators:
        models[name] = trained(name, stars)
        step()
    if fold is None:
        assert isinstance(test, Spectra)
        held_out = _judged_by_others(models, _judges(test, names, models["SLAM"]), n_starts)
    else:
        held_out = _judged_in_turn(models, stars, fold, trained, n_starts, step)
    column = held_out.labels["SLAM"]["snr"] if by == "snr" else held_out.stars.values(by)
    return EmulatorComparison(
        models=models,
        stars=stars,
        labels=held_out.labels,
        flux=flux_table(models["SLAM"], held_out.stars, held_out.residuals),
        scatter={
            name: scatter_table(table, names, np.asarray(column, float), edges)
            for name, table in held_out.labels.items()
        },
        by=by,
        held_out=held_out.description,
    )


def _judged_by_others(models: Mapping[str, Model], judges: Spectra, n_starts: int) -> _HeldOut:
    judged = {name: _judged(model, judges, n_starts) for name, model in models.items()}
    return _HeldOut(
        judges,
        {name: labels for name, (labels, _) in judged.items()},
        {name: residuals for name, (_, residuals) in judged.items()},
        f"{len(judges)} other stars",
    )


def _judged_in_turn(
    models: Mapping[str, Model],
    stars: Spectra,
    fold: np.ndarray,
    trained: Callable[[str, Spectra], Model],
    n_starts: int,
    step: Callable[[], None],
) -> _HeldOut:
    """Each fold judged by models that are trained on the others."""
    labels: dict[str, list[QTable]] = {name: [] for name in models}
    residuals: dict[str, list[np.ndarray]] = {name: [] for name in models}
    weaker = set()
    n_folds = int(fold.max()) + 1
    for number in range(n_folds):
        for name in models:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SlamWarning)  # given already for the models of all stars
                model = trained(name, stars[fold != number])
                table, residual = _judged(model, stars[fold == number], n_starts)
            labels[name].append(table)
            residuals[name].append(residual)
            if type(model.noise) is not type(models[name].noise):
                weaker.add(name)
            step()
    if weaker:
        warnings.warn(
            f"the folds of {' and '.join(sorted(weaker))} have too few stars for the noise model that all stars make: "
            "pulls and label scatter are of independent pixels; take more stars or more folds",
            SlamWarning,
            stacklevel=3,
        )
    return _HeldOut(
        stars[np.argsort(fold, kind="stable")],
        {name: _stacked(parts) for name, parts in labels.items()},
        {name: np.concatenate(parts) for name, parts in residuals.items()},
        f"{len(stars)} stars in {n_folds} folds",
    )


def flux_table(model: Model, spectra: Spectra, residuals: Mapping[str, np.ndarray]) -> Table:
    """How far predictions at the known labels lie from held-out flux, a row a pixel, in units of prepared flux.

    Columns: ``wave``, ``n`` good stars, ``spread`` (robust width of the flux of all stars), ``photon`` (median stated
    error; NaN where none is), and for each emulator ``_rms`` (root mean square residual) and ``_scatter`` (1.4826 MAD).
    """
    prepared = model.prepare(spectra)
    good = prepared.good
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without any star
        flux = np.where(good, prepared.flux, np.nan).astype(float)
        error = np.where(good & np.isfinite(prepared.ivar), 1 / np.sqrt(prepared.ivar.astype(float)), np.nan)
        table = Table({"wave": model.wave, "n": good.sum(axis=0), "spread": _width(flux)})
        table["photon"] = np.nanmedian(error, axis=0)
        for name, residual in residuals.items():
            table[f"{name}_rms"] = np.sqrt(np.nanmean(np.square(residual), axis=0))
            table[f"{name}_scatter"] = _width(residual)
    table["wave"].unit = model.info.wave_unit
    return table


def _judges(test: Spectra, names: Sequence[str], model: Model) -> Spectra:
    """The stars of a test set that have labels and did not train."""
    some = usable(test, names)
    kept = ~model.info.record.contains(some)
    if not kept.any():
        raise SlamError(f"every star of {test.source} trained the emulators; give others, or leave test out")
    return some[kept]


def _judged(model: Model, spectra: Spectra, n_starts: int) -> tuple[QTable, np.ndarray]:
    """Labels of held-out stars, and the residuals (N, P) of their flux at the known labels, NaN where there is none."""
    table = fit(model, spectra, n_starts=n_starts)
    prepared = model.prepare(spectra)
    predicted = np.asarray(model(spectra.values(model.label_names)), float)
    return table, np.where(prepared.good & model.trained, prepared.flux - predicted, np.nan)


def _stacked(tables: list[QTable]) -> QTable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # identical meta of the parts
        return tables[0] if len(tables) == 1 else vstack(tables, metadata_conflicts="silent")


def _width(values: np.ndarray) -> np.ndarray:
    return MAD_TO_SIGMA * np.nanmedian(np.abs(values - np.nanmedian(values, axis=0)), axis=0)


def _median(values: Any) -> float:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if known.size else float("nan")


def _rounded(table: Table) -> Table:
    def text(value: Any) -> Any:
        return f"{value:.4g}" if isinstance(value, float | np.floating) else value

    return Table({name: [text(value) for value in table[name]] for name in table.colnames})


def _named(table: Table, name: str) -> Table:
    named = table.copy()
    named.add_column([name] * len(table), name="emulator", index=0)
    return named


def _folder(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SlamError(f"cannot make the folder {target}: {error.strerror}; choose another") from error
    return target
