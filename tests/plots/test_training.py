"""Figures of training show the table of pixels."""

import dataclasses

import numpy as np
from matplotlib.figure import Figure
from models import giants_model, searched_model

from slamjax.plots import plot_training


def test_scores_errors_and_support_vectors_are_drawn():
    model = giants_model()
    figure = plot_training(model)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 3
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), model.info.pixels["cv_mse"])
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), model.wave)
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), np.sqrt(model.noise.model_variance), rtol=1e-12)
    support = model.info.pixels["n_support"] / model.info.pixels["n_train"]
    np.testing.assert_array_equal(figure.axes[2].lines[0].get_ydata(), support)


def test_searched_hyper_parameters_are_drawn_per_pixel():
    model = searched_model()
    figure = plot_training(model)
    assert [axis.get_ylabel() for axis in figure.axes[3:]] == ["C", "gamma"]
    for axis in figure.axes[3:]:
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), model.info.pixels[axis.get_ylabel()])


def test_ticks_are_the_values_that_were_tried():
    """Two values are two ticks."""
    figure = plot_training(searched_model())
    shown = [[text.get_text() for text in axis.get_yticklabels()] for axis in figure.axes[3:]]
    assert shown == [["0.3", "10"], ["0.03", "0.1", "0.3"]]
    assert all(len(axis.get_yticks(minor=True)) == 0 for axis in figure.axes[3:])


def test_axes_state_whether_the_continuum_is_divided_out():
    model = giants_model()
    raw = dataclasses.replace(model, info=dataclasses.replace(model.info, recipe=type(model.recipe)()))
    assert plot_training(model).axes[1].get_ylabel() == "flux / continuum"
    assert plot_training(raw).axes[1].get_ylabel() == "flux"
