"""Fitted stars for a page: their labels, errors and flags, and as many spectra as it has room for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax.errors import SlamError
from slamjax.explorer.packing import compact, under
from slamjax.model.model import Model
from slamjax.model.named_labels import labels_of
from slamjax.plots.spectra import fitted_spectra
from slamjax.sampling import Posterior
from slamjax.spectra.columns import float_column, plain_column
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.star_names import naming_column, star_name

#: Bytes of a spectrum's pixel, flux and error together.
_BYTES = 4
#: Spectra are kept of at least so many stars.
_FEWEST = 20
#: Draws of a star's posterior that a corner shows.
_DRAWS = 150


@dataclass(frozen=True, eq=False)
class PageStars:
    """Stars as a page holds them: what has words in a header, numbers in arrays by name."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


def page_stars(model: Model, spectra: Spectra, labels: Table, room: float) -> PageStars:
    """Stars with their fits, and as many spectra as there is room for, in bytes, evenly from well to badly fitted."""
    rows = rows_of(spectra, labels)
    values = np.asarray(labels_of(model, labels), float)
    columns = {name: labels[name] for name in labels.colnames if labels[name].ndim == 1}
    chi2 = _numbers(labels, "chi2") / np.maximum(_numbers(labels, "n_pix"), 1)
    arrays = {
        "labels": values,
        "errors": np.stack([_numbers(labels, f"{name}_err") for name in model.label_names], axis=1),
        "cov": np.asarray(labels["cov"], float) if "cov" in labels.colnames else np.empty((0, 0, 0)),
        "chi2": chi2.astype(np.float32),
        "snr": _numbers(labels, "snr").astype(np.float32),
        "flags": (
            np.asarray(labels["flags"], np.int32) if "flags" in labels.colnames else np.zeros(len(labels), np.int32)
        ),
        "kept": np.full(len(labels), -1, np.int32),
    }
    fitted = np.flatnonzero(np.isfinite(values).all(axis=1))
    most = max(_FEWEST, int(room // (_BYTES * model.wave.size)))
    kept = fitted[np.argsort(chi2[fitted], kind="stable")]
    if len(kept) > most:
        kept = kept[np.linspace(0, len(kept) - 1, most).astype(int)]
    kept = np.sort(kept)
    if kept.size:
        arrays["kept"][kept] = np.arange(len(kept))
        shown = fitted_spectra(model, spectra[rows], labels, kept)
        arrays |= under("flux", compact(np.stack([star.observed for star in shown])))
        arrays |= under("log_sigma", compact(np.log(np.stack([star.sigma for star in shown]))))
    naming = naming_column(columns) or ""
    header = {
        "names": [star_name(columns, row) for row in range(len(labels))],
        "named_by": naming,
        "is_text": bool(naming) and plain_column(labels[naming]).dtype.kind in "SU",
        "rows": spectra.rows[rows].tolist(),
        "n_spectra": len(kept),
    }
    return PageStars(header, under("stars", arrays))


def page_draws(model: Model, posterior: Posterior, stars: PageStars) -> dict[str, np.ndarray]:
    """Draws of those stars whose rows are in a posterior, in units of the fit's errors about the fit."""
    missing = [name for name in model.label_names if name not in posterior.label_names]
    if missing:
        raise SlamError(f"the posterior has no label {', '.join(missing)}; give one of this model")
    place = {int(row): k for k, row in enumerate(posterior.stars["row"])}
    shown = [(star, place[row]) for star, row in enumerate(stars.header["rows"]) if row in place]
    if not shown:
        raise SlamError("the posterior is of none of these stars; give one of the same spectra")
    of_labels = [posterior.label_names.index(name) for name in model.label_names]
    flat = posterior.labels.reshape(-1, *posterior.labels.shape[2:])
    some = flat[np.linspace(0, len(flat) - 1, min(_DRAWS, len(flat))).astype(int)][..., of_labels]
    ours, theirs = np.array(shown).T
    fit, error = (stars.arrays[f"stars/{name}"][ours] for name in ("labels", "errors"))
    scaled = (np.moveaxis(some[:, theirs], 0, 1) - fit[:, None]) / np.where(error > 0, error, np.nan)[:, None]
    scaled = np.where(np.isfinite(scaled), scaled, np.nan).reshape(len(ours), -1)
    kept = np.full(len(stars.header["rows"]), -1, np.int32)
    kept[ours] = np.arange(len(ours))
    return under("draws", {"kept": kept, **under("labels", compact(scaled))})


def rows_of(spectra: Spectra, labels: Table) -> np.ndarray:
    """Which spectrum each row of the labels is of, by the column ``row``, else by their order."""
    if "row" in labels.colnames and len(np.unique(spectra.rows)) == len(spectra):
        place = {int(row): k for k, row in enumerate(spectra.rows)}
        asked = [int(row) for row in labels["row"]]
        if all(row in place for row in asked):
            return np.array([place[row] for row in asked], int)
    if len(spectra) != len(labels):
        raise SlamError(
            f"{len(labels)} rows of labels are not of the {len(spectra)} spectra of {spectra.source}; give the table "
            "that slamjax fit made of them"
        )
    return np.arange(len(spectra))


def _numbers(labels: Table, name: str) -> np.ndarray:
    """A column, or NaN where there is none."""
    if name not in labels.colnames:
        return np.full(len(labels), np.nan)
    return float_column(getattr(labels[name], "value", labels[name]))
