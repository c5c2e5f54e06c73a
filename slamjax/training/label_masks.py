"""Masks by label: which pixels may inform which label (the censoring of Casey et al. 2016, arXiv:1603.03040)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from slamjax.errors import SlamError

#: The status of a pixel that every label is masked at.
NO_LABEL = "no label may inform it"

Allowed = Bool[np.ndarray, "pixel label"]


def allowed_labels(label_masks: Mapping[str, Any] | None, names: Sequence[str], wave: np.ndarray, unit: str) -> Allowed:
    """(P, L) bool: whether a pixel's flux may depend on a label.

    Parameters
    ----------
    label_masks : mapping of label to windows or to a mask
        Windows are pairs (low, high) of wavelengths, both ends included, in which the label may be used, and nowhere
        else; a mask is (P,) bool, True where it may be used. A label that is not named may be used everywhere.
    names : L labels
    wave, unit : (P,) the model's wavelengths, and their unit for messages

    Raises
    ------
    SlamError
        For a label that is not learnt, windows or a mask that cannot be, or a label that no pixel is left to.
    """
    allowed = np.ones((len(wave), len(names)), bool)
    for name, given in (label_masks or {}).items():
        if name not in names:
            raise SlamError(f"label_masks names {name!r}, which is not among the labels {', '.join(names)}")
        column = _mask(name, given, len(wave)) if _is_mask(given) else _windows(name, given, wave)
        if not column.any():
            raise SlamError(
                f"the mask of label {name!r} leaves it none of the {len(wave)} pixels, {wave[0]:g} to {wave[-1]:g} "
                f"{unit}; give windows within them"
            )
        allowed[:, list(names).index(name)] = column
    return allowed


def windows_of(mask: Bool[np.ndarray, " pixel"], wave: np.ndarray) -> list[tuple[float, float]]:
    """First and last wavelength of every run of pixels that may be used."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(float(wave[a]), float(wave[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _is_mask(given: Any) -> bool:
    return np.asarray(given, dtype=object).ndim == 1 and np.asarray(given).dtype == bool


def _mask(name: str, given: Any, n_pix: int) -> np.ndarray:
    mask = np.asarray(given)
    if mask.shape != (n_pix,):
        raise SlamError(
            f"the mask of label {name!r} has {mask.size} pixels but prepared spectra have {n_pix}; give one of these, "
            "or windows"
        )
    return mask


def _windows(name: str, given: Any, wave: np.ndarray) -> np.ndarray:
    try:
        windows = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        windows = np.empty(0)
    if windows.ndim != 2 or windows.shape[1] != 2 or not np.all(windows[:, 0] < windows[:, 1]):
        raise SlamError(
            f"the mask of label {name!r} is {given!r}; give windows (low, high) of wavelengths, low below high, in "
            "which it may be used, or a (P,) array of bool"
        )
    return np.any((wave[:, None] >= windows[:, 0]) & (wave[:, None] <= windows[:, 1]), axis=1)
