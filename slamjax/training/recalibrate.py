"""``recalibrate_noise``: learn the noise of another survey."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from astropy.table import Table

from slamjax._util.progress import reporter
from slamjax.errors import SlamError, SlamWarning
from slamjax.model.model import Model
from slamjax.model.radial_velocity import measure_rv
from slamjax.spectra.covariance import refuse_covariance
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import check_units
from slamjax.training.data import scaled_label_errors
from slamjax.training.held_out import HeldOut
from slamjax.training.noise_fallback import learn_noise_if_possible
from slamjax.training.plausibility import absurd_pixels, left_out
from slamjax.training.screening import outliers
from slamjax.training.specs import NoiseKind, NoiseSpec
from slamjax.training.velocity_learning import velocity_scale
from slamjax.typing import Progress


def recalibrate_noise(
    model: Model,
    spectra: Spectra,
    *,
    noise: NoiseKind | NoiseSpec = "auto",
    seed: int = 0,
    on_progress: Progress | bool | None = True,
) -> Model:
    """Keep the emulator, and learn the noise from other stars with known labels.

    The covariance of residuals belongs to an instrument and its calibration. It does not carry over to another survey,
    where a covariance learnt elsewhere can be worse than none. The size of velocity errors is learnt anew from stars at
    rest; stars whose velocity the model itself has to measure say nothing on it, and it stays as it was.

    Parameters
    ----------
    model : Model
    spectra : Spectra
        Stars as read, hundreds if possible, with the model's labels in their table. Stars that trained the model are
        left out, because their residuals are too small.
    noise : "auto", "lowrank", "diagonal" or NoiseSpec
        As in `slamjax.train`.
    seed : int
        Of the draw of the stars that judge noise models.
    on_progress : callable or bool
        Called with (steps done, steps expected). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    Model

    Raises
    ------
    SlamError
        If a label column is missing or fewer than 20 stars are left.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 530), wave_unit="nm", continuum="gaussian:50nm")
    >>> quadratic = slamjax.Polynomial()
    >>> model = slamjax.train(stars[:80], ["teff"], emulator=quadratic, recipe=recipe, noise="diagonal")
    >>> recalibrated = slamjax.recalibrate_noise(model, others.select("teff < 4900")[:50], noise="diagonal")
    >>> recalibrated.host_emulator is model.host_emulator
    True
    """
    refuse_covariance(spectra, "the calibration of noise")
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
            f"{int((~kept).sum())} of {len(spectra)} stars cannot be used for noise calibration: {int(trained.sum())} "
            f"trained the model, {int((~inside & ~trained).sum())} have labels unknown or outside its range",
            SlamWarning,
            stacklevel=2,
        )
    if kept.sum() < 20:
        raise SlamError(
            f"{spectra.source} has {int(kept.sum())} stars to learn the noise from; give at least 20, better hundreds"
        )
    stars = spectra[kept]
    measured = measure_rv(model, stars, on_progress=on_progress) if model.needs_rv(stars) else None
    velocity = None if measured is None else np.asarray(measured["rv"].value)
    matched = model.matched(stars)
    prepared = matched.prepare(stars, velocity)
    x = np.asarray(model.host_emulator.scaling(labels[kept]))
    predicted = np.asarray(matched.as_seen(prepared, matched.emulator(labels[kept])), float)
    good = prepared.good & model.trained & ~absurd_pixels(prepared)
    held_out = HeldOut(
        x,
        np.where(good, prepared.flux - predicted, np.nan),
        np.where(good, prepared.ivar, 0),
        np.zeros(len(x), dtype=np.int64),
        (matched.host_emulator,),
        scaled_label_errors(stars, names, model.host_emulator.scaling),
    )
    held_out = _without_outliers(held_out, stars)
    with reporter(on_progress) as report:
        report.stage("learning the noise")
        learnt = learn_noise_if_possible(
            spec, model.host_emulator, model.training_labels, held_out, seed=seed, on_progress=report
        )
        scale = model.info.velocity_scale
        if velocity is None:
            report.stage("learning errors of velocities")
            scale = velocity_scale(learnt.model_variance, model.training_labels, held_out, prepared, seed=seed)
    error = np.sqrt(learnt.model_variance)
    pixels = Table(model.info.pixels, copy=True)
    pixels["model_error"] = np.where(np.isfinite(error), error, np.nan)
    settings = model.info.provenance["settings"] | {"noise": f"{spec.kind}, recalibrated on {stars.source}"}
    info = dataclasses.replace(
        model.info,
        pixels=pixels,
        calibration=learnt.calibration,
        has_errors=prepared.has_errors,
        velocity_scale=scale,
        provenance=model.info.provenance | {"settings": settings},
    )
    return dataclasses.replace(model, noise=learnt.noise, info=info)


def _without_outliers(held_out: HeldOut, stars: Spectra) -> HeldOut:
    """The stars whose residuals are like those of the others, with a warning that names the rest."""
    found = left_out(stars, outliers(held_out))
    if not found:
        return held_out
    shown = "; ".join(f"{star.star} ({star.reason})" for star in found[:5]) + "; ..." * (len(found) > 5)
    warnings.warn(
        f"{len(found)} of {len(stars)} stars are left out of noise calibration as outliers: {shown}",
        SlamWarning,
        stacklevel=3,
    )
    return held_out[~np.isin(stars.rows, [star.row for star in found])]
