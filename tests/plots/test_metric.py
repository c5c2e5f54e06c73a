import numpy as np
import pytest
from models import giants_model, quadratic_model

from slamjax.errors import SlamError
from slamjax.plots import plot_metric


def test_bars_are_ranges_in_lengths_of_the_kernel():
    model = giants_model()
    bars = [bar.get_width() for bar in plot_metric(model).axes[0].patches]
    low, high = model.label_range.T
    lengths = model.host_emulator.length_scales / np.sqrt(0.2)
    np.testing.assert_allclose(bars, (high - low) / lengths, rtol=1e-5)


def test_a_polynomial_has_no_length_scales():
    with pytest.raises(SlamError, match="only a model with an rbf kernel"):
        plot_metric(quadratic_model())
