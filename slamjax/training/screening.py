"""Training stars that are unlike all others: found by the residuals of emulators that had not seen them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from slamjax._util.progress import Reporter
from slamjax.training.data import TrainingSet
from slamjax.training.held_out import HeldOut
from slamjax.training.learners import Learner, Learnt, make_learner
from slamjax.training.metric_choice import MOST_PIXELS, chooses_metric
from slamjax.training.specs import SVR, Polynomial, SearchSpec, TrainingSpec

#: Fewer stars than this cannot say who is unlike them; never more than this part of the stars is left out.
_FEWEST, _LARGEST_PART = 30, 0.1
#: A star is left out whose residuals are this many times those of others, and this many widths (50 to 84 %) of the
#: logarithm above them.
_TIMES, _WIDTHS = 10.0, 2.5
#: Residuals are capped, in standard deviations, so that a single pixel does not decide on a star.
_CAP = 30.0
#: Stars near in labels that a star is compared with: where an emulator is worse, all are further off.
_NEIGHBOURS = 15
#: Times that the rest is learnt and screened again.
_ROUNDS = 3
#: The variance of the model is at least this part of all; median of the square of a standard normal variable.
_LEAST, _MEDIAN_SQUARE = 0.1, 0.45493642


def screen_stars(
    training: TrainingSet,
    emulator: SVR | Polynomial,
    search: SearchSpec,
    options: TrainingSpec,
    report: Reporter,
    client: Any = None,
) -> tuple[TrainingSet, Learner, Learnt | None]:
    """Leave out stars that held-out residuals show to be outliers, with one combination of hyper-parameters.

    Returns
    -------
    The remaining training stars, their learner, and what it has learnt from them if it has only that one combination;
    of some pixels, if a metric has yet to be chosen.
    """
    learnt = None
    for number in range(_ROUNDS):
        learner = make_learner(emulator, training.scaled, search, options.data.min_stars, options.seed, client)
        if not options.data.screen or len(training.stars) < _FEWEST:
            return training, learner, None
        single = len(learner.candidates) == 1
        complete = training.scaled.without_gaps(2 * learner.min_stars)
        final = single and not chooses_metric(emulator, training)
        shown = complete if final else complete.fewer_pixels(MOST_PIXELS)
        report.stage(("training" if single and shown is complete else "screening") + " without outliers" * (number > 0))
        learnt = middle(learner).learn(shown, report)
        reasons = {} if learnt.held_out is None else outliers(learnt.held_out, training.scaled.complete)
        if not reasons:
            return training, learner, learnt if single else None
        training = training.without(reasons, options)
    learner = make_learner(emulator, training.scaled, search, options.data.min_stars, options.seed, client)
    return training, learner, None


def middle(learner: Learner) -> Learner:
    """The learner with one combination of hyper-parameters."""
    return learner.only(len(learner.candidates) // 2)


def outliers(held_out: HeldOut, of: np.ndarray | None = None) -> dict[int, str]:
    """Stars whose residuals are far above those of the other stars and of their neighbours in labels, and why.

    Of each star the root mean square of its residuals is taken, in units of model error and photon noise. Its logarithm
    is compared by median and upper half-width, so that outliers do not hide each other. ``of`` (N,) bool: the stars
    that may be outliers; default: all.
    """
    size = residual_size(held_out)
    judged = np.flatnonzero(np.isfinite(size) & (size > 0))
    reasons: dict[int, str] = {}
    if judged.size < _FEWEST:
        return reasons
    logs = np.log(size[judged])
    middle, upper = np.percentile(logs, [50, 84])
    nearest = cKDTree(held_out.x[judged]).query(held_out.x[judged], k=min(_NEIGHBOURS + 1, judged.size))[1][:, 1:]
    above = logs - np.maximum(np.median(logs[nearest], axis=1), middle)
    found = (above > np.log(_TIMES)) & (above > _WIDTHS * (upper - middle))
    found = np.flatnonzero(found if of is None else found & of[judged])
    worst = found[np.argsort(-above[found])][: int(_LARGEST_PART * judged.size)]
    return {int(judged[n]): f"its residuals are {np.exp(above[n]):.0f} times those of other stars" for n in worst}


def residual_size(held_out: HeldOut) -> np.ndarray:
    """(N,) root mean square of a star's residuals, in standard deviations of model error and photon noise."""
    known = held_out.known
    square = np.where(known, np.square(held_out.residual), np.nan)
    photon = np.where(known, held_out.photon_variance, np.nan)
    pixels, stars = known.any(axis=0), known.any(axis=1)
    size = np.full(len(known), np.nan)
    used = np.ix_(stars, pixels)
    all_of = np.nanmedian(square[used], axis=0) / _MEDIAN_SQUARE
    model = np.maximum(all_of - np.nanmedian(photon[used], axis=0), _LEAST * all_of)
    ratio = square[used] / np.maximum(model + photon[used], np.finfo(float).tiny)
    size[stars] = np.sqrt(np.nanmean(np.minimum(ratio, _CAP**2), axis=1))
    return size
