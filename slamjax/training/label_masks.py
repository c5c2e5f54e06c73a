"""Which labels the flux of a pixel may depend on (the censoring of Casey et al. 2016, arXiv:1603.03040)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from slamjax.errors import SlamError
from slamjax.training.specs import DataSpec

#: Status of a pixel where every label is masked.
NO_LABEL = "every label is masked there"

Allowed = Bool[np.ndarray, "pixel label"]


def allowed_labels(data: DataSpec, names: Sequence[str], wave: np.ndarray, unit: str) -> Allowed:
    """(P, L) bool: whether a pixel's flux may depend on a label.

    Parameters
    ----------
    data : with ``label_windows`` (both ends included) and ``label_masks``; an unnamed label may act everywhere
    names : L labels
    wave, unit : (P,) the model's wavelengths, and their unit for messages

    Raises
    ------
    SlamError
        For a label that is not learnt or is named in both, wrong windows or masks, or a label left without any pixel.
    """
    windows, masks = data.label_windows or {}, data.label_masks or {}
    for option, given in (("label_windows", windows), ("label_masks", masks)):
        for name in given:
            if name not in names:
                raise SlamError(f"{option} names {name!r}, which is not among the labels {', '.join(names)}")
    twice = [name for name in windows if name in masks]
    if twice:
        raise SlamError(f"label {twice[0]!r} has both label_windows and label_masks; give one of them")
    allowed = np.ones((len(wave), len(names)), bool)
    for k, name in enumerate(names):
        if name in windows:
            allowed[:, k] = _within(name, windows[name], wave)
        elif name in masks:
            allowed[:, k] = ~_mask(name, masks[name], len(wave))
        if not allowed[:, k].any():
            raise SlamError(
                f"label {name!r} is left with none of the {len(wave)} pixels, {wave[0]:g} to {wave[-1]:g} {unit}; "
                "give windows within them, or a mask that is not True everywhere"
            )
    return allowed


def windows_of(allowed: Bool[np.ndarray, " pixel"], wave: np.ndarray) -> list[tuple[float, float]]:
    """First and last wavelength of every run of pixels at which a label may act."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], allowed, [False]]).astype(int)))
    return [(float(wave[a]), float(wave[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _mask(name: str, given: Any, n_pix: int) -> np.ndarray:
    mask = np.asarray(given)
    if mask.dtype != bool:
        raise SlamError(f"the mask of label {name!r} is not an array of bool; give True where the label is masked")
    if mask.shape != (n_pix,):
        raise SlamError(
            f"the mask of label {name!r} has {mask.size} pixels but prepared spectra have {n_pix}; give one per pixel, "
            "or use label_windows"
        )
    return mask


def _within(name: str, given: Any, wave: np.ndarray) -> np.ndarray:
    """(P,) bool: wavelengths inside any of the windows."""
    try:
        windows = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        windows = np.empty(0)
    if windows.ndim != 2 or windows.shape[1] != 2 or not np.all(windows[:, 0] < windows[:, 1]):
        raise SlamError(
            f"the windows of label {name!r} are {given!r}; give pairs (low, high) of wavelengths, low below high, at "
            "which it may act"
        )
    return np.any((wave[:, None] >= windows[:, 0]) & (wave[:, None] <= windows[:, 1]), axis=1)
