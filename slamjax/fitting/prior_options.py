"""What can be given as the prior of a fit, and what it says of each spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.fitting.prior import Prior
from slamjax.forward.label_density import LabelDensity
from slamjax.model.known_labels import known_labels, value_and_error
from slamjax.model.model import Model
from slamjax.model.named_labels import in_unit, label_index
from slamjax.spectra.spectra import Spectra
from slamjax.typing import LogPrior

#: See `slamjax.Fitter`.
PriorOption: TypeAlias = Any
#: The name of the training stars' density.
TRAINING = "training"
_HIDDEN = "_prior {} {}"


@dataclass(frozen=True, eq=False)
class FitPrior:
    """A prior as given: factors that all stars share, and labels known from elsewhere.

    Attributes
    ----------
    model : whose labels it is about
    prior : the shared factors
    known : label to (value, error): numbers, arrays of N stars, or names of columns
    """

    model: Model
    prior: Prior
    known: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @classmethod
    def from_option(cls, model: Model, given: PriorOption) -> FitPrior | None:
        """From what `slamjax.Fitter` is given; None for no prior."""
        if given is None:
            return None
        densities: list[LabelDensity] = []
        functions: list[LogPrior] = []
        known: dict[str, tuple[Any, Any]] = {}
        for factor in given if isinstance(given, list | tuple) else [given]:
            if isinstance(factor, str) and factor == TRAINING:
                stars = np.asarray(model.training_labels.stars)
                densities.append(LabelDensity.from_stars(model.host_emulator.scaling, stars))
            elif isinstance(factor, Mapping):
                known |= _checked(model, factor)
            elif callable(getattr(factor, "log_prob", None)):
                functions.append(_of_distribution(model, factor))
            elif callable(factor):
                functions.append(factor)
            else:
                raise SlamError(
                    f"prior is {factor!r}; give 'training', a function of the labels, a distribution with log_prob, or "
                    "a dict {label: (value, error)}"
                )
        return cls(model, Prior(tuple(densities), tuple(functions)), known)

    @property
    def has_arrays(self) -> bool:
        """Whether it holds values of certain stars, which parts of a table cannot be told of."""
        return any(np.ndim(part) > 0 for pair in self.known.values() for part in pair)

    def attached(self, spectra: Spectra) -> Spectra:
        """The spectra with arrays of the prior as columns, so that each spectrum keeps its own through all parts."""
        table = Table(spectra.table, copy=False)
        for name, pair in self.known.items():
            unit = self.model.info.label_units[label_index(self.model, name)]
            for what, part in zip(("value", "error"), pair, strict=True):
                if np.ndim(part) == 0:
                    continue
                values = np.asarray(in_unit(part, unit, name), float)
                if values.shape != (len(spectra),):
                    raise SlamError(f"the prior of {name!r} has {len(values)} values for {len(spectra)} spectra")
                table[_HIDDEN.format(name, what)] = values
        return spectra._with(table=table)

    def of_stars(self, spectra: Spectra) -> tuple[Float[np.ndarray, "star label"], Float[np.ndarray, "star label"]]:
        """Known labels (N, L) of spectra that are `attached`, and 1 / σ²; 0 for a label that is not known."""
        n, n_labels = len(spectra), len(self.model.label_names)
        if not self.known:
            return np.zeros((n, n_labels)), np.zeros((n, n_labels))
        given = {
            name: tuple(
                _numbers(spectra, _HIDDEN.format(name, what) if np.ndim(part) else part)
                for what, part in zip(("value", "error"), pair, strict=True)
            )
            for name, pair in self.known.items()
        }
        value, error = (np.broadcast_to(part, (n, n_labels)) for part in known_labels(self.model, given))
        return value, 1 / np.square(error)

    def identity(self) -> list[Any]:
        """What tells it from another: names, numbers and arrays."""
        functions = [getattr(each, "__self__", each) for each in self.prior.functions]
        named = [f"{getattr(each, '__module__', '')}.{getattr(each, '__qualname__', each)}" for each in functions]
        return [len(self.prior.densities), named, [(name, *map(np.asarray, pair)) for name, pair in self.known.items()]]


def _checked(model: Model, given: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The mapping with pairs; numbers are checked now, columns when spectra come."""
    if not given:
        raise SlamError("the prior names no label; leave it out or give {label: (value, error)}")
    for name in given:
        label_index(model, name)
    pairs = {name: value_and_error(name, pair) for name, pair in given.items()}
    plain = {name: pair for name, pair in pairs.items() if not any(isinstance(part, str) for part in pair)}
    if plain:
        known_labels(model, plain)
    return pairs


def _of_distribution(model: Model, factor: Any) -> LogPrior:
    """ln p of a distribution of one star's labels."""
    batch, event = (tuple(getattr(factor, f"{what}_shape", ())) for what in ("batch", "event"))
    n_labels = len(model.label_names)
    if batch or event not in ((), (n_labels,)):
        raise SlamError(
            f"the prior has batch shape {batch} and event shape {event}; give one of all {n_labels} labels "
            "(combine scalar distributions with .to_event(1)), and labels of single stars as {label: (value, error)}"
        )
    return factor.log_prob


def _numbers(spectra: Spectra, part: Any) -> Any:
    """A number, or a column of the spectra."""
    if not isinstance(part, str):
        return part
    spectra.require([part])
    return spectra.table[part]
