"""``compare``: SLAM and The Cannon's polynomial, trained on the same stars and judged by the same held-out ones."""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table, vstack

from slamjax._util.files import atomic_path
from slamjax._util.progress import reporter
from slamjax.errors import SlamError, SlamWarning
from slamjax.fitting import fit
from slamjax.io.labels import write_labels
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra
from slamjax.training import train
from slamjax.training.data import drawn, label_names, usable
from slamjax.training.search import make_folds
from slamjax.training.specs import SVR, Polynomial, TrainingSpec
from slamjax.typing import Progress
from slamjax.validation.bins import checked_edges, finite_median
from slamjax.validation.flux_errors import flux_residuals, flux_table
from slamjax.validation.report import format_scatter, markdown, rounded
from slamjax.validation.scatter import scatter_table

#: The emulators that are compared, as tables and figures name them.
EMULATORS = ("SLAM", "polynomial")


@dataclass(frozen=True, eq=False)
class EmulatorComparison:
    """Both emulators side by side, as `slamjax.compare` returns them.

    Attributes
    ----------
    models : dict of Model
        Trained on all training stars; this and every other mapping has the keys "SLAM" and "polynomial".
    stars : Spectra
        The training stars, as read.
    labels : dict of QTable
        Of the held-out stars, fitted by models that had not seen them.
    flux : Table
        Errors of the predicted flux, one row per pixel: ``wave``, ``n``, ``spread``, ``photon``, and ``_rms`` and
        ``_scatter`` of each emulator, in units of prepared flux.
    scatter : dict of Table
        Label differences by bin, see `slamjax.validation.scatter_table`.
    by : str
        What the bins are of.
    held_out : str
        Which stars were held out, in words.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 530), wave_unit="nm", continuum="gaussian:50nm")
    >>> training = slamjax.TrainingSpec(recipe=recipe, noise="diagonal")
    >>> comparison = slamjax.compare(stars[:80], ["teff", "logg"], training=training, test=others[:20])
    >>> list(comparison.models), comparison.flux.colnames[:4]
    (['SLAM', 'polynomial'], ['wave', 'n', 'spread', 'photon'])
    """

    models: dict[str, Model]
    stars: Spectra
    labels: dict[str, QTable]
    flux: Table
    scatter: dict[str, Table]
    by: str
    held_out: str

    def summary(self) -> Table:
        """One row per emulator: median flux errors over the pixels, and each label's scatter over all stars."""
        rows = []
        for name, model in self.models.items():
            table = self.scatter[name][np.isnan(self.scatter[name]["low"])]
            errors = {kind: self.flux[f"{name}_{kind}"] for kind in ("rms", "scatter")}
            relative = {kind: error / self.flux["spread"] for kind, error in errors.items()}
            rows.append(
                {
                    "emulator": name,
                    "pixels": int(model.trained.sum()),
                    **{f"flux_{kind}": finite_median(error) for kind, error in errors.items()},
                    **{f"flux_{kind}_of_spread": finite_median(ratio) for kind, ratio in relative.items()},
                    **{f"{row['label']}_scatter": float(row["scatter"]) for row in table},
                    "stars": int(table["n"].max()),
                    "flagged": int(np.sum(np.asarray(self.labels[name]["flags"]) != 0)),
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
            markdown(rounded(self.summary())),
        ]
        for name, table in self.scatter.items():
            parts += [f"Labels by {name}, fit - known:", format_scatter(table, self.by)]
        return "\n\n".join(parts)

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write report.md, flux_error.ecsv, label_scatter.ecsv and labels_*.fits; return their paths."""
        target = _folder(folder)
        scatter = vstack([_named(table, name) for name, table in self.scatter.items()])
        written = []
        for name, table in (("flux_error.ecsv", self.flux), ("label_scatter.ecsv", scatter)):
            with atomic_path(target / name) as temporary:
                table.write(temporary, format="ascii.ecsv", overwrite=True)
            written.append(target / name)
        with atomic_path(target / "report.md") as temporary:
            temporary.write_text(f"{self}\n")
        for name, labels in self.labels.items():
            write_labels(labels, target / f"labels_{name.lower()}.fits")
            written.append(target / f"labels_{name.lower()}.fits")
        return [*written, target / "report.md"]


@dataclass(frozen=True, eq=False)
class _Judgement:
    """What both emulators predict for held-out stars: fitted labels, and (N, P) flux residuals at the known ones."""

    stars: Spectra
    labels: dict[str, QTable]
    residuals: dict[str, np.ndarray]
    held_out: str


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
    on_progress: Progress | bool | None = True,
) -> EmulatorComparison:
    """Train SLAM and a polynomial on the same stars, and judge both by stars that they have not seen.

    Parameters
    ----------
    spectra : Spectra
        Stars with known labels in their ``table``.
    labels : sequence of str
        Columns to learn from.
    svr, polynomial : SVR, Polynomial
        The emulators, with their hyper-parameters.
    training : TrainingSpec
        Recipe, search, noise, ``log_labels``, data and seed of both, as in `slamjax.train`.
    test : Spectra or int
        Other stars with known labels to judge by, training stars left out; or the number of folds, each judged by
        models of the others. All spectra of a star are in one fold.
    by : str
        What label differences are binned by: ``"snr"`` or a column of the table.
    bins : sequence of float, optional
        Rising edges; default: the quartiles, or one bin if no errors are stated.
    n_starts : int
        Starting points per star, as in `slamjax.fit`.
    on_progress : callable or bool
        Called with (emulators trained and judged, those in all). True: on one line, in terminals and notebooks only;
        False: nothing.

    Returns
    -------
    EmulatorComparison

    Raises
    ------
    SlamError
        For missing columns or too few stars.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 530), wave_unit="nm", continuum="gaussian:50nm")
    >>> training = slamjax.TrainingSpec(recipe=recipe, noise="diagonal")
    >>> comparison = slamjax.compare(stars[:80], ["teff", "logg"], training=training, test=others[:20])
    >>> comparison.summary()["emulator", "pixels", "stars"]
    <Table length=2>
     emulator  pixels stars
      str10    int64  int64
    ---------- ------ -----
          SLAM     11    20
    polynomial     11    20
    """
    names = label_names(labels)
    spectra.require(names)
    edges = checked_edges(bins)
    if by != "snr":
        (test if isinstance(test, Spectra) else spectra).values(by)  # raises now, not after the fits
    stars = drawn(usable(spectra, names, training.data.missing), training.data.n_train, training.seed)
    options = vars(training) | {"data": dataclasses.replace(training.data, n_train=None)}
    emulators: dict[str, SVR | Polynomial] = dict(zip(EMULATORS, (svr, polynomial), strict=True))
    n_folds = 0 if isinstance(test, Spectra) else test
    fold = None if isinstance(test, Spectra) else make_folds(stars.star_groups(), test, training.seed)
    done = itertools.count(1)

    def trained(name: str, members: Spectra) -> Model:
        return train(members, names, emulator=emulators[name], on_progress=False, **options)

    models = {}
    with reporter(on_progress) as report:
        report.stage("training and judging")

        def step() -> None:
            report(next(done), len(emulators) * (1 + n_folds))

        for name in emulators:
            models[name] = trained(name, stars)
            step()
        if isinstance(test, Spectra):
            judged = _judged_by_others(models, _unseen(test, names, models["SLAM"]), n_starts)
        else:
            assert fold is not None
            judged = _judged_in_turn(models, stars, fold, trained, n_starts, step)
    column = np.asarray(judged.labels["SLAM"]["snr"] if by == "snr" else judged.stars.values(by), float)
    return EmulatorComparison(
        models=models,
        stars=stars,
        labels=judged.labels,
        flux=flux_table(models["SLAM"], judged.stars, judged.residuals),
        scatter={name: scatter_table(table, names, column, edges) for name, table in judged.labels.items()},
        by=by,
        held_out=judged.held_out,
    )


def _judged_by_others(models: Mapping[str, Model], judges: Spectra, n_starts: int) -> _Judgement:
    return _Judgement(
        judges,
        {name: fit(model, judges, n_starts=n_starts, on_progress=False) for name, model in models.items()},
        {name: flux_residuals(model, judges) for name, model in models.items()},
        f"{len(judges)} other stars",
    )


def _judged_in_turn(
    models: Mapping[str, Model],
    stars: Spectra,
    fold: np.ndarray,
    trained: Callable[[str, Spectra], Model],
    n_starts: int,
    step: Callable[[], None],
) -> _Judgement:
    """Each fold judged by models that are trained on the others."""
    labels: dict[str, list[QTable]] = {name: [] for name in models}
    residuals: dict[str, list[np.ndarray]] = {name: [] for name in models}
    weaker = set()
    n_folds = int(fold.max()) + 1
    names = next(iter(models.values())).label_names
    judging = np.isfinite(stars.values(names)).all(axis=1)
    for number in range(n_folds):
        others, judges = stars[fold != number], stars[(fold == number) & judging]
        for name in models:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SlamWarning)  # the models of all stars gave them already
                model = trained(name, others)
                labels[name].append(fit(model, judges, n_starts=n_starts, on_progress=False))
            residuals[name].append(flux_residuals(model, judges))
            if type(model.noise) is not type(models[name].noise):
                weaker.add(name)
            step()
    if weaker:
        warnings.warn(
            f"the folds of {' and '.join(sorted(weaker))} have too few stars for the noise model of all stars: pulls "
            "and label scatter are those of independent pixels; take more stars or more folds",
            SlamWarning,
            stacklevel=3,
        )
    return _Judgement(
        stars[judging][np.argsort(fold[judging], kind="stable")],
        {name: vstack(parts, metadata_conflicts="silent") for name, parts in labels.items()},
        {name: np.concatenate(parts) for name, parts in residuals.items()},
        f"{int(judging.sum())} stars in {n_folds} folds",
    )


def _unseen(test: Spectra, names: Sequence[str], model: Model) -> Spectra:
    """The stars of a test set that have labels and did not train."""
    judges = usable(test, names)
    kept = ~model.info.record.contains(judges)
    if not kept.any():
        raise SlamError(f"every star of {test.source} trained the emulators; give others, or leave test out")
    return judges[kept]


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
