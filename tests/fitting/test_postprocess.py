import dataclasses

import numpy as np
import pytest
from models import giants_model

from slamjax.fitting.postprocess import Ends, summarise
from slamjax.fitting.problem import Summary
from slamjax.flags import Flag

SIGMA = 0.05


def ends(apart, objectives=(100.0, 100.0), sigma=(SIGMA, SIGMA), converged=(True, True)):
    """Where two starts of one star ended: beside a training star, and ``apart`` from there in the first label."""
    x = np.tile(np.asarray(giants_model().training_labels.stars[7]), (2, 1))
    x[1, 0] += apart
    curvature = np.eye(x.shape[1]) / np.square(sigma)[:, None, None]
    return Summary(
        x, np.array(objectives), np.array(objectives), curvature, 0 * curvature, np.array(converged), np.array([5, 5])
    )  # fmt: skip


def conclusion(summary, model=None):
    model = giants_model() if model is None else model
    n_pix = np.array([int(model.trained.sum())])
    return summarise(model, Ends.from_summary(summary, 2), n_pix, np.array([False]))


@pytest.mark.parametrize(
    ("summary", "flagged"),
    [
        (ends(10 * SIGMA), True),
        (ends(3 * SIGMA), False),  # within the errors of both
        (ends(10 * SIGMA, objectives=(100, 109)), False),  # the data choose
        (ends(10 * SIGMA, objectives=(109, 100)), False),
        (ends(10 * SIGMA, sigma=(SIGMA, 10 * SIGMA)), False),  # so wide that it holds the best
        (ends(10 * SIGMA, converged=(True, False)), False),  # no minimum at all
    ],
)
def test_a_second_minimum_is_flagged_if_equally_good_and_significantly_different(summary, flagged):
    flags = conclusion(summary).flags[0]
    assert bool(flags & Flag.MULTIPLE_MINIMA) == flagged


def test_the_better_end_is_the_result():
    summary = ends(10 * SIGMA, objectives=(120.0, 100.0))
    scaling = giants_model().host_emulator.scaling
    np.testing.assert_allclose(conclusion(summary).labels[0], scaling.inverse(summary.x[1]), rtol=1e-6)


def test_errors_of_each_label_are_scaled_as_calibrated_on_held_out_stars():
    model = giants_model()
    taught = dataclasses.replace(model.info.calibration, label_scale=[1.0, 1.5, 1.0, 2.0])
    stretched = dataclasses.replace(model, info=dataclasses.replace(model.info, calibration=taught))
    before, after = (conclusion(ends(0.0), m).covariance[0] for m in (model, stretched))
    factors = np.array(taught.label_scale[: len(before)])
    np.testing.assert_allclose(after, before * factors[:, None] * factors, rtol=1e-9)


def test_intervals_have_the_width_calibrated_on_held_out_stars():
    model = giants_model()
    reach = [1.96, 2.5, 3.0, 2.0][: len(model.label_names)]
    taught = dataclasses.replace(model.info.calibration, interval95_factor=reach)
    stretched = dataclasses.replace(model, info=dataclasses.replace(model.info, calibration=taught))
    plain, wide = conclusion(ends(0.0), model), conclusion(ends(0.0), stretched)
    error = np.sqrt(np.einsum("nll->nl", plain.covariance))
    np.testing.assert_allclose(plain.half_widths[:, 0], 0.994458 * error, rtol=1e-6)
    np.testing.assert_allclose(plain.half_widths[:, 1], 1.959964 * error, rtol=1e-6)
    np.testing.assert_allclose(wide.half_widths[:, 1], np.array(reach) * error, rtol=1e-9)
    np.testing.assert_array_equal(wide.covariance, plain.covariance)
