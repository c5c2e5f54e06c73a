"""Covariances of fitted parameters, and distances between minima in units of them."""

from __future__ import annotations

import numpy as np


def separation(
    x: np.ndarray, at: np.ndarray, curvatures: np.ndarray, curvature: np.ndarray, span: np.ndarray
) -> np.ndarray:
    """Squared distances (N, S) of the ends x (N, S, L) from the best, ``at``, in standard errors of both together.

    Unconstrained directions are as wide as the ``span`` of the labels, so that they separate nothing.
    """
    sound = np.all(np.isfinite(curvatures), axis=(2, 3))
    weakest = np.diag(1 / np.square(span))
    eye = np.eye(len(span))
    theirs = np.linalg.inv(np.where(sound[:, :, None, None], curvatures + weakest, eye))
    best = np.linalg.inv(curvature + weakest)
    apart = x - at[:, None]
    square = np.einsum("nsi,nsij,nsj->ns", apart, np.linalg.inv(theirs + best[:, None]), apart)
    return np.where(sound, square, 0)


def covariances(curvature: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of the curvature (N, L, L), and which labels (N, L) it does not constrain within their ``span`` (L,).

    A label whose error exceeds the span is known no better than to lie within the training range. A
    pseudo-inverse would give such a direction no variance at all; here such a label gets an infinite
    one.
    """
    scaled = curvature * span[:, None] * span[None, :]
    value, vector = np.linalg.eigh((scaled + np.swapaxes(scaled, 1, 2)) / 2)
    inverse = np.einsum("nij,nj,nkj->nik", vector, 1 / np.maximum(value, 1e-12), vector)
    unconstrained = np.einsum("nii->ni", inverse) > 1
    covariance = inverse * span[:, None] * span[None, :]
    either = unconstrained[:, :, None] | unconstrained[:, None, :]
    covariance = np.where(either, np.nan, covariance)
    diagonal = np.einsum("nii->ni", covariance)  # a view
    diagonal[unconstrained] = np.inf
    return covariance, unconstrained
