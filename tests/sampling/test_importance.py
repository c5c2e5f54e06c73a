import arviz
import numpy as np
import pytest

from slamjax.sampling.diagnostics import diagnose
from slamjax.sampling.importance import resample, smooth_weights


@pytest.mark.parametrize("nu", [2, 4, 20])
def test_pareto_smoothing_agrees_with_arviz(nu):
    """arviz.psislw gives the same weights and shapes."""
    rng = np.random.default_rng(0)
    log_weight = rng.standard_t(nu, size=(3, 1000))
    weight, khat = smooth_weights(log_weight)
    expected, expected_khat = arviz.psislw(log_weight)
    np.testing.assert_allclose(khat, expected_khat, atol=0.02)
    np.testing.assert_allclose(weight, np.exp(expected), rtol=0.02, atol=1e-6)


def test_a_star_without_weights_has_an_infinite_pareto_shape():
    weight, khat = smooth_weights(np.full((1, 500), -np.inf))
    assert khat[0] == np.inf
    np.testing.assert_allclose(weight, 1 / 500)


def test_resampling_takes_each_draw_as_often_as_its_weight_says():
    weight = np.array([[0.5, 0.25, 0.25, 0], [0, 0, 0, 1.0]])
    rng = np.random.default_rng(0)
    taken = resample(weight, rng.uniform(size=2), rng.uniform(size=(2, 400)))
    np.testing.assert_allclose(np.bincount(taken[0], minlength=4), [200, 100, 100, 0], atol=1)
    assert np.all(taken[1] == 3)
    assert not np.all(np.diff(taken[0]) >= 0)  # in random order: or chains would differ


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_diagnostics_agree_with_arviz(correlation):
    rng = np.random.default_rng(1)
    draws = np.zeros((2, 400, 3))
    for k in range(1, 400):
        draws[:, k] = correlation * draws[:, k - 1] + rng.normal(size=(2, 3))
    draws[1, :, 2] += 1.0  # chains that disagree
    quality = diagnose(draws)
    for k in range(3):
        assert quality.rhat[k] == pytest.approx(float(arviz.rhat(draws[..., k])), rel=1e-3)
        assert quality.ess_bulk[k] == pytest.approx(float(arviz.ess(draws[..., k])), rel=0.05)
        assert quality.ess_tail[k] == pytest.approx(float(arviz.ess(draws[..., k], method="tail")), rel=0.05)
