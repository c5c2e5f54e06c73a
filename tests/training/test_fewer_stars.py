"""χ² that held-out stars owe to emulators which have seen fewer stars."""

import dataclasses

import numpy as np
import pytest

from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.noise.models import DiagonalNoise
from slamjax.training.fewer_stars import chi2_of_fewer_stars
from slamjax.training.held_out import HeldOut

N_PIX, N_FOLDS, SIGMA = 400, 5, 0.2


def linear_fits(n_stars):
    """Least-squares planes of all but one fold of stars with white noise, and the variance that a fold adds."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n_stars, 2))
    flux = SIGMA * rng.normal(size=(n_stars, N_PIX))
    fold = np.arange(n_stars) % N_FOLDS
    design = np.column_stack([np.ones(n_stars), x])
    scaling = LabelScaling(np.zeros(2), np.ones(2), (False, False))
    emulators = []
    for k in range(N_FOLDS):
        used = fold != k
        fitted = np.linalg.lstsq(design[used], flux[used], rcond=None)[0]
        block = KernelBlock(np.ones(1), np.zeros(1), fitted[None, 1:], "linear", 1)
        emulators.append(KernelEmulator(scaling, np.eye(2), (block,), fitted[0], np.zeros(N_PIX), np.ones(N_PIX), None))
    at = np.einsum("ni,ij,nj->n", design, np.linalg.inv(design.T @ design), design)
    stars = HeldOut(x, flux, np.full(flux.shape, np.inf), fold, tuple(emulators))
    return stars, SIGMA**2 * np.median(at) / (N_FOLDS - 1)


@pytest.mark.parametrize("variance", [0.1, 3.0])
def test_the_excess_is_that_of_least_squares(variance):
    """A prediction's variance is σ² xᵀ(XᵀX)⁻¹x, and K / (K - 1) times this if a fold is left out."""
    stars, excess = linear_fits(200)
    training_labels = TrainingLabels.from_scaled(stars.x)
    found = chi2_of_fewer_stars(DiagonalNoise(np.full(N_PIX, variance)), training_labels, stars)
    assert found == pytest.approx(excess / variance, rel=0.15)


def test_one_emulator_says_nothing():
    stars, _ = linear_fits(50)
    stars = dataclasses.replace(stars, emulators=stars.emulators[:1], fold=np.zeros(50, int))
    noise = DiagonalNoise(np.ones(N_PIX))
    assert chi2_of_fewer_stars(noise, TrainingLabels.from_scaled(stars.x), stars) == 0
