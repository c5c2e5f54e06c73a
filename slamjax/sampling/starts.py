"""Where sampling starts: at the fit, moved along its covariance where labels are fixed."""

from __future__ import annotations

import numpy as np
from astropy.table import QTable

from slamjax.model.model import Model


def start_labels(model: Model, table: QTable, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scaled labels (N, L) to start from, and which stars (N,) have any: those whose fit succeeded.

    Parameters
    ----------
    model : Model
    table : of `slamjax.fit`
    fixed : (N, L) physical values of fixed labels, NaN for the others, which follow by the fit's covariance
    """
    labels = np.stack([np.asarray(table[name], float) for name in model.label_names], axis=1)
    usable = np.isfinite(labels).all(axis=1)
    is_fixed = np.isfinite(fixed[0])
    if is_fixed.any():
        covariance = np.asarray(table["cov"], float)
        known = usable & np.isfinite(covariance).all(axis=(1, 2))
        inner = covariance[known][:, is_fixed][:, :, is_fixed]
        across = covariance[known][:, ~is_fixed][:, :, is_fixed]
        shift = (fixed - labels)[known][:, is_fixed]
        moved = labels[known]
        moved[:, ~is_fixed] += np.einsum("nij,nj->ni", across, np.linalg.solve(inner, shift[..., None])[..., 0])
        labels[known] = moved
        labels[:, is_fixed] = fixed[:, is_fixed]
    x = np.zeros_like(labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        x[usable] = np.nan_to_num(model.host_emulator.scaling(labels[usable]))
    inside = np.clip(x, np.asarray(model.training_labels.low), np.asarray(model.training_labels.high))
    return np.where(is_fixed, x, inside), usable
