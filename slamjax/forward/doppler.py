"""Shifting and broadening model spectra in ln λ, in Fourier space.

A spectrum on the model's pixels is interpolated to a uniform grid in ln λ by a windowed sinc (unless the pixels are
uniform in ln λ already), its Fourier transform is multiplied by exp(−2πikβ) exp(−2π²k²σ²/c²) g(2πk v sin i/c), with k
in cycles per unit of ln λ and β = artanh(v/c), and the result is interpolated back. A ramp joins the two ends, so that
nothing rings or wraps around.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.fft import next_fast_len
from scipy.interpolate import CubicSpline

from slamjax._util.constants import LIGHT
from slamjax.errors import SlamError
from slamjax.forward.coordinates import ResolvingPower
from slamjax.forward.nuisances import Nuisances
from slamjax.forward.rotation import rotation_transform
from slamjax.typing import AnyArray, Flux

#: Samples on each side that an interpolation uses, and the shape of its Kaiser window: from pixels, where spectra may
#: have structure of little more than two pixels; and back from the finer grid, where they have not.
_ON_PIXELS, _ON_FINE = (14, 7.5), (8, 8.0)
#: Step of the fine grid, in units of the narrowest pixel.
_STEP = 0.6
#: Fewest pixels of a spectrum that can be shifted.
_FEWEST = 32
#: Rows per block of a banded product.
_BLOCK = 64
#: Pixels are uniform in ln λ if no step differs from the mean by more than this fraction.
_UNIFORM = 1e-4
#: Extent of a Gaussian in standard deviations, and pixels at each end that are never used.
_REACH_SIGMA, _MARGIN = 4.0, 3
_matmul = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Band:
    """A banded matrix, in blocks of rows that each use one window of the input.

    Attributes
    ----------
    window : (B, W) indices of the input
    weight : (B, W, R) weights of each block's R outputs
    size : number of outputs, at most B · R
    """

    window: Int[AnyArray, "block width"]
    weight: Float[AnyArray, "block width row"]
    size: int = field(metadata={"static": True})

    def __call__(self, flux: Any) -> Array:
        """(..., P) to (..., size)."""
        seen = jnp.take(flux, self.window, axis=-1)
        out = _matmul("...bw,bwr->...br", seen, self.weight)
        return out.reshape(*out.shape[:-2], -1)[..., : self.size]

    @classmethod
    def interpolation(cls, at: Float[np.ndarray, " out"], n: int, taps: int, shape: float) -> Band:
        """Windowed-sinc interpolation of n equidistant samples at places ``at`` (rising, in samples); ends held."""
        count = -(-len(at) // _BLOCK)
        filled = np.concatenate([at, np.full(count * _BLOCK - len(at), at[-1])]).reshape(count, _BLOCK)
        first = np.floor(filled).astype(int) - taps + 1
        tap = first[..., None] + np.arange(2 * taps)
        distance = filled[..., None] - tap
        kaiser = np.i0(shape * np.sqrt(np.clip(1 - np.square(distance / taps), 0, None)))
        weight = np.sinc(distance) * kaiser
        weight /= weight.sum(axis=-1, keepdims=True)
        tap = np.clip(tap, 0, n - 1)
        low, high = tap.min(axis=(1, 2)), tap.max(axis=(1, 2))
        width = int((high - low).max()) + 1
        low = np.minimum(low, max(n - width, 0))
        blocks = np.zeros((count, width, _BLOCK))
        block, row, _ = np.indices(tap.shape)
        np.add.at(blocks, (block, tap - low[:, None, None], row), weight)
        return cls(np.minimum(low[:, None] + np.arange(width), n - 1), blocks, len(at))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Bridge:
    """Linear interpolation of untrained pixels (NaN) between their trained neighbours.

    Attributes
    ----------
    left, right : (P,) nearest trained pixels on either side, or the pixel itself
    part : (P,) fraction of the way from left to right
    """

    left: Int[AnyArray, " pixel"]
    right: Int[AnyArray, " pixel"]
    part: Float[AnyArray, " pixel"]

    def __call__(self, flux: Any) -> Array:
        left, right = jnp.take(flux, self.left, axis=-1), jnp.take(flux, self.right, axis=-1)
        return left + self.part * (right - left)

    @classmethod
    def from_mask(cls, trained: np.ndarray) -> Bridge | None:
        """None if every pixel is trained."""
        if trained.all():
            return None
        known = np.flatnonzero(trained)
        pixel = np.arange(trained.size)
        after = np.searchsorted(known, pixel)
        right = known[np.minimum(after, known.size - 1)]
        left = np.where(trained, pixel, known[np.maximum(after - 1, 0)])
        gap = np.where(right > left, right - left, 1)
        return cls(left, right, np.clip((pixel - left) / gap, 0, 1))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class VelocityGrid:
    """Transforms between a model's pixels and Fourier space.

    Attributes
    ----------
    bridge : interpolation over untrained pixels, or None
    to_log, from_log : to the fine grid in ln λ and back; None if the pixels are that grid
    ramp : (R,) from 0 to 1; joins the last value to the first
    frequency : (K,) in cycles per unit of ln λ
    n_fine : points of the fine grid, without the ramp
    unit : km/s per pixel, the unit of velocities in a fit
    step : step of the fine grid in ln λ
    """

    bridge: Bridge | None
    to_log: Band | None
    from_log: Band | None
    ramp: Float[AnyArray, " ramp"]
    frequency: Float[AnyArray, " frequency"]
    n_fine: int = field(metadata={"static": True})
    unit: float = field(metadata={"static": True})
    step: float = field(metadata={"static": True})

    def transform(self, flux: Flux) -> Array:
        """Fourier coefficients (..., K) of model flux (..., P)."""
        known = flux if self.bridge is None else self.bridge(flux)
        fine = known if self.to_log is None else self.to_log(known)
        joined = fine[..., -1:] + (fine[..., :1] - fine[..., -1:]) * self.ramp
        return jnp.fft.rfft(jnp.concatenate([fine, joined], axis=-1))

    def back(self, coefficients: Array) -> Array:
        """Flux (..., P) of Fourier coefficients (..., K)."""
        n = self.n_fine + self.ramp.shape[-1]
        fine = jnp.fft.irfft(coefficients, n)[..., : self.n_fine]
        return fine if self.from_log is None else self.from_log(fine)

    def factor(self, x: dict[str, Any]) -> Array:
        """Factor of the coefficients (K,); ``x`` has rv, and the squares of widths, in units of a pixel."""
        out: Any = jnp.ones_like(self.frequency)
        if "sigma_v" in x:
            out = out * jnp.exp(self._gauss() * x["sigma_v"])
        if "vsini" in x:
            out = out * rotation_transform(self._turn() * x["vsini"])
        if "rv" in x:
            phase = -2 * jnp.pi * self.frequency * jnp.arctanh(x["rv"] * (self.unit / LIGHT))
            return out * jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
        return out

    def slopes(self, x: dict[str, Any], names: tuple[str, ...]) -> list[Array]:
        """Derivatives of `factor` with respect to the named ``x``."""
        slopes = []
        for name in names:
            others = {key: value for key, value in x.items() if key != name}
            if name == "sigma_v":
                slopes.append(self._gauss() * self.factor(x))
            elif name == "vsini":
                turn = self._turn()
                slopes.append(turn * rotation_transform(turn * x["vsini"], 1) * self.factor(others))
            else:
                beta = x["rv"] * (self.unit / LIGHT)
                slope = -2 * jnp.pi * self.frequency * (self.unit / LIGHT) / (1 - beta * beta)
                slopes.append(jax.lax.complex(jnp.zeros_like(slope), slope) * self.factor(x))
        return slopes

    def _gauss(self) -> Array:
        return -2 * jnp.square(jnp.pi * self.frequency * (self.unit / LIGHT))

    def _turn(self) -> Array:
        return jnp.square(2 * jnp.pi * self.frequency * (self.unit / LIGHT))

    @classmethod
    def from_pixels(cls, wave: np.ndarray, trained: np.ndarray, reach: float) -> VelocityGrid:
        """For pixels at ``wave`` (P,), in any unit; ``reach``: the largest shift of flux, in ln λ."""
        place = np.log(np.asarray(wave, float))
        n = place.size
        if n < _FEWEST:
            raise SlamError(f"the model has {n} pixels; velocities need at least {_FEWEST}")
        steps = np.diff(place)
        unit = LIGHT * float(np.median(steps))
        if np.abs(steps / steps.mean() - 1).max() < _UNIFORM:
            n_fine, step = n, float(steps.mean())
            to_log = from_log = None
        else:
            n_fine = int(np.ceil((place[-1] - place[0]) / (_STEP * steps.min()))) + 1
            step = (place[-1] - place[0]) / (n_fine - 1)
            fine = np.linspace(place[0], place[-1], n_fine)
            pixel = np.clip(CubicSpline(place, np.arange(n))(fine), 0, n - 1)
            to_log = Band.interpolation(pixel, n, *_ON_PIXELS)
            from_log = Band.interpolation((place - place[0]) / step, n_fine, *_ON_FINE)
        total = next_fast_len(n_fine + max(64, int(2 * reach / step)), real=True)
        t = np.arange(1, total - n_fine + 1) / (total - n_fine + 1)
        frequency = np.fft.rfftfreq(total, step)
        ramp = t * t * (3 - 2 * t)
        return cls(Bridge.from_mask(trained), to_log, from_log, ramp, frequency, n_fine, unit, step)


def reach(nuisances: Nuisances, resolution: float | None = None) -> float:
    """Largest shift of flux in ln λ at the largest allowed velocities; ``resolution`` is the model's, if it counts."""
    shift = max(abs(bound) for bound in nuisances.bounds("rv"))
    sigma, vsini = nuisances.bounds("sigma_v")[1], nuisances.bounds("vsini")[1]
    if resolution is not None:
        lowest = ResolvingPower(1.0, resolution).parameter(nuisances.bounds("resolution")[0])
        sigma = float(np.sqrt(lowest))
    return float(np.arctanh(shift / LIGHT) + (_REACH_SIGMA * sigma + vsini) / LIGHT)


def untouched(wave: np.ndarray, trained: np.ndarray, reach: float) -> np.ndarray:
    """(P,) bool: pixels that no flux from beyond the spectrum's ends or from untrained pixels can reach."""
    place = np.log(np.asarray(wave, float))
    kept = (place - reach >= place[0]) & (place + reach <= place[-1])
    kept[:_MARGIN] = kept[-_MARGIN:] = False
    for hole in np.flatnonzero(~trained):
        kept &= np.abs(place - place[hole]) > reach
    return kept & trained
