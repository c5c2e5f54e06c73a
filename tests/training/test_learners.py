"""What learners are judged by where the labels that teach are not those of the table."""

import dataclasses

import numpy as np
import pytest
from labelled_stars import NAMES, mistaken, simulated
from models import THREE_FOLDS

import slamjax
from slamjax._util.progress import reporter
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.training.data import training_set
from slamjax.training.learners import learn_jointly, make_learner
from slamjax.training.metric import ISOTROPIC
from slamjax.training.metric_choice import MetricChoice

SPEC = slamjax.TrainingSpec(search=THREE_FOLDS, noise="diagonal")


@pytest.fixture(scope="module")
def taught():
    """Stars that teach with the table's labels, and with labels that are all off by half their spread."""
    scaled = training_set(mistaken(simulated(120, 1)[0], 0.1), NAMES, SPEC, 3).scaled
    return scaled, dataclasses.replace(scaled, x=scaled.x + 0.5, catalogue=scaled.x)


def test_a_joint_search_is_judged_by_the_labels_of_the_table(taught):
    learner = make_learner(slamjax.Polynomial(ridge=0.1), taught[0], THREE_FOLDS, None, 0)
    right, wrong = (
        learn_jointly(learner, stars, TrainingLabels.from_scaled(stars.x), 0, None)[1][0] for stars in taught
    )
    assert wrong < right - 1.0, (wrong, right)


def test_a_metric_is_judged_by_the_labels_of_the_table(taught):
    learner = make_learner(slamjax.Polynomial(ridge=0.1), taught[0], THREE_FOLDS, None, 0)
    with reporter(False) as report:
        choice = MetricChoice(learner, False, 0, report)
        right, wrong = (
            choice.best([ISOTROPIC, dataclasses.replace(ISOTROPIC, name="again")], stars, None).tried[0]["score"]
            for stars in taught
        )
    assert wrong < right - 1.0, (wrong, right)


def test_stated_errors_of_labels_are_no_errors_of_fits(taught):
    """A table that is off by as much as it says hides how good an emulator is: its score falls less."""
    scaled = taught[0]
    noisy = dataclasses.replace(scaled, catalogue=scaled.x + 0.5 * np.random.default_rng(2).normal(size=scaled.x.shape))
    learner = make_learner(slamjax.Polynomial(ridge=0.1), scaled, THREE_FOLDS, None, 0)
    labels = TrainingLabels.from_scaled(scaled.x)
    stated = dataclasses.replace(noisy, label_error=np.full(scaled.x.shape, 0.5))
    unsaid = dataclasses.replace(noisy, label_error=np.full(scaled.x.shape, 1e-3))
    with_errors, without = (learn_jointly(learner, stars, labels, 0, None)[1][0] for stars in (stated, unsaid))
    assert with_errors > without, (with_errors, without)
