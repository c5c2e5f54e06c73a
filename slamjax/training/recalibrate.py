"""``recalibrate_noise``: the noise of another survey than the training one."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from astropy.table import Table

from slamjax.errors import SlamError, SlamWarning
from slamjax.model.model import Model
from slamjax.model.radial_velocity import measure_rv
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import check_units
from slamjax.training.noise_calibration import HeldOut, choose_noise, diagonal
from slamjax.training.specs import NoiseKind, NoiseSpec


def recalibrate_noise(model: Model, spectra: Spectra, *, noise: NoiseKind | NoiseSpec = "auto", seed: int = 0) -> Model:
    """The same emulator with noise learnt from other stars with known labels.

    How residuals go along with each other belongs to an instrument and its calibration: it does not carry over to
    another survey, where a covariance learnt elsewhere can be worse than none.

    Parameters
    ----------
    model : Model
    spectra : Spectra
        As read, with the model's labels in its table, some hundred stars at least. Stars that trained the model are
        left out, for their residuals are too small.
    noise : "auto", "lowrank", "diagonal" or NoiseSpec
        As in `slamjax.train`.
    seed : int
        Draws the stars that judge candidates.

    Raises
    ------
    SlamError
        If a label column is missing or too few stars are left.
    """
    spec = NoiseSpec.from_option(noise)
    names = model.label_names
    spectra.require(names)
    check_units(names, model.info.label_units, spectra)
    labels = spectra.values(names)
    low, high = model.label_range.T
    trained = model.info.record.contains(spectra)
    inside = np.all((labels >= low) & (labels <= high), axis=1)
    kept = inside & ~trained
    if (~kept).any():
        warnings.warn(
            f"{int((~kept).sum())} of {len(spectra)} stars do not tell of the noise: {int(trained.sum())} trained the "
            f"model, {int((~inside & ~trained).sum())} have labels unknown or outside its range",
            SlamWarning,
            stacklevel=2,
        )
    if kept.sum() < 20:
        raise SlamError(
            f"{spectra.source} leaves {int(kept.sum())} stars to learn noise from; give at least 20, better hundreds"
        )
    some = spectra[kept]
    velocity = np.asarray(measure_rv(model, some)["rv"].value) if model.needs_rv(some) else None
    prepared = model.prepare(some, velocity)
    x = np.asarray(model.host_emulator.scaling(labels[kept]))
    predicted = np.asarray(model(labels[kept]), float)
    good = prepared.good & model.trained
    held_out = HeldOut(
        x,
        np.where(good, prepared.flux - predicted, np.nan),
        np.where(good, prepared.ivar, 0),
        np.zeros(len(x), dtype=np.int64),
        (model.host_emulator,),
    )
    found, calibration = choose_noise(spec, model.host_emulator, model.training_labels, held_out, seed=seed)
    error = np.sqrt(np.asarray(diagonal(model.host_emulator, held_out).model_variance))
    pixels = Table(model.info.pixels, copy=True)
    pixels["model_error"] = np.where(np.isfinite(error), error, np.nan)
    settings = model.info.provenance["settings"] | {"noise": f"{spec.kind}, recalibrated on {some.source}"}
    info = dataclasses.replace(
        model.info,
        pixels=pixels,
        calibration=calibration,
        has_errors=prepared.has_errors,
        provenance=model.info.provenance | {"settings": settings},
    )
    return dataclasses.replace(model, noise=found, info=info)
