"""What a call of `slamjax.sample` conditions on: the prior as a product of distributions, and fixed labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions.batch_util import promote_batch_shape

from slamjax.errors import SlamError
from slamjax.model.model import Model
from slamjax.model.named_labels import in_unit, label_index, warn_outside
from slamjax.sampling.distributions import LabelNormal, Product
from slamjax.sampling.priors import known, training_density, training_range

#: What can be given as a prior of labels, see `slamjax.Sampler.sample`.
Prior: TypeAlias = dist.Distribution | Mapping[str, Any] | str | None


@dataclass(frozen=True)
class PriorFactors:
    """A prior as a product: distributions that all stars share, and those whose arrays have one row per star."""

    shared: tuple[dist.Distribution, ...]
    per_star: tuple[dist.Distribution, ...]

    @classmethod
    def from_option(cls, model: Model, prior: Prior | Sequence[Prior], n: int) -> PriorFactors:
        """The prior of n stars as `slamjax.sample` is given it."""
        given = list(prior) if isinstance(prior, list | tuple) else [prior]
        if len(given) == 1 and isinstance(given[0], Mapping):
            given = [None, given[0]]
        shared, per_star = [], []
        for factor in (factor for each in given for factor in _factors(model, each)):
            if factor.event_shape != (len(model.label_names),):
                raise SlamError(
                    f"the prior has event shape {factor.event_shape}; this model has {len(model.label_names)} labels "
                    "(combine scalar distributions with .to_event(1))"
                )
            if factor.batch_shape == ():
                shared.append(factor)
            elif factor.batch_shape == (n,):
                per_star.append(_with_rows(factor, n))
            else:
                raise SlamError(f"the prior has batch shape {factor.batch_shape}; it must be () or ({n},)")
        return cls(tuple(shared), tuple(per_star))


def _factors(model: Model, prior: Any) -> Sequence[dist.Distribution]:
    if prior is None or (isinstance(prior, str) and prior == "uniform"):
        return (training_range(model),)
    if isinstance(prior, str) and prior == "training":
        return (training_density(model),)
    if isinstance(prior, Mapping):
        return (known(model, prior),)
    if isinstance(prior, Product):
        return prior.factors
    if isinstance(prior, dist.Distribution):
        return (prior,)
    raise SlamError(
        f"prior is {prior!r}; give 'uniform', 'training', a NumPyro distribution or a dict {{label: (values, errors)}}"
    )


def _with_rows(factor: dist.Distribution, n: int) -> dist.Distribution:
    """The distribution with every array of shape (N, ...), so that stars can be selected."""
    promoted = factor if isinstance(factor, LabelNormal | Product) else promote_batch_shape(factor)
    leaves = jax.tree_util.tree_leaves(promoted)
    if all(jnp.ndim(leaf) and jnp.shape(leaf)[0] == n for leaf in leaves):
        return promoted

    def rows_of(leaf: Any) -> Any:
        if jnp.ndim(leaf) == 2:
            return jnp.broadcast_to(leaf, (n, leaf.shape[1])) if leaf.shape[0] == 1 else leaf
        return jnp.broadcast_to(leaf, (n, *jnp.shape(leaf)))

    return jax.tree_util.tree_map(rows_of, promoted)


def describe_prior(prior: Any) -> str:
    """One line for provenance."""
    if isinstance(prior, list | tuple):
        return ", ".join(describe_prior(factor) for factor in prior)
    if isinstance(prior, Mapping):
        return f"known {', '.join(prior)}"
    return "uniform" if prior is None else prior if isinstance(prior, str) else type(prior).__name__


def fixed_labels(model: Model, fixed: Mapping[str, Any] | None, n: int) -> np.ndarray:
    """(N, L) physical values of the labels that are fixed, NaN for those that are sampled."""
    values = np.full((n, len(model.label_names)), np.nan)
    for name, given in (fixed or {}).items():
        k = label_index(model, name)
        number = in_unit(given, model.info.label_units[k], name)
        if number.shape not in ((), (n,)):
            raise SlamError(f"fixed {name!r} has shape {number.shape}; give one number, or one per spectrum ({n},)")
        bad = np.flatnonzero(~np.isfinite(np.broadcast_to(number, n)))
        if bad.size:
            raise SlamError(f"fixed {name!r} is not finite for spectrum {bad[0]}; leave such stars out")
        values[:, k] = number
    if not np.isnan(values).any(axis=1).all():
        raise SlamError("all labels are fixed; leave at least one to sample")
    warn_outside(model, values, stacklevel=4)
    return values
