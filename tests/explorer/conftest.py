"""What tests of the explorer share."""

import numpy as np
import pytest
from helpers import in_precision
from pages import browser as browser
from pages import opened as opened


@pytest.fixture
def random_labels():
    """Draws labels anywhere in the training range, and some way beyond it."""

    def draw(model, count, beyond=0.0):
        low, high = model.label_range.T
        room = np.where(model.host_emulator.scaling.log, 0, beyond) * (high - low)
        return np.random.default_rng(0).uniform(low - room, high + room, (count, len(low)))

    return draw


@pytest.fixture
def exact():
    """Flux of a model in float64."""

    def flux(model, labels):
        with in_precision("float64"):
            return np.asarray(model.emulator(labels))

    return flux
