import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import xp_giants
from scipy.spatial.distance import cdist

from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.training_labels import NEIGHBOUR, REACH_FACTOR, TrainingLabels, far_apart

NAMES = ["teff", "logg", "fe_h"]


def giants():
    labels = xp_giants().values(NAMES)
    return LabelScaling.from_labels(labels, NAMES)(labels)


def outside(training_labels, x):
    return np.asarray(training_labels.on_device().outside(jnp.asarray(x)))


def test_the_box_is_the_extremes_of_each_label():
    training_labels = TrainingLabels.from_scaled(giants())
    np.testing.assert_array_equal(training_labels.low, giants().min(axis=0))
    np.testing.assert_array_equal(training_labels.high, giants().max(axis=0))


def test_the_largest_distance_agrees_with_brute_force():
    """By brute force: sort the distances to all training stars."""
    stars = giants()
    own = np.sort(cdist(stars, stars), axis=1)[:, NEIGHBOUR]  # column 0 is the star itself
    training_labels = TrainingLabels.from_scaled(stars)
    np.testing.assert_allclose(training_labels.max_distance, REACH_FACTOR * np.percentile(own, 99))

    x = np.random.default_rng(0).uniform(-5, 5, size=(400, 3))
    fifth = np.sort(cdist(x, stars), axis=1)[:, NEIGHBOUR - 1]
    clear = np.abs(fifth - training_labels.max_distance) > 1e-4  # not a matter of rounding
    assert 20 < (fifth > training_labels.max_distance).sum() < 380
    for judged in (outside(training_labels, x), training_labels.outside_on_host(x)):
        np.testing.assert_array_equal(judged[clear], (fifth > training_labels.max_distance)[clear])
    assert training_labels.outside_on_host(np.full((1, 3), np.nan)).tolist() == [True]


def test_training_stars_are_inside_and_far_points_outside(dtype):
    training_labels = TrainingLabels.from_scaled(giants())
    inside = ~outside(training_labels, jnp.asarray(giants(), dtype))
    assert inside.mean() > 0.97
    assert outside(training_labels, giants()[:10] + 20).all()


def test_the_empty_part_of_the_box_is_outside():
    """Giants lie on a thin sheet: a point within the box, but beside the branch, is still no star."""
    along = np.random.default_rng(1).uniform(-2, 2, 300)
    branch = np.stack([along, along + 0.02 * np.sin(9 * along)], axis=1)
    training_labels = TrainingLabels.from_scaled(branch)
    corner = np.array([1.5, -1.5])
    assert np.all((training_labels.low < corner) & (corner < training_labels.high))
    assert outside(training_labels, corner)
    assert not outside(training_labels, np.array([0.3, 0.3]))


def test_a_single_outlier_does_not_extend_the_range():
    cloud = np.random.default_rng(2).normal(size=(300, 2))
    lone = np.array([30.0, 30.0])
    training_labels = TrainingLabels.from_scaled(np.vstack([cloud, lone]))
    assert outside(training_labels, lone)
    assert outside(training_labels, lone / 2)
    np.testing.assert_allclose(training_labels.max_distance, TrainingLabels.from_scaled(cloud).max_distance, rtol=0.3)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_a_handful_of_training_stars_is_enough(n):
    stars = np.random.default_rng(n).normal(size=(n, 2))
    training_labels = TrainingLabels.from_scaled(stars)
    assert training_labels.max_distance > 0
    assert not outside(training_labels, stars.mean(axis=0))
    assert outside(training_labels, stars.mean(axis=0) + 100)


@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
def test_any_batch_shape_and_jit(batch):
    training_labels = TrainingLabels.from_scaled(giants()).on_device()
    x = jnp.zeros((*batch, 3))
    assert jax.jit(lambda d, x: d.outside(x))(training_labels, x).shape == batch


def test_points_far_apart_start_in_the_middle_and_continue_at_the_corners():
    corners = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    points = np.concatenate([np.random.default_rng(0).uniform(0.3, 0.7, (50, 2)), corners])
    rows = far_apart(points, 5)
    assert np.abs(points[rows[0]] - 0.5).max() < 0.1
    assert set(rows[1:]) == {50, 51, 52, 53}
    assert len(far_apart(points, 100)) == len(points) == len(set(far_apart(points, 100)))
