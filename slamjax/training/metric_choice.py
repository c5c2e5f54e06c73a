"""Which metric the kernel gets: the one under which known labels of held-out stars are most probable."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slamjax._util.progress import Reporter
from slamjax._util.threads import one_blas_thread
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamWarning
from slamjax.training.data import ScaledStars, TrainingSet
from slamjax.training.learners import Learner, Learnt, learn_jointly
from slamjax.training.metric import ISOTROPIC, Metric, given_metric, proposed_metrics
from slamjax.training.noise_learning import joint_score
from slamjax.training.specs import SVR, Polynomial

#: Stars without which no metric could be judged, and those that judge at most.
_FEWEST, _MOST = 200, 600
#: Pixels at which metrics are judged, about: more hardly tell them apart better.
MOST_PIXELS = 350


@dataclass(frozen=True, eq=False)
class Taken:
    """What is learnt with the metric that is taken.

    Attributes
    ----------
    learnt, scaled, training_labels : with the metric
    joint_scores : of each combination of hyper-parameters, if one is chosen for all pixels
    tried : name, factors and score of each metric; no score if there is only one
    """

    learnt: Learnt
    scaled: ScaledStars
    training_labels: TrainingLabels
    joint_scores: np.ndarray | None
    tried: list[dict[str, Any]]


def metrics_of(emulator: SVR | Polynomial, training: TrainingSet, seed: int) -> list[Metric]:
    """The metrics to try; of a polynomial, which needs none, the trivial one."""
    if not isinstance(emulator, SVR) or emulator.metric == "isotropic":
        return [ISOTROPIC]
    if not isinstance(emulator.metric, str):
        return [given_metric(emulator.metric, training.names, training.scaled.scaling)]
    return proposed_metrics(training.scaled, seed) if chooses_metric(emulator, training) else [ISOTROPIC]


def chooses_metric(emulator: SVR | Polynomial, training: TrainingSet) -> bool:
    """Whether there are several metrics to choose from."""
    if not isinstance(emulator, SVR) or emulator.metric != "learned":
        return False
    return len(training.names) > 1 and len(training.stars) >= _FEWEST  # else γ alone says all; or nobody could judge


@dataclass(frozen=True, eq=False)
class MetricChoice:
    """Learns with each of several metrics, and takes that under which known labels are most probable.

    Attributes
    ----------
    learner : with the hyper-parameters to try
    jointly : one combination of hyper-parameters for all pixels
    seed, report : of training
    """

    learner: Learner
    jointly: bool
    seed: int
    report: Reporter

    def best(self, metrics: Sequence[Metric], scaled: ScaledStars, known: Learnt | None) -> Taken:
        """What is learnt with the best metric; ``known`` is what is learnt already without one, of all or some pixels.

        Where there are many stars or pixels, some of them choose: differences of scores are those of the same stars.
        """
        if len(metrics) == 1:
            self.report.stage("training")
            return dataclasses.replace(self._learn(metrics[0], scaled, known), tried=[_record(metrics[0], None)])
        rows = np.sort(np.random.default_rng(self.seed).permutation(len(scaled.x))[:_MOST])
        some = scaled.some(rows) if len(rows) < len(scaled.x) else None
        judges = (scaled if some is None else some).fewer_pixels(MOST_PIXELS)
        whole = judges is scaled
        tried: list[dict[str, Any]] = []
        best: Taken | None = None
        for metric in metrics:
            self.report.stage(f"trying the metric {len(tried) + 1} of {len(metrics)}")
            found = self._learn(metric, judges, known)
            score = self._score(found)
            if best is None or score > max(row["score"] for row in tried):
                best = found
            tried.append(_record(metric, score))
        assert best is not None
        if not whole:
            self.report.stage("training")
            number = int(np.argmax([row["score"] for row in tried]))
            best = self._learn(metrics[number], scaled, known)
        return dataclasses.replace(best, tried=tried)

    def _learn(self, metric: Metric, scaled: ScaledStars, known: Learnt | None) -> Taken:
        scaled = metric.of(scaled)
        training_labels = TrainingLabels.from_scaled(scaled.x, metric.factors)
        joint_scores = None
        if known is not None and metric.factors is None and is_of(known, scaled):
            learnt = known
        elif self.jointly:
            with one_blas_thread():
                learnt, joint_scores = learn_jointly(self.learner, scaled, training_labels, self.seed, self.report)
        else:
            learnt = self.learner.learn(scaled, self.report)
        return Taken(learnt, scaled, training_labels, joint_scores, [])

    def _score(self, found: Taken) -> float:
        if found.joint_scores is not None:
            return float(found.joint_scores.max())
        learnt = found.learnt
        if learnt.emulator is None or learnt.held_out is None:
            return -np.inf
        with one_blas_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore", SlamWarning)  # of a trial's noise; the model's own is told later
            held_out = learnt.held_out.judged_by(found.scaled.reference, found.scaled.label_error)
            return joint_score(learnt.emulator, found.training_labels, held_out, seed=self.seed)


def is_of(learnt: Learnt, scaled: ScaledStars) -> bool:
    """Whether these stars and pixels taught it; a part is always the same part."""
    return learnt.held_out is not None and learnt.held_out.residual.shape == scaled.y.shape


def _record(metric: Metric, score: float | None) -> dict[str, Any]:
    return {
        "name": metric.name,
        "factors": None if metric.factors is None else metric.factors.tolist(),
        "score": score,
    }
