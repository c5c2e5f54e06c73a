"""Training labels that a table lacks or gives with errors: inferred from table and spectra together.

    y_n = f(x_n) + e_n,  c_n = x_n + δ_n,  e_n ~ N(0, Σ_n),  δ_n ~ N(0, Λ_n),  x_n ~ N(m, S)

The labels x_n are latent. An emulator of labels c_n with errors is too flat, one of E[x_n | c_n] is not (regression
calibration; Carroll et al. 2006, Measurement Error in Nonlinear Models). But it teaches what the other stars are like
instead of what the table says, so it is taken only where it makes the table's labels of held-out stars clearly more
probable than the emulator of c_n does.

Given emulators that have not seen a star, its labels have a posterior, see `slamjax.training.known_labels`, and one
draw of it teaches the next emulator (stochastic EM; Celeux & Diebolt 1985, Comput. Stat. Q. 2, 73). If f and Σ are
right, spectra and draws are distributed like spectra and true labels. Means of posteriors are not: they are made of the
star's own noise, and would make f too steep. What is missing is drawn. What the table gives with errors is drawn only
as long as held-out stars' labels in the table clearly gain by it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from slamjax._util.progress import Reporter
from slamjax._util.threads import one_blas_thread
from slamjax.training.catalogue_density import CatalogueDensity
from slamjax.training.data import ScaledStars, TrainingSet
from slamjax.training.known_labels import Fitted, KnownLabels, Posterior
from slamjax.training.learners import Learner, Learnt, make_learner
from slamjax.training.metric_choice import is_of
from slamjax.training.rough_noise import rough_noise
from slamjax.training.screening import middle, outliers
from slamjax.training.specs import SVR, NoiseSpec, Polynomial, SearchSpec, TrainingSpec

#: Typical errors of labels may count from this part of the variance of any combination of labels.
_BLURRED = 0.1
#: Emulators that are trained to infer labels: of stars with gaps, and of labels with errors.
_ROUNDS_GAPS, _ROUNDS_ERRORS = 2, 3
#: Inferred labels must make other stars' labels in the table more probable by this many standard errors.
_CLEARLY = 2.0


def is_latent(scaled: ScaledStars, options: TrainingSpec) -> bool:
    """Whether labels of the training stars have to be inferred, or may have to."""
    return not scaled.complete.all() or _erroneous(scaled, options)


def _erroneous(scaled: ScaledStars, options: TrainingSpec) -> bool:
    """Whether labels with stated errors may be latent."""
    if scaled.label_error is None or options.data.label_errors == "fixed":
        return False
    if options.data.label_errors == "latent":
        return True
    table = scaled.x if scaled.catalogue is None else scaled.catalogue
    density = CatalogueDensity.estimate(table, scaled.label_error)
    return density.blurred(scaled.label_error) > _BLURRED


def infer_labels(
    training: TrainingSet,
    emulator: SVR | Polynomial,
    search: SearchSpec,
    options: TrainingSpec,
    report: Reporter,
    learnt: Learnt | None,
    client: Any = None,
) -> tuple[TrainingSet, Learner]:
    """The training stars with labels as inferred, and their learner; stars with gaps may turn out to be outliers.

    ``learnt``: what is learnt already from the table's labels of complete stars.
    """
    trials = _Trials(training.scaled, emulator, search, options, report, client)
    if learnt is not None and not is_of(learnt, training.scaled):
        learnt = None  # of some pixels only
    known, trial = KnownLabels.of(training.scaled, erroneous=False), None
    if _erroneous(training.scaled, options):
        latent = KnownLabels.of(training.scaled, erroneous=True)
        expected = trials.first(latent, None)
        if options.data.label_errors == "auto":
            trial = trials.first(known, learnt)
        if trial is None or expected is None or _clearly_better(expected, trial):
            known, trial = latent, expected
        elif not known.missing.any():
            return training, trials.learner(training.scaled)
    elif known.missing.any():
        trial = trials.first(known, learnt)
    erroneous, rng = bool(known.error.any()), np.random.default_rng(options.seed)
    given = drawn = known.mean
    reasons: dict[int, str] = {}
    for rounds_left in reversed(range(_ROUNDS_ERRORS if erroneous else _ROUNDS_GAPS)):
        if trial is None:
            break  # training says why
        given = trial.scaled.x
        if not rounds_left and not known.missing.any():
            break
        with one_blas_thread():
            drawn = known.drawn(_posterior_of(known, trial, rng), trial.training_labels, rng)
        if not rounds_left:
            break
        after = trials.again(known, drawn)
        if after is not None and options.data.screen:
            reasons = outliers(after.held_out, ~training.scaled.complete)
        if after is not None and erroneous and not _clearly_better(after, trial):
            break
        trial = after
    scaled = dataclasses.replace(training.scaled, x=np.where(known.missing, drawn, given), catalogue=known.table)
    training = dataclasses.replace(training, scaled=scaled, latent=known.summary(training.names))
    training = training.simply_without(reasons) if reasons else training
    return training, trials.learner(training.scaled)


@dataclasses.dataclass(frozen=True, eq=False)
class _Trials:
    """Emulators of inferred labels, with one combination of hyper-parameters, and what they say of held-out stars."""

    table: ScaledStars
    emulator: SVR | Polynomial
    search: SearchSpec
    options: TrainingSpec
    report: Reporter
    client: Any = None

    def learner(self, scaled: ScaledStars) -> Learner:
        options = self.options
        return make_learner(self.emulator, scaled, self.search, options.data.min_stars, options.seed, self.client)

    def first(self, known: KnownLabels, learnt: Learnt | None) -> Fitted | None:
        """Of what is known without spectra; complete stars teach. ``learnt`` if it is known already."""
        return self._fitted(known, known.mean, learnt, complete_only=True)

    def again(self, known: KnownLabels, x: np.ndarray) -> Fitted | None:
        """Of these labels of all stars."""
        return self._fitted(known, x, None, complete_only=False)

    def _fitted(self, known: KnownLabels, x: np.ndarray, learnt: Learnt | None, complete_only: bool) -> Fitted | None:
        scaled = dataclasses.replace(self.table, x=x, catalogue=known.table)
        learner, labels = middle(self.learner(scaled)), known.searched(x)
        complete = scaled.without_gaps(2 * learner.min_stars)
        if learnt is None:
            self.report.stage("inferring labels")
            learnt = learner.learn(complete if complete_only else scaled, self.report)
        if learnt.emulator is None or learnt.held_out is None:
            return None
        held_out = learnt.held_out.judged_by(scaled.reference, scaled.label_error)
        spec, judged = NoiseSpec.from_option(self.options.noise), np.any(complete.weight > 0, axis=1)
        with one_blas_thread():
            rough = rough_noise(spec, learnt.emulator, labels, held_out, judged, self.options.seed)
        return Fitted(scaled, held_out, rough, labels)


def _posterior_of(known: KnownLabels, fitted: Fitted, rng: np.random.Generator) -> Posterior:
    """Of the labels that are missing, and of those with errors if there are any."""
    missing = known.missing
    if not missing.any():
        return known.calibrated(fitted)
    hidden = known.hidden(rng)
    of_gaps = known.corrected(hidden, hidden.posterior(fitted))
    if not known.error.any():
        return of_gaps
    gappy, of_errors = np.asarray(missing.any(axis=1)), known.calibrated(fitted)
    return Posterior(
        np.where(gappy[:, None], of_gaps.mean, of_errors.mean),
        np.where(gappy[:, None, None], of_gaps.covariance, of_errors.covariance),
    )


def _clearly_better(one: Fitted, other: Fitted) -> bool:
    """Whether the table's labels are more probable, by more than chance."""
    gain = one.rough.scores - other.rough.scores
    gain = gain[np.isfinite(gain)]
    return bool(gain.size and gain.mean() > _CLEARLY * gain.std() / np.sqrt(gain.size))
