"""Options of training as frozen, checked objects: every default stands here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np

from slamjax.emulators.kernels import check_kernel
from slamjax.emulators.scaling import Method
from slamjax.errors import SlamError
from slamjax.preprocessing.recipe import Recipe

#: A number, several to choose among, or (random search) anything with ``rvs``, such as ``scipy.stats.loguniform``.
Choice: TypeAlias = Any

SolverName = Literal["auto", "batched", "sklearn"]
SearchKind = Literal["grid", "random", "joint"]
NoiseKind = Literal["auto", "lowrank", "diagonal"]
Weights = Literal["ivar", "uniform"]


@dataclass(frozen=True)
class SVR:
    """SLAM: one support vector regression per pixel, with scikit-learn's options.

    Parameters
    ----------
    C, epsilon, gamma : number, sequence, or scipy distribution (random search)
        Hyper-parameters in scaled flux and labels; among several, each pixel's are chosen by cross-validation. γ may
        be "scale", 1 / (L var(x)), or "auto", 1 / L.
    kernel : "rbf", "linear", "poly" or "sigmoid"
    degree : int
        Of the poly kernel.
    coef0 : float
        Of the poly and sigmoid kernels.
    solver : "auto", "batched" or "sklearn"
        "batched" solves all pixels, folds, C and ε of one γ on one kernel matrix, to the same optimality conditions
        (``pip install "slamjax[fast]"``). "auto" takes it where numba is installed and the problem is not small. The
        sigmoid kernel always goes to scikit-learn.
    tol, max_iter : float, int
        libsvm's stopping tolerance and iteration limit (-1: none).
    n_jobs : int
        Parallel workers; -1: all cores.

    Raises
    ------
    SlamError
        For a setting that no SVR can have.
    """

    C: Choice = 1.0
    epsilon: Choice = 0.1
    gamma: Choice = "scale"
    kernel: str = "rbf"
    degree: int = 3
    coef0: float = 0.0
    solver: SolverName = "auto"
    tol: float = 1e-3
    max_iter: int = -1
    n_jobs: int = -1

    def __post_init__(self) -> None:
        check_kernel(self.kernel)
        _check_degree(self.degree)
        _check_choice("solver", self.solver, get_args(SolverName))
        if not np.isfinite(self.coef0):
            raise SlamError(f"coef0 is {self.coef0}; give a finite number")
        if not self.tol > 0:
            raise SlamError(f"tol is {self.tol}; give a number above 0")
        if self.max_iter != -1 and self.max_iter < 1:
            raise SlamError(f"max_iter is {self.max_iter}; give 1 or more, or -1 for no limit")
        if self.n_jobs == 0:
            raise SlamError("n_jobs is 0; give a number of workers, or -1 for all cores")


@dataclass(frozen=True)
class Polynomial:
    """The Cannon: one polynomial in the labels per pixel, by least squares.

    Parameters
    ----------
    degree : int
        2 is The Cannon's quadratic (Ness et al. 2015, ApJ 808, 16).
    ridge : number, sequence, or scipy distribution (random search)
        Penalty of all coefficients but the constant one, in scaled flux and labels (scikit-learn's alpha; 0: plain
        least squares); among several, each pixel's is chosen by cross-validation.

    Raises
    ------
    SlamError
        If the degree is below 1.
    """

    degree: int = 2
    ridge: Choice = (0.0, 0.1, 1.0, 10.0, 100.0)

    def __post_init__(self) -> None:
        _check_degree(self.degree)


@dataclass(frozen=True)
class SearchSpec:
    """How hyper-parameters are chosen.

    Parameters
    ----------
    kind : "grid", "random" or "joint"
        Grid and random search choose pixel by pixel by mean squared error; "joint" tries the grid and chooses one
        combination for all pixels: the one that gives the known labels of held-out stars the largest probability.
    n_iter : int
        Combinations that a random search draws.
    folds : int
        Shuffled cross-validation folds; held-out stars give the scores and the model error.

    Raises
    ------
    SlamError
        For an unknown kind, no draw, or fewer than two folds.
    """

    kind: SearchKind = "grid"
    n_iter: int = 20
    folds: int = 5

    def __post_init__(self) -> None:
        _check_choice("search", self.kind, get_args(SearchKind))
        if self.n_iter < 1:
            raise SlamError(f"n_iter is {self.n_iter}; a random search draws at least one combination")
        if not isinstance(self.folds, int | np.integer) or self.folds < 2:
            raise SlamError(f"folds is {self.folds}; give at least 2: the model error needs stars held out")

    @classmethod
    def from_option(cls, given: Self | SearchKind) -> Self:
        """The spec itself, or the default one of a kind."""
        return given if isinstance(given, cls) else cls(kind=given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class NoiseSpec:
    """How the noise model is learnt from the residuals of held-out stars.

    Parameters
    ----------
    kind : "auto", "lowrank" or "diagonal"
        Pixels correlated with each other, or independent (as published; label errors then are too small where pixels
        are correlated). "auto" takes what gives the known labels of held-out stars the larger probability.
    ranks : sequence of int
        Columns of the low-rank covariance that are tried.
    floors : sequence of float
        Parts of each pixel's variance that are kept independent, to be tried.

    Raises
    ------
    SlamError
        For an unknown kind, a rank below 1, or a floor outside 0 to 1.
    """

    kind: NoiseKind = "auto"
    ranks: tuple[int, ...] = (10, 20, 40, 60)
    floors: tuple[float, ...] = (0.1, 0.2, 0.4)

    def __post_init__(self) -> None:
        _check_choice("noise", self.kind, get_args(NoiseKind))
        if not self.ranks or min(self.ranks) < 1:
            raise SlamError(f"ranks are {self.ranks}; give at least one, 1 or more")
        if not self.floors or not all(0 < floor <= 1 for floor in self.floors):
            raise SlamError(f"floors are {self.floors}; give at least one, above 0 and up to 1")

    @classmethod
    def from_option(cls, given: Self | NoiseKind) -> Self:
        """The spec itself, or the default one of a kind."""
        return given if isinstance(given, cls) else cls(kind=given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class DataSpec:
    """Which stars and pixels train, how they are weighted and scaled.

    Parameters
    ----------
    n_train : int, optional
        Draw that many of the usable stars by the seed of training.
    weights : "ivar" or "uniform"
        A star's weight in a pixel. With "ivar", C is multiplied by ivar over the pixel's mean ivar. Either way a bad
        pixel leaves the star out of that pixel only.
    min_stars : int, optional
        A pixel with fewer good stars is not trained; default: the largest of 10, 2 per fold and 5 per label, for a
        polynomial 2 per coefficient.
    label_scaling, flux_scaling : "standard" or "robust"
        Mean and standard deviation, or percentiles.
    label_windows : mapping of label to windows, optional
        The only wavelengths at which a label may act: ``[(low, high), ...]`` in the prepared spectra's unit.
    label_masks : mapping of label to (P,) bool, optional
        True where a label is masked, as in numpy.ma: there the flux does not depend on the label at all.

    Raises
    ------
    SlamError
        For an unknown choice, or fewer than two stars.
    """

    n_train: int | None = None
    weights: Weights = "ivar"
    min_stars: int | None = None
    label_scaling: Method = "standard"
    flux_scaling: Method = "standard"
    label_windows: Mapping[str, Sequence[tuple[float, float]]] | None = None
    label_masks: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_choice("weights", self.weights, get_args(Weights))
        _check_choice("label_scaling", self.label_scaling, get_args(Method))
        _check_choice("flux_scaling", self.flux_scaling, get_args(Method))
        if self.min_stars is not None and self.min_stars < 2:
            raise SlamError(f"min_stars is {self.min_stars}; give 2 or more")


@dataclass(frozen=True)
class TrainingSpec:
    """Options of `slamjax.train` that do not depend on the emulator: what several trainings have in common.

    Parameters
    ----------
    recipe, search, noise, log_labels, data, seed
        As in `slamjax.train`.
    """

    recipe: Recipe | None = None
    search: SearchKind | SearchSpec = "grid"
    noise: NoiseKind | NoiseSpec = "auto"
    log_labels: Sequence[str] = ()
    data: DataSpec = field(default_factory=DataSpec)
    seed: int = 0


def _check_choice(name: str, given: Any, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise SlamError(f"unknown {name} {given!r}; choose one of {', '.join(allowed)}")


def _check_degree(degree: int) -> None:
    if degree < 1:
        raise SlamError(f"degree is {degree}; give 1 or more")
