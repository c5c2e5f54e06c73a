"""Emulators of wider lines, against predictions that are convolved afterwards."""

import numpy as np
import pytest
from models import giants_model, held_out, miles_model, quadratic_model, searched_model
from scipy.sparse import csr_array

from slamjax.emulators.broadening import broadened, can_broaden
from slamjax.preprocessing.resolution import gaussian_kernel

MODELS = {"svr": giants_model, "quadratic": quadratic_model, "compressed": lambda: searched_model().compress(0.1)}


@pytest.mark.parametrize("kind", MODELS)
def test_flux_is_the_convolved_flux(kind):
    model = MODELS[kind]()
    labels = held_out().values(model.label_names)[:5]
    sigma = np.where(model.wave < 560, 0.0, 6.0)
    kernel = gaussian_kernel(model.wave, sigma)
    expected = np.asarray(model(labels), float) @ kernel.toarray().T
    found = np.asarray(broadened(model.host_emulator, kernel).on_device()(labels))
    np.testing.assert_allclose(found, expected, rtol=3e-5)
    unchanged = model.wave < 560
    np.testing.assert_allclose(found[:, unchanged], np.asarray(model(labels))[:, unchanged], rtol=3e-5)


def test_untrained_pixels_stay_so_and_do_not_count():
    emulator = miles_model().host_emulator
    intercept = np.array(emulator.intercept, float)
    intercept[50] = np.nan
    holed = emulator._with(intercept=intercept)
    weights = np.eye(len(intercept)) + np.eye(len(intercept), k=1)
    x = np.asarray(miles_model().training_labels.stars[:3])
    before, after = (np.asarray(one.on_device().at(x)) for one in (holed, broadened(holed, csr_array(weights))))
    assert np.array_equal(np.isnan(after[0]), np.isnan(before[0]))
    assert np.isnan(after[0, 50])
    np.testing.assert_allclose(after[:, 48], (before[:, 48] + before[:, 49]) / 2, rtol=1e-5)
    np.testing.assert_allclose(after[:, 49], before[:, 49], rtol=1e-5)


def test_pixels_of_several_kernels_must_be_compressed_first():
    emulator = searched_model().host_emulator
    assert emulator.n_groups > 1
    assert not can_broaden(emulator)
    assert can_broaden(giants_model().host_emulator)
    assert can_broaden(quadratic_model().host_emulator)
