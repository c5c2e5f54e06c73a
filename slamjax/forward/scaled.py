"""A model as computations on the device use it: flux in a unit near the training stars' spread.

Fluxes of 1e-17 have squares below float32's range, so whatever squares flux measures it in this unit. The unit is a
power of two, which changes no digit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.base import Emulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.line_spread import LineSpreadGrid
from slamjax.forward.nuisances import Nuisances
from slamjax.forward.pixel_facts import PixelFacts
from slamjax.noise.models import Noise, ivar_in_unit
from slamjax.typing import Flux, Ivar

#: Flux is clipped at this many units: an absurd pixel stays absurd, and its square stays finite.
_LARGEST = 1e6


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ScaledModel:
    """Emulator and noise of flux in ``unit``, and the box of parameters that is searched, all on the device; a pytree.

    Attributes
    ----------
    unit : float
        Flux on the device is the model's flux divided by this.
    emulator : Emulator, or ForwardEmulator if there are nuisances
    noise : Noise
    low, high : (L,) arrays
        Bounds of the scaled labels, and of the free velocities behind them if there are nuisances.
    nuisances : Nuisances, optional
    line_spread : LineSpreadGrid, optional
        What that of each star is made from, where spectra have their own.
    """

    unit: float
    emulator: Any
    noise: Any
    low: Float[Array, " parameter"]
    high: Float[Array, " parameter"]
    nuisances: Nuisances | None = field(default=None, metadata={"static": True})
    line_spread: LineSpreadGrid | None = None

    @classmethod
    def from_host(
        cls, emulator: Emulator, noise: Noise, training_labels: TrainingLabels, unit: float | None = None
    ) -> ScaledModel:
        """From arrays on the host, in physical flux; the unit is the emulator's by default."""
        unit = emulator.flux_unit() if unit is None else unit
        low, high = np.asarray(training_labels.low), np.asarray(training_labels.high)
        parts = (emulator.in_unit(unit).padded(), noise.in_unit(unit), low, high)
        # device arrays throughout: a NumPy array's place in a compilation does not tell the precision JAX runs in
        return cls(unit, *jax.tree_util.tree_map(jnp.asarray, parts))

    @classmethod
    def with_nuisances(
        cls,
        emulator: Emulator,
        noise: Noise,
        training_labels: TrainingLabels,
        wave: Float[np.ndarray, " pixel"],
        nuisances: Nuisances,
        facts: PixelFacts | None = None,
    ) -> ScaledModel:
        """The same with nuisances around the emulator; ``wave`` (P,) are the model's wavelengths."""
        unit = emulator.flux_unit()
        forward = ForwardEmulator.from_emulator(emulator.in_unit(unit).padded(), wave, nuisances, facts)
        low, high = forward.bounds()
        low = np.concatenate([np.asarray(training_labels.low), low])
        high = np.concatenate([np.asarray(training_labels.high), high])
        forward, device_noise = jax.tree_util.tree_map(jnp.asarray, (forward, noise.in_unit(unit)))
        return cls(unit, forward, device_noise, jnp.asarray(low), jnp.asarray(high), nuisances)

    @property
    def forward(self) -> ForwardEmulator | None:
        """The emulator, if it has nuisances."""
        return None if self.nuisances is None else self.emulator

    @property
    def dtype(self) -> Any:
        """Precision of the arrays."""
        return self.low.dtype

    def flux(self, flux: Flux) -> Float[np.ndarray, "*batch pixel"]:
        """Physical flux in the unit and the precision of the device."""
        return np.clip(np.asarray(flux) / self.unit, -_LARGEST, _LARGEST).astype(self.dtype)

    def ivar(self, ivar: Ivar) -> Float[np.ndarray, "*batch pixel"]:
        """Inverse variance of physical flux in the unit and the precision of the device."""
        return ivar_in_unit(np.asarray(ivar), self.unit, self.dtype)
