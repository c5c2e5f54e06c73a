"""The SVRs of all pixels, by whichever solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from slamjax.training.svr.pixel import PixelFit


@dataclass(frozen=True, eq=False)
class Fits:
    """Kernel sums over S stars for each of P pixels, and how K candidates did in cross-validation with F folds.

    Attributes
    ----------
    status : "trained" or why not
    n_train : good stars
    support : scaled labels of the S stars: all training stars, or the inducing ones
    dual, intercept : coefficients, zero where a star is no support vector; an intercept of NaN where not trained
    best : index of the chosen candidate, -1 for none
    scores : mean squared error of each candidate, in scaled flux
    held_out : prediction for each training star by the fit that had not seen it; NaN for unused stars
    fold_dual, fold_intercept : the fits that had not seen each fold
    """

    status: np.ndarray
    n_train: Int[np.ndarray, " pixel"]
    support: Float[np.ndarray, "support label"]
    dual: Float[np.ndarray, "support pixel"]
    intercept: Float[np.ndarray, " pixel"]
    best: Int[np.ndarray, " pixel"]
    scores: Float[np.ndarray, "pixel candidate"]
    held_out: Float[np.ndarray, "star pixel"]
    fold_dual: Float[np.ndarray, "fold support pixel"]
    fold_intercept: Float[np.ndarray, "fold pixel"]

    @classmethod
    def untrained(cls, support: np.ndarray, n_stars: int, n_pix: int, n_candidates: int, n_folds: int) -> Fits:
        """To be filled."""
        return cls(
            status=np.full(n_pix, "", dtype="U64"),
            n_train=np.zeros(n_pix, int),
            support=support,
            dual=np.zeros((len(support), n_pix)),
            intercept=np.full(n_pix, np.nan),
            best=np.full(n_pix, -1),
            scores=np.full((n_pix, n_candidates), np.nan),
            held_out=np.full((n_stars, n_pix), np.nan),
            fold_dual=np.zeros((n_folds, len(support), n_pix)),
            fold_intercept=np.full((n_folds, n_pix), np.nan),
        )

    @classmethod
    def stacked(cls, fits: list[PixelFit], x: Float[np.ndarray, "star label"]) -> Fits:
        """Of pixels whose support vectors are any of the training stars; empties the list, to keep nothing twice."""
        n_pix, (n_folds, n_stars) = len(fits), fits[0].fold_dual.shape
        columns = {
            "status": np.array([fit.status for fit in fits]),
            "n_train": np.array([fit.n_train for fit in fits]),
            "intercept": np.array([fit.intercept for fit in fits]),
            "best": np.array([fit.best for fit in fits]),
            "scores": np.stack([fit.scores for fit in fits]),
            "fold_intercept": np.stack([fit.fold_intercept for fit in fits], axis=1),
        }
        dual, held_out = np.empty((n_pix, n_stars)), np.empty((n_pix, n_stars))
        fold_dual = np.empty((n_pix, n_folds, n_stars))
        while fits:
            fit = fits.pop()
            dual[len(fits)], held_out[len(fits)], fold_dual[len(fits)] = fit.dual, fit.held_out, fit.fold_dual
        return cls(
            support=x, dual=dual.T, held_out=held_out.T, fold_dual=np.moveaxis(fold_dual, 0, -1), **columns
        )  # fmt: skip

    def put(self, pixels: np.ndarray, some: Fits) -> None:
        """The fits of some of the pixels."""
        for name in ("status", "n_train", "intercept", "best", "scores"):
            getattr(self, name)[pixels] = getattr(some, name)
        for name in ("dual", "held_out", "fold_dual", "fold_intercept"):
            getattr(self, name)[..., pixels] = getattr(some, name)
