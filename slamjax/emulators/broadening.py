"""Emulators of wider lines: the flux of each pixel becomes a weighted mean of its neighbours'.

Flux is linear in the coefficients of a pixel, so the mean of pixels with one kernel is one more expansion in the same
kernel: broadening costs nothing afterwards.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.sparse import csr_array, diags_array

from slamjax.emulators.base import Emulator
from slamjax.emulators.polynomial import PolynomialEmulator
from slamjax.emulators.svr import KernelEmulator


def can_broaden(emulator: Emulator) -> bool:
    """Whether `broadened` applies: a polynomial, a compressed emulator, or one kernel for all pixels."""
    if isinstance(emulator, KernelEmulator):
        return emulator.basis is not None or emulator.n_groups == 1
    return isinstance(emulator, PolynomialEmulator)


def broadened(emulator: Emulator, weights: csr_array) -> Emulator:
    """The emulator whose flux is ``weights`` (P, P) times the old one's; untrained pixels stay so and do not count.

    Parameters
    ----------
    emulator : Emulator
        On the host.
    weights : sparse (P, P)
        A row per new pixel; rows are normalised over trained pixels.
    """
    trained = np.isfinite(np.asarray(emulator.intercept))
    scale = np.asarray(emulator.flux_scale, float)
    kept = csr_array(weights) @ diags_array(trained.astype(float))
    total = kept.sum(axis=1)
    mean = diags_array(1 / np.where(total > 0, total, 1)) @ kept
    offset = scale * np.where(trained, emulator.intercept, 0)
    constant = np.asarray(emulator.flux_mean, float) + offset
    flux_mean = np.where(trained, mean @ np.where(trained, constant, 0) - offset, emulator.flux_mean)
    # from scaled flux of the old pixels to that of the new ones
    change = csr_array(diags_array(scale) @ mean.T @ diags_array(1 / scale))

    def mixed(coefficients: Any) -> np.ndarray:
        return np.asarray((change.T @ np.asarray(coefficients, float).T).T)

    changed: dict[str, Any] = {"flux_mean": flux_mean}
    if isinstance(emulator, KernelEmulator) and emulator.basis is None:
        (block,) = emulator.blocks
        dual = np.asarray(block.dual)[0]
        dual = dual[:, : emulator.n_pix] if emulator.order is None else dual[:, np.asarray(emulator.order)]
        changed |= {"blocks": (dataclasses.replace(block, dual=mixed(dual)[None]),), "order": None}
    else:
        changed["basis"] = mixed(emulator.basis)
    return dataclasses.replace(emulator, **changed)  # type: ignore[type-var]
