"""Provenance: how and from which stars a model was trained, for its file."""

from __future__ import annotations

import datetime
import hashlib
import platform
from importlib.metadata import version
from typing import Any

import numpy as np

from slamjax.model.info import TrainingRecord
from slamjax.spectra.spectra import Spectra
from slamjax.training.data import TrainingSet
from slamjax.training.label_masks import windows_of
from slamjax.training.learners import Learner, Learnt
from slamjax.training.specs import SVR, NoiseSpec, Polynomial, SearchSpec, TrainingSpec


def training_digest(record: TrainingRecord, training: TrainingSet) -> str:
    """SHA-256 of the training stars' flux and labels."""
    digest = hashlib.sha256("".join(record.digests).encode())
    digest.update(np.ascontiguousarray(training.stars.values(training.names), dtype="<f8").tobytes())
    return digest.hexdigest()


def training_record(spectra: Spectra) -> TrainingRecord:
    """Which stars train the model."""
    columns = spectra.columns()
    return TrainingRecord(
        source=spectra.source,
        rows=np.asarray(spectra.rows),
        digests=spectra.digests(),
        identifiers={name: columns[name] for name in spectra.identifiers()},
    )


def training_settings(
    emulator: SVR | Polynomial,
    options: TrainingSpec,
    training: TrainingSet,
    learner: Learner,
    learnt: Learnt,
) -> dict[str, Any]:
    """The settings of training, from its specs."""
    search, noise, data = SearchSpec.from_option(options.search), NoiseSpec.from_option(options.noise), options.data
    wave, allowed = training.prepared.wave, training.scaled.allowed
    if isinstance(emulator, Polynomial):
        of_emulator: dict[str, Any] = {"emulator": "polynomial", "degree": emulator.degree}
        of_emulator["ridge"] = [candidate.ridge for candidate in learner.candidates]
    else:
        of_emulator = {"emulator": "svr"}
        of_emulator |= {name: getattr(emulator, name) for name in ("kernel", "degree", "coef0", "tol", "max_iter")}
    return {
        **of_emulator,
        "n_stars": len(training.stars),
        "n_train": data.n_train,
        "log_labels": [name for name, log in zip(training.names, training.scaled.scaling.log, strict=True) if log],
        "search": search.kind,
        "n_iter": search.n_iter,
        "folds": search.folds,
        "min_stars": learner.min_stars,
        "label_windows": {
            name: windows_of(column, wave)
            for name, column in zip(training.names, allowed.T, strict=True)
            if not column.all()
        },
        "noise": noise.kind,
        "weights": data.weights if training.prepared.has_errors else "uniform (no errors stated)",
        "label_scaling": data.label_scaling,
        "flux_scaling": data.flux_scaling,
        "screen": data.screen,
        "masked_pixels": training.masked_pixels,
        "screened": [vars(star) for star in training.screened],
        "missing": data.missing,
        "label_errors": data.label_errors,
        "inferred": None if training.latent is None else vars(training.latent),
        "seed": options.seed,
        "solver": learnt.report,
    }


def provenance(settings: dict[str, Any]) -> dict[str, Any]:
    """Date, versions and settings."""
    packages = ("slamjax", "scikit-learn", "numpy", "jax")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "settings": settings,
    }
