"""``from_astroslam``: models of the original SLAM (PyPI: astroslam), from its dumps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax._util.progress import reporter
from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError
from slamjax.io.inert_pickles import Inert
from slamjax.model.info import ModelInfo, TrainingRecord
from slamjax.model.model import Model
from slamjax.model.soundness import check_parts
from slamjax.noise.calibration import Calibration
from slamjax.noise.models import DiagonalNoise
from slamjax.preprocessing.recipe import Recipe
from slamjax.spectra.spectra import Frame, Medium, Spectra
from slamjax.training.astroslam_dump import Dump, machine_of, numbers, open_dump, svr_of
from slamjax.training.provenance import provenance, training_record
from slamjax.training.svr.export import Machine, assemble_machines
from slamjax.typing import Progress

#: Scores of astroslam that are squared errors of held-out stars, in scaled flux.
_SQUARED = "neg_mean_squared_error"
BAD_EVERYWHERE = "bad in all training spectra"


def from_astroslam(
    path: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    wave_unit: str = "Angstrom",
    medium: Medium = "unknown",
    frame: Frame = "rest",
    scaling: LabelScaling | None = None,
    flux_mean: Any = None,
    flux_scale: Any = None,
    on_progress: Progress | bool | None = True,
) -> Model:
    """The model of a dump of the original SLAM, ``Slam3.save_dump`` or ``Slam3.save_dump_sms``.

    Neither astroslam nor its versions of other packages are needed. The dump is a pickle, which is read as data:
    nothing in it is imported or executed, and one that names anything but the classes of such a dump is refused.
    Tested with dumps of astroslam 1.2022.1228.1 that were made with scikit-learn 1.2.0, joblib 1.2.0 and NumPy 1.23.

    The noise is the published one: independent pixels, with the mean squared error of held-out stars as the variance of
    the emulator. `slamjax.recalibrate_noise` learns a better one from stars with known labels.

    Parameters
    ----------
    path : path
        Compressed or not. Of a dump of ``save_dump_sms``, which holds no scalers, the scaling has to be given.
    labels : sequence of str, optional
        Names of the labels, which dumps do not hold; default: label_1, label_2, ...
    units : sequence of str, optional
        Their units, "" for dimensionless ones, which is the default.
    wave_unit : str
    medium : "vacuum", "air" or "unknown"
    frame : "rest", "observed" or "unknown"
        Of the wavelengths, in the same way.
    scaling : LabelScaling, optional
    flux_mean, flux_scale : (P,) array, optional
        Of a dump without scalers; default: labels and flux stay scaled, as in ``Slam3.load_dump_sms``.
    on_progress : callable or bool
        Called with (bytes read, bytes in all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    Model
        Pixels that were bad in all training spectra predict NaN.

    Raises
    ------
    SlamError
        If the file is no such dump, truncated or damaged, names other classes, or its pixels are no SVRs.

    Examples
    --------
    >>> import slamjax
    >>> model = slamjax.from_astroslam("slam.dump", labels=["teff", "logg", "fe_h"])  # doctest: +SKIP
    >>> model.write("slam.h5")  # doctest: +SKIP
    """
    source, given = Path(path), {"scaling": scaling, "flux_mean": flux_mean, "flux_scale": flux_scale}
    with reporter(on_progress) as report:
        report.stage("reading the dump")
        dump = open_dump(source, report)
        report.stage("assembling the model", shared=False)
        try:
            if dump.is_scaled and any(value is not None for value in given.values()):
                raise SlamError("it has scalers of its own: leave scaling, flux_mean and flux_scale out")
            machines = [machine_of(pixel, number) for number, pixel in enumerate(dump.pixels)]
            n_labels, n_pix = machines[0].n_labels, len(machines)
            emulator = assemble_machines(
                [None if bad else machine for machine, bad in zip(machines, dump.all_bad, strict=True)],
                scaling or dump.label_scaling(n_labels),
                _of_pixels(flux_mean, dump.flux_mean, 0.0, n_pix),
                _of_pixels(flux_scale, dump.flux_scale, 1.0, n_pix),
            )
            names = tuple(labels) if labels is not None else tuple(f"label_{k + 1}" for k in range(n_labels))
            its_units = tuple(units) if units is not None else ("",) * n_labels
            if len(names) != n_labels or len(its_units) != n_labels:
                raise SlamError(f"it has {n_labels} labels; give as many names and units")
            return _model(dump, emulator, machines, names, its_units, (wave_unit, medium, frame))
        except SlamError as error:
            raise SlamError(f"{source} cannot be imported: {error}") from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise SlamError(f"{source} cannot be imported ({error}): it is no dump of a trained Slam3") from error


def _of_pixels(given: Any, own: np.ndarray | None, otherwise: float, n_pix: int) -> np.ndarray:
    value = given if given is not None else otherwise if own is None else own
    if np.shape(value) not in ((), (n_pix,)):
        raise SlamError(f"flux is scaled by an array of shape {np.shape(value)} but there are {n_pix} pixels")
    return np.broadcast_to(np.asarray(value, float), (n_pix,))


def _model(
    dump: Dump,
    emulator: KernelEmulator,
    machines: Sequence[Machine],
    names: tuple[str, ...],
    units: tuple[str, ...],
    wave_facts: tuple[str, Medium, Frame],
) -> Model:
    stars = _training_stars(dump, names, wave_facts)
    scaled = emulator.support if stars is None else np.asarray(emulator.scaling(stars.values(names)))
    variance = _squared_errors(dump, emulator, stars) * np.square(emulator.flux_scale)
    trained = np.isfinite(emulator.intercept)
    record = TrainingRecord(dump.source.name, np.arange(0), np.array([], "U16"), {})
    pixels = _pixel_table(dump, machines, variance, trained)
    chosen = {name: np.asarray(pixels[name])[trained] for name in ("C", "epsilon", "gamma")}
    candidates = Table(np.unique(np.stack(list(chosen.values()), axis=1), axis=0), names=list(chosen))
    made = provenance(_settings(dump, len(scaled)))
    made["versions"] |= {"scikit-learn": str(svr_of(dump.pixels[0], 0).get("_sklearn_version", "unknown"))}
    info = ModelInfo(
        label_names=names,
        label_units=units,
        wave=dump.wave,
        wave_unit=wave_facts[0],
        medium=wave_facts[1],
        frame=wave_facts[2],
        fwhm=None,
        recipe=Recipe(()),
        pixels=pixels,
        candidates=candidates,
        cv_scores=np.full((len(trained), len(candidates)), np.nan),
        record=record if stars is None else training_record(stars),
        has_errors=stars is not None and stars.has_errors,
        calibration=Calibration(chi2_limit=float("inf")),
        provenance=made,
    )
    noise = DiagonalNoise(np.where(trained, variance, np.inf))
    training_labels = TrainingLabels.from_scaled(np.unique(scaled, axis=0))
    check_parts(emulator, noise, training_labels, info)
    return Model(emulator, noise, training_labels, info)


def _training_stars(dump: Dump, names: tuple[str, ...], wave_facts: tuple[str, Medium, Frame]) -> Spectra | None:
    """The stars that a full dump holds, with the labels that it was trained on."""
    if "tr_labels" not in dump.slam:
        return None
    flux, ivar, labels = (numbers(dump.slam[name], name).astype(float) for name in ("tr_flux", "tr_ivar", "tr_labels"))
    if labels.ndim != 2 or labels.shape[1] != len(names):
        raise SlamError(f"its labels have shape {labels.shape} but there are {len(names)}")
    unit, medium, frame = wave_facts
    table = Table(labels, names=list(names))
    return Spectra(
        dump.wave, flux, ivar, table, wave_unit=unit, medium=medium, frame=frame, source=dump.source.name
    )  # fmt: skip


def _squared_errors(dump: Dump, emulator: KernelEmulator, stars: Spectra | None) -> np.ndarray:
    """(P,) mean squared errors, in scaled flux: of held-out stars where these were the score, else of the stars."""
    pixels = [pixel.attributes for pixel in dump.pixels if isinstance(pixel, Inert)]
    # class attributes are not in a dump: this is the default score
    if len(pixels) == len(dump.pixels) and all(pixel.get("scoring", _SQUARED) == _SQUARED for pixel in pixels):
        return np.array([-float(numbers(pixel["score_"], "score_").item()) for pixel in pixels])
    if stars is None:
        raise SlamError(f"its scores are not {_SQUARED}, so that it does not say how good its pixels are")
    predicted = np.asarray(emulator.on_device()(stars.values(stars.table.colnames)))
    square = np.where(stars.good, np.square((stars.flux - predicted) / emulator.flux_scale), 0)
    return np.asarray(square.sum(axis=0) / np.maximum(stars.good.sum(axis=0), 1))


def _pixel_table(dump: Dump, machines: Sequence[Machine], variance: np.ndarray, trained: np.ndarray) -> Table:
    svrs = [svr_of(pixel, number) for number, pixel in enumerate(dump.pixels)]
    columns = {
        "C": [float(svr["C"]) for svr in svrs],
        "epsilon": [float(svr["epsilon"]) for svr in svrs],
        "gamma": [float(svr["_gamma"]) for svr in svrs],
    }
    scale = np.ones(len(trained)) if dump.flux_scale is None else dump.flux_scale
    return Table(
        {
            "wave": dump.wave,
            **{name: np.where(trained, values, np.nan) for name, values in columns.items()},
            "cv_mse": np.where(trained, variance / np.square(scale), np.nan),
            "model_error": np.where(trained, np.sqrt(variance), np.nan),
            "n_train": np.array([int(svr["shape_fit_"][0]) for svr in svrs]),
            "n_support": np.array([len(machine.vectors) for machine in machines]),
            "status": np.where(trained, "trained", BAD_EVERYWHERE),
        }
    )


def _settings(dump: Dump, n_stars: int) -> dict[str, Any]:
    """What `slamjax.describe` says of the training."""
    pixel = dump.pixels[0].attributes
    return {
        "emulator": "svr",
        "imported": "a dump of astroslam",
        "kernel": svr_of(dump.pixels[0], 0)["kernel"],
        "n_stars": n_stars,
        "n_train": None,
        "log_labels": [],
        "search": "grid",
        "folds": pixel.get("cv"),
        "noise": "diagonal",
        "weights": "of good pixels (astroslam)",
        **dump.settings,
        "masked_pixels": 0,
        "screened": [],
        "selection": "",
        "seed": "not stated",
        "solver": None,
    }
