"""p-values of unlikeness: uniform for stars that are alike, small for those that are not, whatever is odd in them."""

from functools import cache

import jax
import numpy as np
import pytest
from scipy.stats import kstest

from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.noise.likeness import ResidualParts, log_survival, survival
from slamjax.noise.models import DiagonalNoise, LowRankNoise
from slamjax.training.held_out import HeldOut
from slamjax.training.likeness import learn_likeness

N_PIX, N_STARS = 30, 1500
SHAPES = np.random.default_rng(1).normal(size=(N_PIX, 3))
#: As a training learns it: the right subspace, but all factors alike, and pixels too noisy, as a floor makes them.
NOISE = LowRankNoise(np.full(N_PIX, 0.02), 0.5 * SHAPES, np.ones(N_PIX), np.zeros((N_PIX, 0)))


def draw(n, seed, strengths=(1.0, 1.0, 0.05)):
    """Residuals with three factors of unequal strength, ivar of stars of unequal brightness, and labels."""
    rng = np.random.default_rng(seed)
    photon = 10 ** rng.uniform(-3, -1, n)[:, None] * np.ones(N_PIX)
    common = 0.5 * (rng.normal(size=(n, 3)) * strengths) @ SHAPES.T
    residual = common + np.sqrt(0.01 + photon) * rng.normal(size=(n, N_PIX))
    return residual, 1 / photon, rng.normal(size=(n, 2))


@cache
def learnt(n=N_STARS, noise=NOISE):
    residual, ivar, x = draw(n, seed=0)
    block = KernelBlock(np.ones(1), np.zeros(1), np.zeros((1, 2, N_PIX)), "linear", 1)
    scaling = LabelScaling(np.zeros(2), np.ones(2), (False, False))
    emulator = KernelEmulator(scaling, np.eye(2), (block,), np.zeros(N_PIX), np.zeros(N_PIX), np.ones(N_PIX), None)
    stars = HeldOut(x, residual, ivar, np.zeros(n, int), (emulator,))
    training_labels = TrainingLabels.from_scaled(x)
    fold = np.arange(n) % 4
    crossed = [(noise, fold == k) for k in range(4)]
    return learn_likeness(noise, crossed, training_labels, stars, np.zeros((n, 2)), 1.0), training_labels


def p_values(residual, ivar, x, noise=NOISE):
    likeness, training_labels = learnt(noise=noise)
    dtype = jax.dtypes.canonicalize_dtype(float)
    parts = ResidualParts.of(noise.on_device(), residual.astype(dtype), ivar.astype(dtype))
    return likeness.p_value(parts, training_labels.neighbour_distance(x))


@pytest.mark.parametrize("noise", [NOISE, DiagonalNoise(np.full(N_PIX, 0.5))], ids=["lowrank", "diagonal"])
def test_p_values_of_stars_that_are_alike_are_uniform_whatever_their_brightness(noise):
    residual, ivar, x = draw(2000, seed=7)
    p = p_values(residual, ivar, x, noise)
    assert kstest(p, "uniform").pvalue > 1e-3
    faint = ivar[:, 0] < np.median(ivar)
    for some in (p[faint], p[~faint]):
        np.testing.assert_allclose(np.mean(some < 0.05), 0.05, atol=0.02)
        np.testing.assert_allclose(np.median(some), 0.5, atol=0.06)


def test_a_common_error_of_a_shape_that_is_rare_is_unlike_although_it_is_inside_the_noise_subspace():
    """χ² hardly sees it: the noise model allows for each of its factors alike."""
    residual, ivar, x = draw(400, seed=8)
    odd = residual + 0.5 * SHAPES[:, 2]
    assert np.median(p_values(odd, ivar, x)) < 0.03 < np.median(p_values(residual, ivar, x))
    inverse = np.linalg.inv(NOISE.factors @ NOISE.factors.T + 0.02 * np.eye(N_PIX))
    before, after = (np.einsum("ni,ij,nj->n", r, inverse, r) for r in (residual, odd))
    assert np.median(after) < 1.2 * np.median(before)


def test_a_wrong_pixel_and_odd_labels_are_unlike():
    residual, ivar, x = draw(400, seed=9)
    spiked = residual.copy()
    spiked[:, 11] += 3.0
    assert np.median(p_values(spiked, ivar, x)) < 0.02
    assert np.median(p_values(residual, ivar, x + 6.0)) < 0.005


def test_bad_pixels_do_not_make_a_star_unlike():
    residual, ivar, x = draw(1000, seed=10)
    ivar[:, : N_PIX // 2] = 0
    assert np.mean(p_values(residual, ivar, x) < 0.05) < 0.08


def test_too_few_stars_say_nothing():
    assert learnt(40)[0] is None


def test_survival_is_the_rank_and_goes_on_beyond_the_largest_value():
    known = np.sort(np.random.default_rng(0).exponential(size=1000))
    values = np.array([-1.0, 0.7, 2.0, 10.0, 1e6, np.inf, np.nan])
    p = survival(known, values)
    np.testing.assert_allclose(p[:4], np.exp(-np.maximum(values[:4], 0)), rtol=0.3)
    assert 0 < p[5] <= p[4] < p[3]
    assert np.isnan(p[6])
    assert np.all(np.diff(log_survival(known, np.linspace(-1, 12, 500))) <= 1e-12)
