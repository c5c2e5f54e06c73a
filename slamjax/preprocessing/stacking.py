"""The spectra of each star as one: their weighted mean at rest."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.preprocessing.regrid import onto_grid
from slamjax.spectra.observations import Observations
from slamjax.spectra.spectra import Spectra


def stack(spectra: Spectra, star: str | Any, rv: Float[np.ndarray, " spectrum"] | None = None) -> Spectra:
    """One spectrum of each star, the mean of its spectra by inverse variance.

    Each is first divided by its median, for visits differ in how much light a fibre gets; the mean is in units of the
    brightest. A fit of all spectra together (`slamjax.fit_visits`) uses more: a stack is resampled, its pixels are
    correlated, and it has one line spread.

    Parameters
    ----------
    spectra : Spectra
        Of any number of stars, in any order.
    star : str or (M,) array
        The column that says whose a spectrum is, or its values.
    rv : (M,) km/s, optional
        Velocities, by which spectra are brought to rest. A spectrum whose velocity is unknown (NaN) is left out.

    Returns
    -------
    Spectra
        One row for each star, in the order of the identifiers, with the first spectrum's columns and ``n_stacked``.

    Raises
    ------
    SlamError
        If no column says whose a spectrum is, one states no errors, or numbers of velocities and spectra differ.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> stack = slamjax.stack(stars[[0, 0, 1]], "source_id")
    >>> len(stack), stack.table["n_stacked"].tolist()
    (2, [1, 2])
    """
    observed = Observations({"spectra": spectra}, star if isinstance(star, str) else {"spectra": star})
    of = observed.stars["spectra"]
    if np.any(np.isinf(spectra.ivar)):
        raise SlamError(f"{spectra.source} states no errors, by which a mean is weighted; give errors (ivar)")
    moved = spectra
    if rv is not None:
        velocity = np.asarray(rv, float)
        if velocity.shape != (len(spectra),):
            raise SlamError(f"rv has shape {velocity.shape}; give one velocity for each of {len(spectra)} spectra")
        moved = onto_grid(spectra, spectra.wave, spectra.wave_unit, spectra.medium, velocity)
    good = moved.good
    counted: np.ndarray = np.asarray(good.any(axis=1))
    level = np.ma.median(np.ma.masked_array(moved.flux, ~good), axis=1).filled(1.0)  # type: ignore[no-untyped-call]
    level = np.where(level > 0, level, 1)[:, None]
    flux, weight = moved.flux / level, moved.ivar.astype(float) * level**2
    order = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[order], np.arange(len(observed)))
    first = order[starts]
    total, weighted = (np.add.reduceat(each[order], starts, axis=0) for each in (weight, weight * flux))
    brightest = np.maximum.reduceat(np.where(counted[:, None], level, 0)[order], starts, axis=0)
    brightest = np.where(brightest > 0, brightest, 1)
    mean = weighted / np.where(total > 0, total, 1)
    one = spectra[first]
    fwhm = _mean_line_spread(spectra, of, counted, len(observed))
    table = one.table.copy()
    table["n_stacked"] = np.bincount(of, counted, len(observed)).astype(np.int32)
    dtype = spectra.flux.dtype
    return dataclasses.replace(
        one,
        flux=(mean * brightest).astype(dtype),
        ivar=(total / brightest**2).astype(dtype),
        table=table,
        fwhm=fwhm,
        frame="rest" if rv is not None else spectra.frame,
    )


def _mean_line_spread(spectra: Spectra, of: np.ndarray, counted: np.ndarray, n: int) -> Any:
    """Root mean square of the widths of each star's spectra, where they have their own."""
    if not spectra.has_own_line_spreads:
        return spectra.fwhm
    width = np.asarray(spectra.fwhm, float)
    known = np.isfinite(width) & counted[:, None]
    total, count = np.zeros((2, n, spectra.n_pix))
    np.add.at(total, of, np.where(known, width, 0) ** 2)
    np.add.at(count, of, known)
    return np.where(count > 0, np.sqrt(total / np.maximum(count, 1)), np.nan)
