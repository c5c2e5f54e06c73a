"""How many stars are worked on at once within a memory budget."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from slamjax._util.batching import power_of_two_below
from slamjax.emulators.base import Emulator

#: Bytes of flux and Jacobian of a batch that stay near a CPU's cores between one step and the next, and the least
#: number of stars that make good matrix products all the same. Accelerators take all that memory holds.
_NEAR, _FEWEST = 16 * 2**20, 64
#: Most stars whose starts are chosen at once, and most that are prepared at once.
_LARGEST_BLOCK, _LARGEST_CHUNK = 1024, 16384


@dataclass(frozen=True)
class BatchSizes:
    """How many stars are worked on at once.

    Attributes
    ----------
    slots : places in a batch of the minimiser
    block : stars whose starts are chosen at once
    chunk : stars that are prepared at once
    points : points in the parameters at which spectra are predicted at once
    """

    slots: int
    block: int
    chunk: int
    points: int

    @classmethod
    def within(
        cls, memory: float, emulator: Emulator, rows: int, n_pix: int, n_templates: int, by_gradients: bool
    ) -> BatchSizes:
        """Sizes that need at most ``memory`` GiB, for ``rows`` rows of residual and Jacobian of ``n_pix`` pixels."""
        size = jax.dtypes.canonicalize_dtype(float).itemsize
        one = size * ((3 * rows) * emulator.n_terms + (4 * rows + 4 * emulator.n_groups) * n_pix)
        if by_gradients:
            one *= 3  # reverse mode keeps intermediate results
        budget = memory * 2**30
        block = int(np.clip(budget / one, 1, _LARGEST_BLOCK))
        # flux and ivar of two chunks, for one may still be fitted when the next begins, and of whitening
        chunk = int(np.clip(budget / (size * (8 * n_pix + 4 * min(n_templates, 2048))), block, _LARGEST_CHUNK))
        slots = block
        if jax.default_backend() == "cpu":
            slots = int(np.clip(_NEAR / (size * rows * n_pix), min(_FEWEST, block), block))
        points = int(np.clip(budget / (size * (3 * emulator.n_terms + (4 + 4 * emulator.n_groups) * n_pix)), 1, 2**14))
        # powers of two keep compiled shapes few
        return cls(power_of_two_below(slots), power_of_two_below(block), chunk, points)
