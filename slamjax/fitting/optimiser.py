"""Options of the optimiser: method, iterations and loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slamjax.errors import SlamError
from slamjax.fitting.gradient import GradientMinimiser
from slamjax.fitting.levenberg_marquardt import LevenbergMarquardt
from slamjax.fitting.problem import LOSSES, Loss, Minimiser

Method = Literal["lm", "adam", "lbfgs"]
_MAX_ITER = {"lm": 60, "adam": 400, "lbfgs": 60}


@dataclass(frozen=True)
class OptimiserSpec:
    """Method, objective and limits of the search for the best labels.

    Parameters
    ----------
    method : {"lm", "adam", "lbfgs"}
        Levenberg-Marquardt for least squares; the other two (optax) for a robust loss.
    max_iter : int, optional
        Maximum iterations per start; by default 60 (lm), 400 (adam), 60 (lbfgs).
    loss : {"chi2", "soft_l1"}
        soft_l1 grows with |residual| only, so that a few wild pixels do not pull (adam and lbfgs).

    Raises
    ------
    SlamError
        If an option is unknown, or lm is asked for what is no sum of squares.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.OptimiserSpec("lbfgs", loss="soft_l1").max_iter
    60
    """

    method: Method = "lm"
    max_iter: int | None = None
    loss: Loss = "chi2"

    def __post_init__(self) -> None:
        if self.method not in _MAX_ITER:
            raise SlamError(f"unknown method {self.method!r}; choose one of {', '.join(_MAX_ITER)}")
        if self.loss not in LOSSES:
            raise SlamError(f"unknown loss {self.loss!r}; choose one of {', '.join(LOSSES)}")
        if self.max_iter is None:
            object.__setattr__(self, "max_iter", _MAX_ITER[self.method])
        elif self.max_iter < 1:
            raise SlamError(f"max_iter is {self.max_iter}; give at least 1")
        if self.method == "lm" and self.loss != "chi2":
            raise SlamError("method='lm' minimises sums of squares only; with another loss use method='lbfgs'")

    @classmethod
    def from_option(cls, given: OptimiserSpec | Method) -> OptimiserSpec:
        """The spec itself, or that of a method's name."""
        return given if isinstance(given, cls) else cls(method=given)  # type: ignore[arg-type]

    def minimiser(self) -> Minimiser:
        """The minimiser that the fit's driver runs."""
        assert self.max_iter is not None
        match self.method:
            case "lm":
                return LevenbergMarquardt(max_iter=self.max_iter)
            case "lbfgs":
                return GradientMinimiser("lbfgs", self.max_iter, stride=5)
            case _:
                return GradientMinimiser("adam", self.max_iter, stride=20)
