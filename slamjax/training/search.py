"""Hyper-parameter search: the combinations that are tried, and the folds of cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, ParameterGrid, ParameterSampler

from slamjax.errors import SlamError
from slamjax.training.choices import not_negative, options_of, positive, valid_gamma
from slamjax.training.specs import SVR, Polynomial, SearchSpec

Gamma = float | str


@dataclass(frozen=True)
class Candidate:
    """One combination of hyper-parameters, with γ as a number."""

    C: float
    epsilon: float
    gamma: float


@dataclass(frozen=True)
class Ridge:
    """The penalty of a polynomial's coefficients."""

    ridge: float


def svr_candidates(svr: SVR, x: np.ndarray, search: SearchSpec, seed: int = 0) -> tuple[Candidate, ...]:
    """The combinations to try: those of the lists, or ``n_iter`` random draws, the same for all pixels.

    Raises SlamError for a drawn value that no SVR can have.
    """
    drawn = _drawn({"C": svr.C, "epsilon": svr.epsilon, "gamma": svr.gamma}, search, seed)
    unique = dict.fromkeys(
        Candidate(
            positive("C", item["C"]),
            not_negative("epsilon", item["epsilon"]),
            resolve_gamma(item["gamma"], x),
        )
        for item in drawn
    )
    return tuple(unique)


def ridge_candidates(polynomial: Polynomial, search: SearchSpec, seed: int = 0) -> tuple[Ridge, ...]:
    """The penalties to try, as in `svr_candidates`."""
    drawn = _drawn({"ridge": polynomial.ridge}, search, seed)
    return tuple(dict.fromkeys(Ridge(not_negative("ridge", item["ridge"])) for item in drawn))


def _drawn(asked: dict[str, Any], search: SearchSpec, seed: int) -> list[dict[str, Any]]:
    """The grid of the lists, or random draws."""
    options = {name: options_of(values) for name, values in asked.items()}
    if search.kind == "random":
        return list(ParameterSampler(options, n_iter=_at_most(options, search.n_iter), random_state=seed))
    distributions = [name for name, values in options.items() if not isinstance(values, list)]
    if distributions:
        raise SlamError(f"{distributions[0]} is a distribution: a grid needs a list; use search='random'")
    return list(ParameterGrid(options))


def resolve_gamma(gamma: Gamma, x: np.ndarray) -> float:
    """γ as a number: "scale" is 1 / (L var(x)), "auto" is 1 / L, from *all* scaled training labels x (N, L).

    Resolved per pixel, each bad pixel of a star would lead to another γ, and so to another kernel matrix.
    """
    gamma = valid_gamma("gamma", gamma)
    if gamma == "scale":
        variance = x.var()
        return float(1.0 / (x.shape[1] * variance)) if variance > 0 else 1.0
    return 1.0 / x.shape[1] if gamma == "auto" else float(gamma)


def make_folds(groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """(N,) the fold that holds each star out: shuffled, with all spectra of a star in the same one.

    Raises SlamError if there are fewer stars than folds.
    """
    n_stars = len(np.unique(groups))
    if not isinstance(n_folds, (int, np.integer)) or n_folds < 2:
        raise SlamError(f"folds is {n_folds}; give at least 2: the model error needs stars held out")
    if n_stars < n_folds:
        raise SlamError(f"{n_stars} training stars cannot make {n_folds} folds; give more stars or fewer folds")
    if n_stars == len(groups):
        splits = KFold(n_folds, shuffle=True, random_state=seed).split(groups)
    else:
        # GroupKFold of older scikit-learn does not shuffle: shuffle the numbers of the groups instead
        shuffled = np.random.default_rng(seed).permutation(groups.max() + 1)[groups]
        splits = GroupKFold(n_folds).split(groups, groups=shuffled)
    fold = np.empty(len(groups), dtype=np.int64)
    for number, (_, held_out) in enumerate(splits):
        fold[held_out] = number
    return fold


def _at_most(options: dict[str, Any], n_iter: int) -> int:
    """Draws from lists alone are without replacement and cannot outnumber the grid."""
    if all(isinstance(values, list) for values in options.values()):
        return min(n_iter, int(np.prod([len(values) for values in options.values()])))
    return n_iter
