"""All that velocities under one model are measured with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.forward.line_spread import LineSpreadGrid
from slamjax.forward.scaled import ScaledModel
from slamjax.forward.velocity import VelocityStencil
from slamjax.model.coarse_pixels import CoarsePixels
from slamjax.model.model import Model
from slamjax.model.velocity_steps import SeenSpectra, VelocityStep, pixel_velocity, settle, velocity_step
from slamjax.spectra.spectra import Spectra

#: Spectra that are predicted together: of one shape, or each number of spectra would be compiled anew and kept.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class VelocityMeter:
    """The model on the device with the noise of independent pixels, and how its predictions change with velocity.

    A covariance learnt at rest gives large weights to differences of pixels that hardly vary there. In a star that
    moves they do vary, because it is seen in other pixels, and velocities would be worse. What the weights leave out is
    in the error, whose size training learns from held-out stars.

    Attributes
    ----------
    model : Model
    scaled : ScaledModel
    stencil : VelocityStencil
    coarse : CoarsePixels, None where pixels resolve the line spread
    """

    model: Model
    scaled: ScaledModel
    stencil: VelocityStencil
    coarse: CoarsePixels | None

    @classmethod
    def of(cls, model: Model, line_spread: LineSpreadGrid | None = None) -> VelocityMeter:
        """``line_spread`` is what that of each star is made from, where spectra have their own."""
        scaled = model.scaled()
        noise = model.with_diagonal_noise().noise.in_unit(scaled.unit)
        noise = jax.tree_util.tree_map(lambda a: jnp.asarray(a, scaled.dtype), noise)
        stencil = VelocityStencil.from_wavelengths(model.wave, model.trained, model.info.fwhm)
        seen = dataclasses.replace(scaled, noise=noise, line_spread=line_spread)
        return cls(model, seen, stencil, CoarsePixels.of(model))

    @property
    def pixel(self) -> float:
        """Width of a typical pixel, km/s."""
        return pixel_velocity(self.model.wave)

    def predicted(self, x: np.ndarray) -> np.ndarray:
        """(N, P) flux at scaled labels (N, L), in the unit of ``scaled``."""
        x = np.nan_to_num(x).astype(self.scaled.dtype)
        return np.asarray(map_padded(partial(_predicted, self.scaled.emulator), (x,), _BLOCK))

    def weights(self, ivar: np.ndarray) -> np.ndarray:
        """(N, P) inverse variances with the noise of ``scaled``."""
        return np.asarray(map_padded(partial(_weights, self.scaled.noise), (ivar,), _BLOCK))

    def settle(
        self, spectra: Spectra, velocity: np.ndarray, x: np.ndarray, given: SeenSpectra, steps: int
    ) -> np.ndarray:
        """(N, L) scaled labels after ``steps`` steps from ``x``; see `step`."""
        return settle(self.scaled, self.stencil, x, self._seen(spectra, velocity, x, given), steps, self.pixel)

    def step(self, spectra: Spectra, velocity: np.ndarray, x: np.ndarray, given: SeenSpectra) -> VelocityStep:
        """The velocity that is left.

        Parameters
        ----------
        spectra : Spectra
            As read.
        velocity : (N,) km/s by which they are at rest in ``given``
        x : (N, L) scaled labels
        given : SeenSpectra
        """
        return velocity_step(self.scaled, self.stencil, x, self._seen(spectra, velocity, x, given))

    def _seen(self, spectra: Spectra, velocity: np.ndarray, x: np.ndarray, given: SeenSpectra) -> SeenSpectra:
        if self.coarse is None:
            return given
        return self.coarse.seen(self.model, spectra, velocity, self.predicted(x), given)


@partial(compiled, one_thread=True)
def _predicted(emulator: Any, x: Any) -> Any:
    return emulator.at(x)


@partial(compiled, one_thread=True)
def _weights(noise: Any, ivar: Any) -> Any:
    return jnp.asarray(noise.weights(ivar))
