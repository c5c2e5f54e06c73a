"""Starting points with nuisances: a velocity by cross-correlation, then the templates that fit best in the rest frame.

If a spectrum is shifted by hundreds of km/s, its lines do not overlap with the model's, and least squares does not
converge. So each spectrum is correlated with a few templates over all allowed velocities, shifted to the rest frame of
the best, compared with all templates, and correlated again with its starting templates. If there is a polynomial,
spectra and templates are first divided by their best-fitting polynomials. A free extinction has templates at several.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.batching import map_blocks
from slamjax._util.constants import LIGHT
from slamjax._util.jit import compiled
from slamjax._util.linalg import eliminate
from slamjax.emulators.training_labels import far_apart
from slamjax.fitting.problem import Problem, Star
from slamjax.fitting.starts import (
    MAX_TEMPLATES,
    Templates,
    choose_starts,
    in_components,
    sample_stars,
    template_chi2,
)
from slamjax.typing import AnyArray, Scalar

#: Number of templates in the first correlation, far apart in labels.
_PROBES = 16
#: Largest degree of the polynomial that is divided out: higher ones would follow spectral lines.
_SMOOTH = 4
#: Number of extinctions at which there are templates, evenly between the bounds.
N_EXTINCTIONS = 5
#: Spectra per block: limits memory.
_BLOCK = 32
_PRECISION = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ShiftedTemplates:
    """Templates of all stars' starts.

    Attributes
    ----------
    templates : in the rest frame, at the starting widths, each scaled to the same ``level``; behind their labels the
        extinction, if it is free
    level : (P,) best-fitting polynomial of the mean template; 1 without a polynomial
    place : (P,) ln λ
    probes : (K, P) templates of the first correlation
    fixed : (V,) starting parameters of the nuisances; rv and extinction are determined for each star
    """

    templates: Templates
    level: Float[AnyArray, " pixel"]
    place: Float[AnyArray, " pixel"]
    probes: Float[AnyArray, "probe pixel"]
    fixed: Float[AnyArray, " velocity"]


def make_shifted_templates(problem: Problem, stars: np.ndarray, wave: np.ndarray) -> ShiftedTemplates:
    """From scaled labels of training stars; ``problem`` has a `slamjax.forward.emulator.ForwardEmulator`."""
    forward: Any = problem.emulator
    x = sample_stars(stars)
    fixed = np.array([forward.coordinate(name, forward.nuisances.start(name)) for name in forward.free])
    at_rest = np.array([0.0 if name == "rv" else value for name, value in zip(forward.free, fixed, strict=True)])
    known = list(range(forward.n_labels))
    if "extinction" in forward.free:
        place = forward.free.index("extinction")
        low, high = forward.bounds()
        x, at_rest = _through_dust(x, at_rest, place, (float(low[place]), float(high[place])))
        known.append(forward.n_labels + place)
    rows = jnp.asarray(np.concatenate([x, np.broadcast_to(at_rest, (len(x), at_rest.shape[-1]))], axis=1))
    flux, level = _levelled(problem, rows)
    templates = in_components(problem.noise, rows[:, jnp.asarray(known)], flux)
    probes = flux[far_apart(x, _PROBES)]
    return ShiftedTemplates(templates, level, jnp.asarray(np.log(wave)), probes, jnp.asarray(fixed))


def _through_dust(
    x: np.ndarray, nuisances: np.ndarray, place: int, bounds: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (K, L) and nuisances (K, V) of templates at several extinctions, which stand at ``place``."""
    x = x[:: -(-N_EXTINCTIONS * len(x) // MAX_TEMPLATES)]
    behind = np.tile(nuisances, (N_EXTINCTIONS * len(x), 1))
    behind[:, place] = np.repeat(extinctions(*bounds), len(x))
    return np.tile(x, (N_EXTINCTIONS, 1)), behind


def extinctions(low: float, high: float) -> Float[np.ndarray, " extinction"]:
    """Extinctions of templates; those of the first one are before those of the second, and so on."""
    return np.linspace(low, high, N_EXTINCTIONS + 2)[1:-1]


@partial(compiled, one_thread=True)
def _levelled(problem: Problem, x: Array) -> tuple[Array, Array]:
    forward: Any = problem.emulator
    usable = jnp.asarray(forward.usable)
    # all pixels, those near the ends included, because shifted spectra may cover them
    flux = jnp.nan_to_num(jax.lax.map(forward.at, x, batch_size=_BLOCK))
    weight = usable.astype(flux.dtype)
    if forward.terms is None:
        level = jnp.ones(flux.shape[1], flux.dtype)
    else:
        level = _smooth(forward.terms, jnp.mean(flux, axis=0), weight)
        flux = jax.lax.map(lambda one: one * (level / _smooth(forward.terms, one, weight)), flux, batch_size=_BLOCK)
    return flux, level


def _smooth(terms: Any, flux: Any, weight: Any) -> Star:
    """The best-fitting polynomial, bounded from below."""
    low_terms = jnp.asarray(terms[: _SMOOTH + 1], flux.dtype)
    total = jnp.maximum(jnp.sum(weight), 1e-30)
    mean = jnp.sum(weight * flux) / total
    weighted = low_terms * (weight / total)
    gram = jnp.matmul(weighted, low_terms.T, precision=_PRECISION) + 1e-5 * jnp.eye(
        low_terms.shape[0], dtype=flux.dtype
    )
    right = jnp.matmul(weighted, flux - mean, precision=_PRECISION)
    fitted = mean + jnp.matmul(eliminate(gram, right[:, None])[0][:, 0], low_terms, precision=_PRECISION)
    floor = 0.05 * jnp.abs(mean) + 1e-30
    return jnp.where(fitted > floor, fitted, floor)


@partial(compiled, static_argnames="n_starts", one_thread=True)
def choose_shifted_starts(
    problem: Problem, shifted: ShiftedTemplates, flux: Float[Array, "star pixel"], ivar: Float[Array, "star pixel"],
    n_starts: int, factorised: Any = None, count: Any = None, line_spread: Float[Array, "star pixel"] | None = None,
) -> Float[Array, "star start parameter"]:  # fmt: skip
    """Starting parameters of each star: labels, then velocities; see `slamjax.fitting.starts.choose_starts`."""
    count = flux.shape[0] if count is None else count
    rest, rest_ivar, kept = _at_rest(problem, shifted, flux, ivar, factorised, count)
    starts = choose_starts(problem, shifted.templates, rest, rest_ivar, n_starts, kept, count, line_spread)
    return jnp.concatenate(
        [starts[..., : problem.emulator.n_labels], _velocities(problem, shifted, flux, ivar, starts, count)], axis=-1
    )


@partial(compiled, one_thread=True)
def shifted_chi2(
    problem: Problem, shifted: ShiftedTemplates, flux: Float[Array, "star pixel"], ivar: Float[Array, "star pixel"],
    factorised: Any, line_spread: Float[Array, "star pixel"] | None, count: Any,
) -> Float[Array, "star template"]:  # fmt: skip
    """χ² with each template at the velocity of the best probe; see `slamjax.fitting.starts.template_chi2`."""
    rest, rest_ivar, kept = _at_rest(problem, shifted, flux, ivar, factorised, count)
    return jnp.asarray(template_chi2(problem, shifted.templates, rest, rest_ivar, kept, line_spread, count))


@partial(compiled, one_thread=True)
def starting_velocities(
    problem: Problem, shifted: ShiftedTemplates, flux: Float[Array, "star pixel"], ivar: Float[Array, "star pixel"],
    labels: Float[Array, "star start label"], count: Any,
) -> Float[Array, "star start velocity"]:  # fmt: skip
    """Nuisances' parameters to start from, at given labels, and extinction behind them if it is free."""
    return _velocities(problem, shifted, flux, ivar, labels, count)


def _levelled_star(problem: Problem, shifted: ShiftedTemplates, flux: Array, ivar: Array) -> tuple[Any, Any, Any]:
    """Flux, its ivar and its weight, divided by the best-fitting polynomials where there are any."""
    forward: Any = problem.emulator
    weight = problem.noise.weights(ivar)
    flux = jnp.where(weight > 0, flux, 0)
    if forward.terms is None:
        return flux, ivar, weight
    ratio = shifted.level / jax.vmap(partial(_smooth, forward.terms))(flux, weight)
    return flux * ratio, ivar / jnp.square(ratio), weight / jnp.square(ratio)


def _at_rest(
    problem: Problem, shifted: ShiftedTemplates, flux: Array, ivar: Array, factorised: Any, count: Any
) -> tuple[Any, Any, Any]:
    """Flux and ivar at rest by the velocity of the best probe; ``factorised`` where it still holds."""
    forward: Any = problem.emulator
    flux, ivar, weight = _levelled_star(problem, shifted, flux, ivar)
    if "rv" not in forward.free:
        return flux, ivar, factorised if forward.terms is None else None
    probes = jax.lax.map(partial(_lines, forward.grid), shifted.probes)

    def at_rest(star: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        flux, weight, ivar = star
        velocity, gain = correlate(problem, flux, weight, probes)
        shift = jnp.arctanh(velocity[jnp.argmax(gain)] * (forward.grid.unit / LIGHT))
        to = shifted.place + shift
        after = jnp.clip(jnp.searchsorted(shifted.place, to), 1, to.size - 1)
        sound = (weight[after] > 0) & (weight[after - 1] > 0) & (to <= shifted.place[-1]) & (to >= shifted.place[0])
        rest = jnp.interp(to, shifted.place, flux)
        return rest, jnp.where(sound, jnp.minimum(ivar[after], ivar[after - 1]), 0)

    rest, rest_ivar = map_blocks(jax.vmap(at_rest), (flux, weight, ivar), _BLOCK, count)
    return rest, rest_ivar, None


def _velocities(
    problem: Problem, shifted: ShiftedTemplates, flux: Array, ivar: Array, starts: Array, count: Any
) -> Float[Array, "star start velocity"]:
    """Nuisances to start from, at labels, and extinction behind them if it is free."""
    forward: Any = problem.emulator
    flux, ivar, weight = _levelled_star(problem, shifted, flux, ivar)
    n, n_starts = starts.shape[:2]
    behind = jnp.broadcast_to(shifted.fixed.astype(flux.dtype), (n, n_starts, shifted.fixed.shape[0]))
    labels, behind = _with_extinction(forward, starts, behind)
    if "rv" not in forward.free:
        return behind

    def refined(star: tuple[Array, Array, Array]) -> Array:
        flux, weight, x = star
        parameters = jnp.concatenate([x, jnp.zeros((n_starts, len(forward.free)), x.dtype)], axis=-1)
        widths = [k for k, name in enumerate(forward.free) if name != "rv"]
        for k in widths:
            parameters = parameters.at[:, forward.n_labels + k].set(shifted.fixed[k].astype(x.dtype))
        lines = jax.vmap(partial(_lines, forward.grid))(jnp.nan_to_num(forward.at(parameters)))
        return correlate(problem, flux, weight, lines)[0]

    velocity = map_blocks(jax.vmap(refined), (flux, weight, labels), _BLOCK, count)
    return behind.at[:, :, forward.free.index("rv")].set(velocity)


def _with_extinction(forward: Any, starts: Array, behind: Array) -> tuple[Array, Array]:
    """Labels of starts, and nuisances ``behind`` with the starts' extinction, if it is free."""
    labels = starts[..., : forward.n_labels]
    if "extinction" not in forward.free:
        return labels, behind
    return labels, behind.at[..., forward.free.index("extinction")].set(starts[..., -1])


def _lines(grid: Any, flux: Star) -> Float[Array, " fine"]:
    """A template on the fine grid, relative to its mean."""
    fine = flux if grid.bridge is None else grid.bridge(flux)
    fine = fine if grid.to_log is None else grid.to_log(fine)
    return fine - jnp.mean(fine)


def correlate(
    problem: Problem, flux: Star, weight: Star, lines: Float[Array, "probe fine"]
) -> tuple[Float[Array, " probe"], Float[Array, " probe"]]:
    """The velocity, in units of a pixel, at which each template fits best, and the decrease of χ² there.

    χ² of a + b t(λ, v) with the best a and b at every v of the fine grid: sums of products of spectrum and shifted
    template, computed together by Fourier transforms, for independent pixels.
    """
    forward: Any = problem.emulator
    grid, low, high = forward.grid, problem.low, problem.high
    k = forward.n_labels + forward.free.index("rv")
    total = jnp.maximum(jnp.sum(weight), 1e-30)
    weight = weight / total
    about = flux - jnp.sum(weight * flux)
    n = grid.n_fine + grid.ramp.shape[-1]

    def spread(pixels: Star) -> Array:
        """Conjugate transform of pixels on the fine grid, by the transpose of the interpolation from it."""
        fine = pixels
        if grid.from_log is not None:
            like = jax.ShapeDtypeStruct((grid.n_fine,), pixels.dtype)
            (fine,) = jax.linear_transpose(grid.from_log, like)(pixels)
        return jnp.conj(jnp.fft.rfft(fine, n))

    data, weights = spread(weight * about), spread(weight)
    shape, square = jnp.fft.rfft(lines, n), jnp.fft.rfft(jnp.square(lines), n)
    # element s is the sum for templates shifted s steps to the blue: the last ones are red shifts
    product = jnp.fft.irfft(data * shape, n)
    mean, length = jnp.fft.irfft(weights * shape, n), jnp.fft.irfft(weights * square, n)
    spread_of = jnp.maximum(length - jnp.square(mean), 1e-4 * jnp.max(length, axis=-1, keepdims=True) + 1e-30)
    gain = jnp.where(product > 0, jnp.square(product) / spread_of, 0)
    steps = jnp.fft.fftfreq(n, 1 / n).astype(flux.dtype)
    velocity = -jnp.tanh(steps * grid.step) * (LIGHT / grid.unit)
    allowed = (velocity >= low[k]) & (velocity <= high[k])
    best = jnp.argmax(jnp.where(allowed, gain, -1), axis=-1)
    best_velocity = jnp.where(jnp.any(allowed), velocity[best], 0.5 * (low[k] + high[k]))
    return best_velocity, _total(gain, best, total)


def _total(gain: Array, best: Array, total: Scalar) -> Array:
    return jnp.take_along_axis(gain, best[:, None], axis=-1)[:, 0] * total
