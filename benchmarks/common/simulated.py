"""Simulated stars with the errors of real ones, for the benchmarks of bounds and calibration."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import slamjax
from benchmarks.common import stars
from slamjax.model.model import Model
from slamjax.validation import crlb


def load_model(options: argparse.Namespace) -> tuple[Model, np.ndarray]:
    """The model of ``--model``, or one trained for this benchmark; and prepared ivars (M, P) of real test stars."""
    train, test = stars.load_stars(options)
    model = slamjax.Model.read(options.model) if options.model else stars.calibrated_model(train, options.cache)
    return model, model.prepare(test).ivar.astype(float)


def inner_stars(
    model: Model, ivar: np.ndarray, n: int, rng: np.random.Generator, *, margin: float = 3.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (n, L) well inside the training range, ivars (n, P) and Cramér-Rao bounds (n, L, L).

    Labels are those of training stars, shifted by a normal tenth of the training stars' spread, so that no star is one
    that trained the model. Kept are those with training stars in reach that are ``margin`` bounds or more from every
    edge of the range: a fit that is held at an edge scatters less than any bound allows.
    """
    scaling, training_labels = model.host_emulator.scaling, model.training_labels
    found: list[Sequence[np.ndarray]] = []
    count = 0
    while count < n:
        x = training_labels.stars[rng.choice(len(training_labels.stars), 2048)] + 0.1 * rng.normal(
            size=(2048, scaling.n_labels)
        )
        labels = np.asarray(scaling.inverse(x))
        weights = ivar[rng.choice(len(ivar), len(x))]
        bound = crlb(model, labels, weights)
        sigma = np.sqrt(np.einsum("nll->nl", bound)) / np.asarray(scaling.slope(x))
        room = np.minimum(x - training_labels.low, training_labels.high - x)
        kept = np.all(np.isfinite(sigma) & (room > margin * sigma), axis=1)
        kept &= ~np.asarray(training_labels.on_device().outside(x.astype(np.float32)))
        if not kept.any():
            raise SystemExit("no training star is far enough from the edge of the range: the errors are too large")
        found.append((labels[kept], weights[kept], bound[kept]))
        count += int(kept.sum())
    labels, weights, bound = (np.concatenate(parts)[:n] for parts in zip(*found, strict=True))
    return labels, weights, bound
