"""What is inferred of labels is off by as much as it says, and says nothing that a star's own table told its fit."""

import dataclasses

import numpy as np
import pytest
from labelled_stars import NAMES, mistaken, simulated
from models import THREE_FOLDS

import slamjax
from slamjax.training.data import training_set
from slamjax.training.known_labels import Fitted, KnownLabels
from slamjax.training.learners import make_learner
from slamjax.training.rough_noise import rough_noise

NOISE = slamjax.NoiseSpec("lowrank", ranks=(5,), floors=(0.2,))
SPEC = slamjax.TrainingSpec(search=THREE_FOLDS, noise=NOISE)


def fitted(n, sigma, error, n_pix=80):
    """Held-out stars, emulators of E[x | c], and the true labels in their scaling."""
    stars, true = simulated(n, 1, n_pix, sigma)
    scaled = training_set(mistaken(stars, error), NAMES, SPEC, 3).scaled
    known = KnownLabels.of(scaled, erroneous=True)
    taught = dataclasses.replace(scaled, x=known.mean, catalogue=known.table)
    learnt = make_learner(slamjax.Polynomial(ridge=0.1), taught, THREE_FOLDS, None, 0).learn(taught, None)
    held_out = learnt.held_out.judged_by(taught.reference, taught.label_error)
    labels = known.searched(taught.x)
    rough = rough_noise(NOISE, learnt.emulator, labels, held_out, np.ones(n, bool), 0)
    return known, Fitted(taught, held_out, rough, labels), np.asarray(scaled.scaling(true))


def test_fits_without_the_table_know_nothing_of_its_errors():
    """They would know a quarter, if their noise were learnt from the star itself: 20 directions of 160 stars."""
    known, found, true = fitted(240, 0.1, 1.0, n_pix=300)
    off, mistake = known.unseen.posterior(found).mean - true, known.table - true
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(off.T, mistake.T, strict=True)]
    assert np.mean(correlation) < 0.15, correlation


@pytest.mark.parametrize("sigma", [0.02, 0.1], ids=["telling", "noisy"])
def test_inferred_labels_are_off_by_as_much_as_they_say(sigma):
    known, found, true = fitted(240, sigma, 0.5)
    posterior = known.calibrated(found)
    stated = np.sqrt(np.einsum("nll->nl", posterior.covariance).mean(axis=0))
    actual = np.sqrt(np.square(posterior.mean - true).mean(axis=0))
    assert np.all(np.abs(np.log(actual / stated)) < 0.25), (actual, stated)
    by_table = np.sqrt(np.square(known.mean - true).mean(axis=0))
    assert np.all(actual < 1.03 * by_table), (actual, by_table)
    # a mean of a posterior: what is true scatters about it, and is not further out or further in
    slope = [np.polyfit(m, t, 1)[0] for m, t in zip(posterior.mean.T, true.T, strict=True)]
    assert np.all(np.abs(np.array(slope) - 1) < 0.15), slope
