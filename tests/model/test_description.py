"""What a person is told of a model."""

import dataclasses

import numpy as np
from models import LABELS, giants_model, searched_model

from slamjax.model.description import describe_model as describe


def line_of(text, start):
    return next(line.strip() for line in text.splitlines() if line.strip().startswith(start))


def test_states_the_emulator_and_the_training_set():
    model = giants_model()
    text = describe(model)
    assert text.splitlines()[0] == "SLAM, kernel rbf, 61 of 61 pixels trained, 110 stars"
    assert line_of(text, "from").endswith("xp_giants.fits")
    assert line_of(text, "wavelengths").endswith("500 to 620 nm, vacuum, observed frame")
    assert str(model.recipe) in line_of(text, "preparation")
    assert "Gaussian of standard deviation 50 nm" in line_of(text, "preparation")
    assert "slamjax" in line_of(text, "made")
    assert "3 folds, 1 combination;" in line_of(text, "CV")
    assert f"{np.median(model.info.pixels['cv_mse']):.3f}" in line_of(text, "CV")


def test_labels_have_ranges_and_units():
    text = describe(giants_model())
    for name, (low, high), unit in zip(LABELS, giants_model().label_range, ("K", "", "", ""), strict=True):
        assert line_of(text, name).split() == [name, f"{low:.3f}", "to", f"{high:.3f}", *unit.split()]
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_a_hyper_parameter_with_one_value_is_stated_without_counts():
    text = describe(giants_model())
    assert line_of(text, "C ").split() == ["C", "10"]
    assert line_of(text, "epsilon").split() == ["epsilon", "0.05"]
    assert line_of(text, "gamma").split() == ["gamma", "0.1"]


def test_several_values_come_with_the_number_of_their_pixels():
    model = searched_model()
    chosen = np.asarray(model.info.pixels["gamma"])
    values, counts = np.unique(chosen, return_counts=True)
    assert len(values) > 1
    expected = ", ".join(f"{value:g} ({count} pixels)" for value, count in zip(values, counts, strict=True))
    assert line_of(describe(model), "gamma").endswith(expected)
    assert "6 combinations" in describe(model)


def test_masked_pixels_are_counted_with_their_wavelengths():
    model = giants_model()
    pixels = model.info.pixels.copy()
    assert "too few" not in describe(model)
    pixels["status"] = np.where(np.arange(61) < 3, "too few stars", np.asarray(pixels["status"], "U20"))
    intercept = np.where(np.arange(61) < 3, np.nan, model.host_emulator.intercept)
    masked = dataclasses.replace(
        model,
        host_emulator=dataclasses.replace(model.host_emulator, intercept=intercept),
        info=dataclasses.replace(model.info, pixels=pixels),
    )
    text = describe(masked)
    assert "58 of 61 pixels trained" in text
    assert "too few stars: 3 pixels, 500 to 504 nm" in text


def test_the_model_error_is_stated_in_flux_or_flux_over_continuum():
    """Fractions of a continuum only where there is one."""
    model = giants_model()
    error = f"{np.median(model.info.pixels['model_error']):.4g}"
    assert line_of(describe(model), "model error").endswith(f"{error} in flux / continuum (median)")
    raw = dataclasses.replace(model, info=dataclasses.replace(model.info, recipe=type(model.recipe)()))
    assert line_of(describe(raw), "model error").endswith(f"{error} in flux (median)")


def test_missing_errors_of_the_training_spectra_are_stated():
    model = giants_model()
    silent = dataclasses.replace(model, info=dataclasses.replace(model.info, has_errors=False))
    assert "state no errors" not in describe(model)
    assert "includes photon noise, because the training spectra state no errors" in describe(silent)
