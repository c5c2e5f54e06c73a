"""Options of training as frozen, checked objects: every default is defined here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

import numpy as np

from slamjax.emulators.kernels import check_kernel
from slamjax.emulators.scaling import Method
from slamjax.errors import SlamError
from slamjax.preprocessing.recipe import Recipe
from slamjax.training.choices import Choice, check_choice, not_negative, positive, valid_gamma

SolverName = Literal["auto", "batched", "inducing", "sklearn"]
MetricKind = Literal["isotropic", "learned"]
SearchKind = Literal["grid", "random", "joint"]
PhotonKind = Literal["auto", "stated", "learnt"]
NoiseKind = Literal["auto", "lowrank", "diagonal"]
Weights = Literal["ivar", "uniform"]
Missing = Literal["infer", "drop"]
LabelErrorKind = Literal["auto", "latent", "fixed"]


@dataclass(frozen=True)
class SVR:
    """SLAM: one support vector regression per pixel, with scikit-learn's options.

    Parameters
    ----------
    C, epsilon, gamma : float, sequence of float, or scipy distribution (random search)
        Penalty, half-width of the insensitive tube, and kernel width, in scaled flux and labels; among several, each
        pixel's are chosen by cross-validation. γ may also be "scale", 1 / (L var(x)), or "auto", 1 / L.
    kernel : "rbf", "linear", "poly" or "sigmoid"
        As in scikit-learn.
    degree : int
        Of the poly kernel.
    coef0 : float
        Of the poly and sigmoid kernels.
    metric : "isotropic", "learned" or sequence of L floats
        How wide the kernel is in each label. "isotropic": equally, in standardised labels, as published. "learned":
        length scales, shared by all pixels, are proposed by marginal likelihood; they are taken if that makes the known
        labels of held-out stars more probable. Or length scales in units of the labels (of log10 for labels that are
        learnt so), by which differences are divided.
    solver : "auto", "batched", "inducing" or "sklearn"
        "batched" solves all pixels, folds, C and ε of one γ on one kernel matrix, to the same optimality conditions; it
        needs numba (``pip install "slamjax[fast]"``). "inducing" is for many stars: every star counts, but all sums are
        over some of them, which span the others, so that time and memory grow in proportion to the stars. "auto" takes
        it for more than 5,000 stars; for fewer "batched", if numba is installed and the problem is not small. The
        sigmoid kernel is always solved by scikit-learn.
    n_inducing : int
        Inducing stars, at most; fewer if these span all others.
    tol, max_iter : float, int
        Stopping tolerance and iteration limit (-1: none) of libsvm; for inducing stars the relative duality gap.
    n_jobs : int
        Parallel workers; -1: all cores.

    Raises
    ------
    SlamError
        For a value that no SVR can have.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.SVR(C=[1, 10], epsilon=0.05, gamma=0.1).C
    [1, 10]
    """

    C: Choice = 1.0
    epsilon: Choice = 0.1
    gamma: Choice = "scale"
    kernel: str = "rbf"
    degree: int = 3
    coef0: float = 0.0
    metric: MetricKind | tuple[float, ...] = "learned"
    solver: SolverName = "auto"
    n_inducing: int = 1000
    tol: float = 1e-3
    max_iter: int = -1
    n_jobs: int = -1

    def __post_init__(self) -> None:
        check_choice("C", self.C, positive)
        check_choice("epsilon", self.epsilon, not_negative)
        check_choice("gamma", self.gamma, valid_gamma)
        check_kernel(self.kernel)
        _check_degree(self.degree)
        _check_word("solver", self.solver, get_args(SolverName))
        if not np.isfinite(self.coef0):
            raise SlamError(f"coef0 is {self.coef0}; give a finite number")
        if self.n_inducing < 1:
            raise SlamError(f"n_inducing is {self.n_inducing}; give 1 or more")
        _check_metric(self.metric)
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
    ridge : float, sequence of float, or scipy distribution (random search)
        Penalty of all coefficients except the constant, in scaled flux and labels (scikit-learn's alpha; 0: plain least
        squares); among several, each pixel's is chosen by cross-validation.

    Raises
    ------
    SlamError
        For a degree below 1 or a negative penalty.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.Polynomial(degree=3, ridge=1.0)
    Polynomial(degree=3, ridge=1.0)
    """

    degree: int = 2
    ridge: Choice = (0.0, 0.1, 1.0, 10.0, 100.0)

    def __post_init__(self) -> None:
        _check_degree(self.degree)
        check_choice("ridge", self.ridge, not_negative)


@dataclass(frozen=True)
class SearchSpec:
    """How hyper-parameters are chosen.

    Parameters
    ----------
    kind : "grid", "random" or "joint"
        "grid" and "random" choose for each pixel by mean squared error; "joint" tries the grid and chooses one
        combination for all pixels, which gives the known labels of held-out stars the largest probability.
    n_iter : int
        Combinations that a random search draws.
    folds : int
        Shuffled cross-validation folds; held-out stars give the scores and the model error.

    Raises
    ------
    SlamError
        For an unknown kind, no draw, or fewer than two folds.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.SearchSpec("random", n_iter=50)
    SearchSpec(kind='random', n_iter=50, folds=5)
    """

    kind: SearchKind = "grid"
    n_iter: int = 20
    folds: int = 5

    def __post_init__(self) -> None:
        _check_word("search", self.kind, get_args(SearchKind))
        if self.n_iter < 1:
            raise SlamError(f"n_iter is {self.n_iter}; a random search draws at least one combination")
        if not isinstance(self.folds, int | np.integer) or self.folds < 2:
            raise SlamError(f"folds is {self.folds}; give at least 2: the model error needs stars held out")

    @classmethod
    def from_option(cls, given: Self | SearchKind) -> Self:
        """A spec as it is, or the default one of a kind."""
        return given if isinstance(given, cls) else cls(kind=given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class NoiseSpec:
    """How the noise model is learnt from the residuals of held-out stars.

    Parameters
    ----------
    kind : "auto", "lowrank" or "diagonal"
        Correlated pixels ("lowrank"), or independent ones ("diagonal", as published: label errors are too small if
        pixels are correlated). "auto" takes what gives the known labels of held-out stars the larger probability, and
        the whole covariance of pixels that are fewer than any rank.
    ranks : sequence of int
        Numbers of columns of the low-rank covariance to try.
    floors : sequence of float
        Fractions of each pixel's variance that stay independent, to try.
    photons : "auto", "stated" or "learnt"
        Photon noise of a low-rank model: what the stated errors say, so that a model trained on bright stars holds for
        faint ones, or learnt from the residuals of stars of different brightness. "auto" learns it only if that gives
        known labels a clearly larger probability.

    Raises
    ------
    SlamError
        For an unknown word, a rank below 1, or a floor outside 0 to 1.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.NoiseSpec("lowrank", ranks=(10, 20)).ranks
    (10, 20)
    """

    kind: NoiseKind = "auto"
    ranks: tuple[int, ...] = (10, 20, 40, 60)
    floors: tuple[float, ...] = (0.1, 0.2, 0.4)
    photons: PhotonKind = "auto"

    def __post_init__(self) -> None:
        _check_word("noise", self.kind, get_args(NoiseKind))
        _check_word("photons", self.photons, get_args(PhotonKind))
        if not self.ranks or min(self.ranks) < 1:
            raise SlamError(f"ranks are {self.ranks}; give at least one, 1 or more")
        if not self.floors or not all(0 < floor <= 1 for floor in self.floors):
            raise SlamError(f"floors are {self.floors}; give at least one, above 0 and up to 1")

    @classmethod
    def from_option(cls, given: Self | NoiseKind) -> Self:
        """A spec as it is, or the default one of a kind."""
        return given if isinstance(given, cls) else cls(kind=given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class DataSpec:
    """Which stars and pixels train, how they are weighted and scaled.

    Parameters
    ----------
    n_train : int, optional
        Draw this many of the usable stars, by the seed of training; default: all.
    weights : "ivar" or "uniform"
        A star's weight in a pixel. With "ivar", C is multiplied by ivar / mean ivar of the pixel. Either way a bad
        pixel leaves the star out of that pixel only.
    min_stars : int, optional
        A pixel with fewer good stars is not trained. Default: the largest of 10, 2 per fold, and 5 per label (of a
        polynomial 2 per coefficient).
    label_scaling, flux_scaling : "standard" or "robust"
        By mean and standard deviation, or by percentiles.
    label_windows : mapping of str to sequence of (float, float), optional
        The only wavelengths (low, high) at which a label may act, in the unit of the prepared spectra; elsewhere the
        flux does not depend on it. A label that is not named may act everywhere.
    label_masks : mapping of str to (P,) bool array, optional
        The same by pixels of the prepared spectra: True where a label is masked, as in numpy.ma. A label may be named
        in one of both only.
    screen : bool
        Leave out stars with absurd labels and stars whose held-out residuals are many times those of the others, and
        pixels that tell nothing, with a warning; `ModelInfo.screened` lists the stars and the reasons.
    missing : "infer" or "drop"
        A star that lacks some labels (NaN) teaches the others, while what it lacks is inferred from its spectrum and
        the labels that it has; or it is left out.
    label_errors : "auto", "latent" or "fixed"
        Labels with stated errors (columns ``<label>_err``) teach as they are ("fixed"), or as what is most probable
        given the table, its errors and the spectrum ("latent"): errors of labels make an emulator too flat. "auto"
        tries "latent" where typical errors make up a tenth of the variance of some combination of labels, and takes it
        if the table's labels of held-out stars become clearly more probable.

    Raises
    ------
    SlamError
        For an unknown choice, or ``min_stars`` below 2.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.DataSpec(n_train=1000, label_windows={"alpha_m": [(500, 540)]}).n_train
    1000
    """

    n_train: int | None = None
    weights: Weights = "ivar"
    min_stars: int | None = None
    label_scaling: Method = "standard"
    flux_scaling: Method = "standard"
    label_windows: Mapping[str, Sequence[tuple[float, float]]] | None = None
    label_masks: Mapping[str, Any] | None = None
    screen: bool = True
    missing: Missing = "infer"
    label_errors: LabelErrorKind = "auto"

    def __post_init__(self) -> None:
        _check_word("weights", self.weights, get_args(Weights))
        _check_word("missing", self.missing, get_args(Missing))
        _check_word("label_errors", self.label_errors, get_args(LabelErrorKind))
        _check_word("label_scaling", self.label_scaling, get_args(Method))
        _check_word("flux_scaling", self.flux_scaling, get_args(Method))
        if self.min_stars is not None and self.min_stars < 2:
            raise SlamError(f"min_stars is {self.min_stars}; give 2 or more")


@dataclass(frozen=True)
class TrainingSpec:
    """The options of `slamjax.train` that do not depend on the emulator, for `slamjax.compare`.

    Parameters
    ----------
    recipe, search, noise, log_labels, data, seed
        As in `slamjax.train`.

    Examples
    --------
    >>> import slamjax
    >>> training = slamjax.TrainingSpec(noise="diagonal", data=slamjax.DataSpec(n_train=500))
    >>> training.noise
    'diagonal'
    """

    recipe: Recipe | None = None
    search: SearchKind | SearchSpec = "grid"
    noise: NoiseKind | NoiseSpec = "auto"
    log_labels: Sequence[str] = ()
    data: DataSpec = field(default_factory=DataSpec)
    seed: int = 0


def _check_word(name: str, given: Any, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise SlamError(f"unknown {name} {given!r}; choose one of {', '.join(allowed)}")


def _check_metric(given: Any) -> None:
    if isinstance(given, str):
        return _check_word("metric", given, get_args(MetricKind))
    lengths = np.asarray(given)
    if lengths.dtype.kind not in "fiu" or lengths.ndim != 1 or not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise SlamError(
            f"metric is {given!r}; give a length scale above 0 for each label, or one of "
            f"{', '.join(get_args(MetricKind))}"
        )


def _check_degree(degree: int) -> None:
    if degree < 1:
        raise SlamError(f"degree is {degree}; give 1 or more")
