"""SVRs of blocks of pixels by the workers of a Dask client, which is only asked to run functions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from slamjax.errors import SlamError
from slamjax.training.data import ScaledStars
from slamjax.training.search import Candidate
from slamjax.training.svr.fits import Fits
from slamjax.training.svr.pixel import Report, SvrSettings
from slamjax.training.svr.pixels import fit_pixels
from slamjax.typing import Progress

#: Blocks for each thread of the workers: the slowest does not keep the others waiting for long.
_BLOCKS = 4
#: Pixels of a block at least: they share kernel matrices, which each block computes anew.
_FEWEST = 16


def fit_pixels_by(
    client: Any,
    scaled: ScaledStars,
    candidates: tuple[Candidate, ...],
    settings: SvrSettings,
    n_jobs: int,
    on_progress: Progress | None,
) -> tuple[Fits, Report]:
    """As `fit_pixels`, each block of pixels with all of its candidates and folds by one worker.

    Pixels are independent of each other; a solver that works on many at once may round otherwise within its tolerance.
    """
    n_pix = scaled.y.shape[1]
    blocks = blocks_of(n_pix, sum(client.nthreads().values()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        futures = [
            client.submit(fit_pixels, scaled.on_pixels(pixels), candidates, settings, n_jobs, None, pure=False)
            for pixels in blocks
        ]
    found: list[tuple[Fits, Report]] = []
    done = 0
    for pixels, future in zip(blocks, futures, strict=True):
        try:
            found.append(future.result())
        except OSError as error:
            raise SlamError(f"the cluster was lost ({error}); train again") from error
        done += len(pixels)
        if on_progress is not None:
            on_progress(done, n_pix)
    return _joined([fits for fits, _ in found], blocks, scaled, len(candidates)), _sum([one for _, one in found])


def blocks_of(n_pix: int, threads: int) -> list[np.ndarray]:
    """Neighbouring pixels, some blocks for each thread, none of them small."""
    count = max(1, min(_BLOCKS * threads, n_pix // _FEWEST))
    return np.array_split(np.arange(n_pix), count)


def _joined(parts: Sequence[Fits], blocks: Sequence[np.ndarray], scaled: ScaledStars, n_candidates: int) -> Fits:
    n_stars, n_pix = scaled.y.shape
    fits = Fits.untrained(parts[0].support, n_stars, n_pix, n_candidates, scaled.n_folds)
    for pixels, part in zip(blocks, parts, strict=True):
        fits.put(pixels, part)
    return fits


def _sum(reports: Sequence[Report]) -> Report:
    total = reports[0]
    for report in reports[1:]:
        total += report
    return total
