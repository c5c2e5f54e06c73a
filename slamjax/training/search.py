"""Hyper-parameters: which combinations of C, ε and γ are tried, and on which folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, ParameterGrid, ParameterSampler

from slamjax.errors import SlamError
from slamjax.training.specs import SVR, Polynomial, SearchSpec

Gamma = float | str


@dataclass(frozen=True)
class Candidate:
    """One combination of hyper-parameters, γ resolved to a number."""

    C: float
    epsilon: float
    gamma: float


@dataclass(frozen=True)
class Ridge:
    """The penalty of a polynomial's coefficients."""

    ridge: float


def svr_candidates(svr: SVR, x: np.ndarray, search: SearchSpec, seed: int = 0) -> tuple[Candidate, ...]:
    """The combinations to try: the one given, the grid of the lists given, or ``n_iter`` random draws.

    The same draws serve all pixels: pixels with the same γ share a kernel matrix.

    Raises SlamError for a value that no SVR can have.
    """
    drawn = _drawn({"C": svr.C, "epsilon": svr.epsilon, "gamma": svr.gamma}, search, seed)
    unique = dict.fromkeys(
        Candidate(
            _positive("C", item["C"]),
            _not_negative("epsilon", item["epsilon"]),
            resolve_gamma(item["gamma"], x),
        )
        for item in drawn
    )
    return tuple(unique)


def ridge_candidates(polynomial: Polynomial, search: SearchSpec, seed: int = 0) -> tuple[Ridge, ...]:
    """The penalties to try, as `svr_candidates`. Raises SlamError for a negative one."""
    drawn = _drawn({"ridge": polynomial.ridge}, search, seed)
    return tuple(dict.fromkeys(Ridge(_not_negative("ridge", item["ridge"])) for item in drawn))


def _drawn(asked: dict[str, Any], search: SearchSpec, seed: int) -> list[dict[str, Any]]:
    """The grid of the lists given, or random draws."""
    options = {name: _options(values) for name, values in asked.items()}
    if search.kind == "random":
        return list(ParameterSampler(options, n_iter=_at_most(options, search.n_iter), random_state=seed))
    endless = [name for name, values in options.items() if not isinstance(values, list)]
    if endless:
        raise SlamError(f"{endless[0]} is a distribution: a grid needs a list; use search='random'")
    return list(ParameterGrid(options))


def resolve_gamma(gamma: Gamma, x: np.ndarray) -> float:
    """γ as a number: "scale" is 1 / (L var(x)), "auto" is 1 / L, from *all* scaled training labels x (N, L).

    Resolved pixel by pixel, every mask would give its pixel a γ, and so a kernel matrix, of its own.
    """
    if isinstance(gamma, str):
        if gamma == "scale":
            variance = x.var()
            return float(1.0 / (x.shape[1] * variance)) if variance > 0 else 1.0
        if gamma == "auto":
            return 1.0 / x.shape[1]
        raise SlamError(f"gamma is {gamma!r}; give a number above 0, 'scale' or 'auto'")
    return _positive("gamma", gamma)


def make_folds(groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """(N,) the fold that holds each star out: shuffled K folds, repeat spectra of a star in the same one.

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
        # GroupKFold does not shuffle in older scikit-learn: the groups' numbers are shuffled instead
        shuffled = np.random.default_rng(seed).permutation(groups.max() + 1)[groups]
        splits = GroupKFold(n_folds).split(groups, groups=shuffled)
    fold = np.empty(len(groups), dtype=np.int64)
    for number, (_, held_out) in enumerate(splits):
        fold[held_out] = number
    return fold


def _options(values: Any) -> Any:
    if hasattr(values, "rvs"):
        return values
    if isinstance(values, str) or np.ndim(values) == 0:
        return [values]
    if len(values) == 0:
        raise SlamError("a list of hyper-parameters is empty; give at least one value")
    return list(values)


def _at_most(options: dict[str, Any], n_iter: int) -> int:
    """Draws without replacement from lists alone cannot outnumber the grid."""
    if all(isinstance(values, list) for values in options.values()):
        return min(n_iter, int(np.prod([len(values) for values in options.values()])))
    return n_iter


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SlamError(f"{name} is {value!r}; give a number") from error
    if not np.isfinite(number):
        raise SlamError(f"{name} is {value}; give a finite number")
    return number


def _positive(name: str, value: Any) -> float:
    number = _number(name, value)
    if number <= 0:
        raise SlamError(f"{name} is {number:g}; give a number above 0")
    return number


def _not_negative(name: str, value: Any) -> float:
    number = _number(name, value)
    if number < 0:
        raise SlamError(f"{name} is {number:g}; give 0 or more")
    return number
