"""Local intervals hold what they say wherever a star lies, and are those of all stars where nothing local is known."""

from functools import cache

import numpy as np
from scipy.stats import norm

from slamjax.noise.intervals import GAUSSIAN, LEVELS
from slamjax.training.interval_learning import learn_intervals


def stars(n, seed, uneven=True):
    """Pulls, labels and errors; the first label's pulls widen along it, the second one's where errors are small."""
    rng = np.random.default_rng(seed)
    x, log_error = rng.uniform(-1.5, 1.5, (n, 2)), rng.normal(-2, 0.5, (n, 2))
    width = np.stack([1 + 0.4 * x[:, 0], np.where(log_error[:, 1] < -2, 1.5, 0.8)], axis=1) if uneven else 1.0
    return width * rng.normal(size=(n, 2)), x, np.exp(log_error)


@cache
def learnt(n=3000, uneven=True):
    return learn_intervals(*stars(n, 0, uneven))


def covered(half, pulls, where):
    """(2, L) fractions of some stars that lie within intervals."""
    return np.mean(np.abs(pulls[where, None]) < half[where], axis=0)


def test_local_intervals_hold_what_they_say_in_each_tenth_where_marginal_ones_do_not():
    pulls, x, error = stars(20_000, 1)
    local = learnt().half_widths(x, error)
    marginal = np.broadcast_to(np.exp(learn_intervals(*stars(3000, 0)).marginal).T, local.shape)
    worst = {"local": 0.0, "marginal": 0.0}
    for label, value in enumerate((x[:, 0], error[:, 1])):
        tenth = np.digitize(value, np.quantile(value, np.linspace(0, 1, 11)[1:-1]))
        for name, half in (("local", local), ("marginal", marginal)):
            found = np.stack([covered(half, pulls, tenth == k)[:, label] for k in range(10)])
            worst[name] = max(worst[name], np.abs(found - LEVELS).max())
    assert worst["local"] < 0.09
    assert worst["marginal"] > 0.2
    np.testing.assert_allclose(covered(local, pulls, slice(None)).T, [LEVELS] * 2, atol=0.02)


def test_equal_stars_have_the_same_intervals_everywhere():
    """Where cross-validation shows no gain, no place is believed in."""
    pulls, x, error = stars(5000, 2, uneven=False)
    half = learnt(uneven=False).half_widths(x, error)
    np.testing.assert_allclose(half.mean(axis=0), np.array([GAUSSIAN, GAUSSIAN]).T, rtol=0.06)
    assert np.all(half.std(axis=0) / half.mean(axis=0) < 0.06)
    np.testing.assert_allclose(covered(half, pulls, slice(None)).T, [LEVELS] * 2, atol=0.025)


def test_few_stars_and_empty_places_have_the_intervals_of_all_stars():
    few = learnt(150).half_widths(*stars(50, 3)[1:])
    assert np.all(few == few[0])
    pulls, x, error = stars(3000, 3)
    x[::25, 0] = 12.0  # and nothing between 1.5 and 12
    gap = learn_intervals(pulls, x, error)
    near = [abs(np.interp(at, gap.knots[0, 0], gap.terms[0, 0, 1])) for at in (-1.4, 7.0)]
    assert near[1] < 0.03 < near[0]


def test_intervals_are_smooth_ordered_and_bounded_and_defined_for_any_fit():
    x = np.stack([np.linspace(-30, 30, 4001)] * 2, axis=1)
    error = np.full_like(x, 0.1)
    half = learnt().half_widths(x, error)
    assert np.all(half[:, 1] > half[:, 0])
    middle = np.exp(learnt().marginal).T
    assert np.all((half < 2.5 * middle) & (half > middle / 2.5))
    assert np.abs(np.diff(np.log(half), axis=0)).max() < 0.05
    odd = learnt().half_widths(np.array([[np.nan, 0.0]] * 3), np.array([[np.inf, 0.0], [np.nan, 1.0], [0.1, 0.1]]))
    assert np.all(np.isfinite(odd))


def test_conformal_widths_are_those_of_quantiles():
    pulls, x, error = stars(100, 4, uneven=False)
    half = learn_intervals(pulls, x, error).half_widths(x[:1], error[:1])[0]
    np.testing.assert_allclose(half[0], np.quantile(np.abs(pulls), 0.68 * 1.01, axis=0), rtol=1e-9)
    assert np.all(norm.cdf(half[1]) > 0.95)
