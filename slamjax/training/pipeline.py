"""``train``: from spectra with known labels to a `Model`."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax._util.progress import reporter
from slamjax.errors import SlamError, SlamWarning
from slamjax.model.info import ModelInfo, TrainingRecord
from slamjax.model.model import Model
from slamjax.noise.calibration import Calibration
from slamjax.preprocessing.recipe import Recipe
from slamjax.spectra.line_spread import common_fwhm
from slamjax.spectra.spectra import Spectra
from slamjax.training.data import TrainingSet, label_names, training_set
from slamjax.training.latent_labels import infer_labels, is_latent
from slamjax.training.learners import Learnt
from slamjax.training.learning_curve import half_of_stars
from slamjax.training.metric_choice import MetricChoice, metrics_of
from slamjax.training.noise_fallback import learn_noise_if_possible
from slamjax.training.noise_learning import fewest_stars
from slamjax.training.plausibility import warn_of_left_out
from slamjax.training.provenance import provenance, training_digest, training_record, training_settings
from slamjax.training.screening import screen_stars
from slamjax.training.specs import SVR, DataSpec, NoiseKind, NoiseSpec, Polynomial, SearchKind, SearchSpec, TrainingSpec
from slamjax.training.velocity_learning import velocity_scale
from slamjax.typing import Progress

#: Status of a pixel that the recipe leaves out.
MASKED = "masked by the recipe"


def train(
    spectra: Spectra,
    labels: Sequence[str],
    *,
    emulator: SVR | Polynomial = SVR(),
    recipe: Recipe | None = None,
    search: SearchKind | SearchSpec = "grid",
    noise: NoiseKind | NoiseSpec = "auto",
    log_labels: Sequence[str] = (),
    data: DataSpec = DataSpec(),
    seed: int = 0,
    client: Any = None,
    on_progress: Progress | bool | None = True,
) -> Model:
    """Train one SVR per pixel (SLAM), or one polynomial per pixel (The Cannon).

    Parameters
    ----------
    spectra : Spectra
        Stars with known labels in their ``table``; NaN where a label is missing, see `DataSpec`.
    labels : sequence of str
        L columns to learn from, in the order in which the model takes them.
    emulator : SVR or Polynomial
        The kind of emulator, with its hyper-parameters; the noise model and the calibration of errors work for both.
    recipe : Recipe, optional
        How spectra are prepared, now and for every new star; default: not at all.
    search : "grid", "random", "joint" or SearchSpec
        How hyper-parameters are chosen if several are given, and the folds of cross-validation.
    noise : "auto", "lowrank", "diagonal" or NoiseSpec
        How the noise is learnt from the residuals of held-out stars.
    log_labels : sequence of str
        Labels to learn in log10.
    data : DataSpec
        Which stars and pixels are used, weights, scaling, and the pixels at which each label may act.
    seed : int
        Of the draw of stars, the folds, a random search, and the stars that judge noise models.
    client : distributed.Client, optional
        Whose workers train the SVRs, in blocks of pixels with all of their hyper-parameters and folds. By default this
        process does.
    on_progress : callable or bool
        Called with (pixels done, pixels in all). True: the stage of training and its time on one line, in terminals and
        notebooks only; False: nothing.

    Returns
    -------
    Model

    Raises
    ------
    SlamError
        For missing columns, too few stars, a constant label, or impossible settings.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> model = slamjax.train(
    ...     stars[:80],
    ...     ["teff", "logg"],
    ...     emulator=slamjax.SVR(C=10, epsilon=0.05, gamma=0.1),
    ...     recipe=slamjax.Recipe.make(wave_range=(510, 530), wave_unit="nm", continuum="gaussian:50nm"),
    ...     noise="diagonal",
    ... )
    >>> model
    Model(teff, logg; 11 pixels 510-530 nm; trained on 80 stars)
    >>> model([4800.0, 2.5]).shape
    (11,)
    """
    search, noise = SearchSpec.from_option(search), NoiseSpec.from_option(noise)
    options = TrainingSpec(recipe, search, noise, log_labels, data, seed)
    _check_types(emulator, options)
    with reporter(on_progress) as report:
        report.stage("preparing")
        training = training_set(spectra, label_names(labels), options, search.folds)
        training, learner, known = screen_stars(training, emulator, search, options, report, client)
        if is_latent(training.scaled, options):
            training, learner = infer_labels(training, emulator, search, options, report, known, client)
            known = known if training.latent is None else None
        warn_of_left_out(training.screened, len(training.stars) + len(training.screened))
        jointly = search.kind == "joint" and known is None
        metrics = metrics_of(emulator, training, seed)
        taken = MetricChoice(learner, jointly, seed, report).best(metrics, training.scaled, known)
        training = dataclasses.replace(training, scaled=taken.scaled)
        training_labels, joint_scores = taken.training_labels, taken.joint_scores
        learnt = _with_recipe_mask(taken.learnt, training)
        if learnt.emulator is None or learnt.held_out is None:
            raise SlamError(_untrained(learnt, training, learner.min_stars))
        _warn_of_untrained_pixels(learnt, training)
        report.stage("learning the noise", shared=False)
        held_out = learnt.held_out.judged_by(training.scaled.reference, training.scaled.label_error).drawn(seed)
        if noise.kind != "diagonal" and len(training.stars) == len(held_out.x) >= fewest_stars(noise):
            chosen = learner if joint_scores is None else learner.only(int(np.argmax(joint_scores)))
            half = half_of_stars(lambda some: chosen.learn(some, None).held_out, training.scaled, seed)
            held_out = dataclasses.replace(held_out, half=half)
        learnt_noise = learn_noise_if_possible(
            noise, learnt.emulator, training_labels, held_out, seed=seed, on_progress=report
        )
        report.stage("learning errors of velocities", shared=False)
        scale = velocity_scale(
            learnt_noise.model_variance, training_labels, learnt.held_out, training.prepared, seed=seed
        )
    candidates = Table(rows=[vars(candidate) for candidate in learner.candidates])
    pixels = _pixel_table(training.prepared.wave, learnt, candidates, learnt_noise.model_variance)
    if joint_scores is not None:
        candidates["joint_score"] = joint_scores
    record = training_record(training.stars)
    settings = training_settings(emulator, options, training, learner, learnt)
    settings |= {"metrics": taken.tried} if isinstance(emulator, SVR) else {}
    settings |= {"selection": spectra.selection, "training_sha256": training_digest(record, training)}
    info = _model_info(training, learnt, pixels, candidates, record, learnt_noise.calibration, provenance(settings))
    info = dataclasses.replace(info, velocity_scale=scale)
    return Model(learnt.emulator, learnt_noise.noise, training_labels, info)


def _check_types(emulator: Any, options: TrainingSpec) -> None:
    if not isinstance(emulator, SVR | Polynomial):
        raise SlamError(f"emulator is {emulator!r}; give slamjax.SVR(...) or slamjax.Polynomial(...)")
    if not isinstance(options.data, DataSpec):
        raise SlamError(f"data is {options.data!r}; give slamjax.DataSpec(...)")
    if options.recipe is not None and not isinstance(options.recipe, Recipe):
        raise SlamError(f"recipe is {options.recipe!r}; give a slamjax.Recipe")
    if options.seed < 0:
        raise SlamError(f"seed is {options.seed}; give 0 or more")


def _with_recipe_mask(learnt: Learnt, training: TrainingSet) -> Learnt:
    """Untrained pixels that the recipe leaves out have this as their status, whatever else is wrong with them."""
    prepared = training.prepared
    masked = (learnt.best < 0) & training.recipe.masked(prepared.wave, str(prepared.wave_unit))
    return dataclasses.replace(learnt, status=np.where(masked, MASKED, learnt.status))


def _untrained(learnt: Learnt, training: TrainingSet, min_stars: int) -> str:
    return (
        f"no pixel could be trained ({', '.join(sorted(set(learnt.status.tolist())))}): of {len(training.stars)} stars "
        f"at most {learnt.n_train.max()} are good in a pixel and {min_stars} are needed; give more stars, or look at "
        "the bad-pixel rules"
    )


def _pixel_table(wave: np.ndarray, learnt: Learnt, candidates: Table, model_variance: np.ndarray) -> Table:
    """Hyper-parameters, scores, model error and status of each pixel."""
    trained, best = learnt.best >= 0, np.maximum(learnt.best, 0)
    chosen = {
        name: np.where(trained, np.asarray(candidates[name], float)[best], np.nan) for name in candidates.colnames
    }
    return Table(
        {
            "wave": wave,
            **chosen,
            "cv_mse": np.where(trained, learnt.scores[np.arange(len(best)), best], np.nan),
            "model_error": np.sqrt(np.where(trained, model_variance, np.nan)),
            "n_train": learnt.n_train,
            **learnt.columns,
            "status": learnt.status,
        }
    )


def _warn_of_untrained_pixels(learnt: Learnt, training: TrainingSet) -> None:
    """One warning for each reason why pixels are not trained, except masks of the recipe."""
    wave, unit = training.prepared.wave, training.prepared.wave_unit
    for status in np.unique(learnt.status[(learnt.best < 0) & (learnt.status != MASKED)]):
        at = wave[learnt.status == status]
        warnings.warn(
            f"{at.size} of {wave.size} pixels are masked, {status} ({at[0]:g} to {at[-1]:g} {unit}); they predict NaN",
            SlamWarning,
            stacklevel=3,
        )


def _model_info(
    training: TrainingSet,
    learnt: Learnt,
    pixels: Table,
    candidates: Table,
    record: TrainingRecord,
    calibration: Calibration,
    made: dict[str, Any],
) -> ModelInfo:
    stars, prepared = training.stars, training.prepared
    units = [stars.table[name].unit for name in training.names]
    return ModelInfo(
        label_names=training.names,
        label_units=tuple("" if unit is None else str(unit) for unit in units),
        wave=prepared.wave,
        wave_unit=str(prepared.wave_unit),
        medium=prepared.medium,
        frame=prepared.frame,
        fwhm=common_fwhm(prepared.fwhm, prepared.wave),
        recipe=training.recipe,
        pixels=pixels,
        candidates=candidates,
        cv_scores=learnt.scores,
        record=record,
        has_errors=prepared.has_errors,
        calibration=calibration,
        provenance=made,
        flux_unit=None if prepared.flux_unit is None else str(prepared.flux_unit),
    )
