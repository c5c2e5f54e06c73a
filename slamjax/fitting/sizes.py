"""How many stars are worked on at once within a memory budget."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from slamjax._util.batching import power_of_two_below
from slamjax.emulators.base import Emulator

#: Most problems that are worked on at once, and most stars that are prepared at once.
_LARGEST_BLOCK, _LARGEST_CHUNK = 1024, 16384
#: Stars with covariances of their own that are prepared at once, at least.
_FEWEST = 16


@dataclass(frozen=True)
class BatchSizes:
    """How many stars are worked on at once.

    Attributes
    ----------
    block : places in a batch of the minimiser, and stars whose starts are chosen at once
    chunk : stars that are prepared at once
    points : points in the parameters at which spectra are predicted at once
    """

    block: int
    chunk: int
    points: int

    @classmethod
    def within(
        cls,
        memory: float,
        emulator: Emulator,
        rows: int,
        n_pix: int,
        rank: int,
        n_templates: int,
        by_gradients: bool,
        dense: bool = False,
    ) -> BatchSizes:
        """Sizes that need at most ``memory`` GiB, for ``rows`` rows of residual and Jacobian of ``n_pix`` pixels.

        ``rank`` is that of the noise; ``dense`` says whether stars have covariances of their own.
        """
        size = jax.dtypes.canonicalize_dtype(float).itemsize
        one = size * ((3 * rows) * emulator.n_terms + (4 * rows + 4 * emulator.n_groups) * n_pix)
        own = n_pix**2 if dense else 0
        one += 2 * size * own
        if by_gradients:
            one *= 3  # reverse mode keeps intermediate results
        budget = memory * 2**30
        block = int(np.clip(budget / one, 1, _LARGEST_BLOCK))
        # flux, ivar and factorised covariances of two chunks, for one may still be fitted when the next begins
        one_star = 8 * n_pix + 4 * min(n_templates, 2048) + 4 * rank**2
        # a covariance is factorised on the host, in a few arrays of float64
        chunk = int(
            np.clip(
                budget / (size * one_star + (2 * size + 5 * 8) * own),
                min(block, _FEWEST) if dense else block,
                _LARGEST_CHUNK,
            )
        )
        one_point = size * (3 * emulator.n_terms + (4 + 4 * emulator.n_groups) * n_pix + own)
        points = int(np.clip(budget / one_point, 1, 2**14))
        # powers of two keep compiled shapes few
        return cls(power_of_two_below(block), chunk, points)
