"""Shifts and broadening against lines whose answer is known, and against integration at high resolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_precision

from slamjax._util.constants import LIGHT
from slamjax.errors import SlamError
from slamjax.forward.doppler import VelocityGrid, reach, untouched
from slamjax.forward.nuisances import Free, Nuisances
from slamjax.forward.rotation import LIMB_DARKENING, rotation_transform

GRIDS = {
    "linear": np.arange(5000, 5600, 0.9),
    "log": np.exp(np.linspace(np.log(5000), np.log(5600), 700)),
    "irregular": 5000 + 600 * np.linspace(0, 1, 700) ** 1.1,
}
#: Lines as deep and as wide as those of MILES, 2.5 Å.
CENTRES = np.random.default_rng(1).uniform(5010, 5590, 40)
DEPTHS = np.random.default_rng(2).uniform(0.05, 0.5, 40)


def lines(wave, v=0.0, sigma=0.0):
    """Gaussian lines on a slope, shifted by v and broadened by sigma km/s: both are exact."""
    place = np.log(wave) - np.arctanh(v / LIGHT)
    width = 2.5 / 2.3548 / CENTRES
    broad = np.hypot(width, sigma / LIGHT)
    depth = DEPTHS * width / broad
    return 1 + 2 * (place - 8.6) - np.exp(-0.5 * ((place[:, None] - np.log(CENTRES)) / broad) ** 2) @ depth


@jax.jit
def _move(grid, flux, x):
    return grid.back(grid.transform(flux) * grid.factor(x))


def moved(wave, flux, dtype, trained=None, **velocities):
    """Flux after the operators, and which pixels are promised."""
    trained = np.ones(wave.size, bool) if trained is None else trained
    far = reach(Nuisances(rv=Free(-600, 600), sigma_v=Free(0, 120), vsini=Free(0, 300)))
    with in_precision(dtype):
        grid = jax.tree_util.tree_map(jnp.asarray, VelocityGrid.from_pixels(wave, trained, far))
        x = {name: v / grid.unit if name == "rv" else (v / grid.unit) ** 2 for name, v in velocities.items()}
        out = _move(grid, jnp.asarray(flux, dtype), x)
    return np.asarray(out), untouched(wave, trained, far)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize(("v", "sigma"), [(0, 0), (31, 0), (-500, 0), (500, 60), (0, 20), (-77, 120)])
def test_gaussian_lines_are_shifted_and_broadened_exactly(kind, v, sigma, dtype):
    wave = GRIDS[kind]
    out, kept = moved(wave, lines(wave), dtype, rv=v, sigma_v=sigma)
    assert kept.mean() > 0.8
    np.testing.assert_allclose(out[kept], lines(wave, v, sigma)[kept], atol=5e-4)


def test_the_test_is_sensitive_to_a_tenth_of_a_pixel():
    wave = GRIDS["linear"]
    out, kept = moved(wave, lines(wave), "float64", rv=31)
    assert np.abs(out - lines(wave, 36))[kept].max() > 5e-3


def test_rotation_is_the_integral_over_the_disc():
    """Gray's profile (2005, eq. 18.14), summed at a hundredth of the width."""
    wave, v = GRIDS["linear"], 250.0
    out, kept = moved(wave, lines(wave), "float64", vsini=v)
    x = (np.arange(400) + 0.5) / 200 - 1
    profile = 2 * (1 - LIMB_DARKENING) * np.sqrt(1 - x**2) + np.pi / 2 * LIMB_DARKENING * (1 - x**2)
    shifts = np.exp(-x[:, None] * v / LIGHT)
    expected = np.sum([p * lines(wave * s) for p, s in zip(profile / profile.sum(), shifts, strict=True)], axis=0)
    np.testing.assert_allclose(out[kept], expected[kept], atol=2e-4)


def test_the_rotation_profile_has_the_given_limb_darkening():
    """Against quadrature of the profile, and slopes against differences, in both directions of autodiff."""
    x = np.cos(np.pi * (np.arange(2000) + 0.5) / 2000)
    weight = np.sqrt(1 - x**2)  # Gauss-Chebyshev
    profile = 2 * (1 - LIMB_DARKENING) * np.sqrt(1 - x**2) + np.pi / 2 * LIMB_DARKENING * (1 - x**2)
    z = np.array([0.0, 1e-4, 0.03, 0.5, 3.3, 17.0, 120.01])
    with in_precision("float64"):
        found = rotation_transform(jnp.asarray(z**2))
        expected = (profile * weight) @ np.cos(x[:, None] * z) / (profile @ weight)
        np.testing.assert_allclose(found, expected, atol=2e-6)
        step = 1e-4
        slope = [jax.grad(rotation_transform)(q) for q in z[2:] ** 2]
        bend = [jax.grad(jax.grad(rotation_transform))(q) for q in z[2:] ** 2]
        numeric = [(rotation_transform(q + step) - rotation_transform(q - step)) / (2 * step) for q in z[2:] ** 2]
        np.testing.assert_allclose(slope, numeric, atol=2e-5)
        turn = jax.grad(rotation_transform)
        np.testing.assert_allclose(
            bend, [(turn(q + step) - turn(q - step)) / (2 * step) for q in z[2:] ** 2], atol=2e-5
        )
        assert np.isfinite(turn(0.0))


@pytest.mark.parametrize("kind", ["linear", "log"])
def test_zero_velocity_changes_nothing_not_even_noise(kind):
    """Emulated pixels hold noise of their own: going to the fine grid and back must not smooth it much."""
    wave = GRIDS[kind]
    noise = np.random.default_rng(3).normal(size=wave.size)
    smooth = np.convolve(noise, [0.25, 0.5, 0.25], "same")
    out, kept = moved(wave, smooth, "float64", rv=0.0, sigma_v=0.0)
    assert np.std((out - smooth)[kept]) < 0.02 * np.std(smooth)


def test_untrained_pixels_are_interpolated_and_their_neighbourhood_does_not_count():
    wave = GRIDS["linear"]
    trained = np.ones(wave.size, bool)
    trained[300] = trained[305:307] = False
    flux = np.where(trained, lines(wave), np.nan)
    out, kept = moved(wave, flux, "float64", trained, rv=200)
    assert np.all(np.isfinite(out))
    assert not kept[295:310].any()
    np.testing.assert_allclose(out[kept], lines(wave, 200)[kept], atol=5e-4)


def test_ends_of_different_height_do_not_ring():
    wave = GRIDS["linear"]
    out, kept = moved(wave, np.linspace(0, 1, wave.size), "float64", rv=300)
    expected = np.interp(wave * np.exp(-np.arctanh(300 / LIGHT)), wave, np.linspace(0, 1, wave.size))
    np.testing.assert_allclose(out[kept], expected[kept], atol=1e-5)


def test_too_few_pixels_are_an_error():
    with pytest.raises(SlamError, match="velocities need at least 32"):
        VelocityGrid.from_pixels(np.arange(5000.0, 5010), np.ones(10, bool), 1e-3)
