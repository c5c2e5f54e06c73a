"""``sample``: posteriors of many stars at once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from astropy.table import QTable
from numpyro.distributions.batch_util import promote_batch_shape

from slamjax._version import __version__
from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.flags import Flag
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import Nuisances
from slamjax.model.model import Model
from slamjax.noise.models import ivar_in_unit
from slamjax.sampling.batches import SAMPLERS, Options, Result, sample_batch
from slamjax.sampling.checkpoint import Checkpoint
from slamjax.sampling.density import FluxLikelihood, ProjectedLikelihood, Shared
from slamjax.sampling.diagnostics import Diagnostics
from slamjax.sampling.nuisances import ForwardLikelihood, starts, velocities
from slamjax.sampling.posterior import Posterior
from slamjax.sampling.priors import Product, in_unit, known, label_index, training_density, training_range
from slamjax.sampling.projection import Choice, choose_projection
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

Sampler = Literal["auto", "importance", "nuts", "hmc"]
#: What may be given as a prior of labels, see `sample`.
Prior: TypeAlias = dist.Distribution | Mapping[str, Any] | str | None

#: Effective draws below which, and R-hat and share of divergences above which a star is flagged.
MIN_ESS, MAX_RHAT, MAX_DIVERGENT = 400, 1.03, 0.01
_LARGEST_BATCH = 128


def sample(
    model: Model,
    spectra: Spectra,
    *,
    prior: Prior | Sequence[Prior] = None,
    fixed: Mapping[str, Any] | None = None,
    nuisances: Nuisances | None = None,
    sampler: Sampler = "auto",
    draws: int = 500,
    warmup: int = 200,
    chains: int = 2,
    seed: int = 0,
    memory: float = 1.0,
    on_progress: Progress | None = None,
    parts: str | os.PathLike[str] | None = None,
) -> Posterior:
    """Draws from the posterior of the labels of every spectrum, ``chains`` × ``draws`` a star.

    Each star starts from its `slamjax.fit`, goes to the posterior's mode and is whitened by the curvature there. Where
    it is cheaper, χ² is evaluated in the emulator's components instead of pixels (see
    `slamjax.sampling.projection`); ``attrs["likelihood"]`` says which, and with what error.

    Parameters
    ----------
    model : Model
    spectra : Spectra
        As read; they are prepared here by the model's own recipe.
    prior : optional
        Density of one star's labels, in physical units. By default `training_range`: uniform where the training
        stars are, falling off smoothly outside. Or "uniform" (the same), "density" (`training_density`: the training
        stars' own), any NumPyro distribution of event shape (L,) and batch shape () or (N,), or a dict
        ``{"teff": (values, errors)}`` of what else is known, numbers or arrays of N stars (NaN: not known of that
        star), multiplied onto the default; or a list of these, multiplied with each other.
    fixed : dict, optional
        Labels that are known: ``{"logg": values}``, a number or N of them; the others are sampled.
    nuisances : Nuisances, optional
        What shapes the spectra beside their labels. Free velocities are sampled, each a variable behind the labels,
        km/s; the polynomial is integrated out analytically.
    sampler : "auto", "importance", "nuts" or "hmc"
        importance: weighted draws about the mode, resampled; a star whose weights cannot be trusted (Pareto shape
        above 0.7) gets NUTS. auto: the same, with NUTS also where the draws are worth fewer than 400. nuts:
        NumPyro's. hmc: a fixed number of steps, so that no star waits for another.
    draws, warmup, chains : int
        A star's draws in each chain, steps of adaptation before them (nuts and hmc), chains.
    seed : int
        A star's draws depend on the seed and its place among the spectra only.
    memory : float
        GiB that a batch may take on the device.
    on_progress : callable, optional
        Called with (stars done, stars in all).
    parts : path, optional
        A folder in which finished batches are kept, so that the same call goes on where one was stopped. It is
        removed at the end.

    Raises
    ------
    SlamError
        If the spectra do not cover the model, or the options do not go together.
    """
    options = _options(sampler, draws, warmup, chains)
    n = len(spectra)
    if n == 0:
        raise SlamError(f"{spectra.source} holds no spectra to sample")
    if not memory > 0:
        raise SlamError(f"memory is {memory} GiB; give more than 0")
    shared_priors, star_priors = _priors(model, prior, n)
    values = _fixed(model, fixed, n)
    nuisances = nuisances if nuisances is not None and nuisances.anything else None
    held = fixed if nuisances is None else (fixed, str(nuisances), nuisances.polynomial_sd)
    store = None if parts is None else Checkpoint.open(parts, model, spectra, prior, held, options, seed, memory)
    with warnings.catch_warnings():
        table = fit(model, spectra, memory=memory, nuisances=nuisances)
    if model.needs_rv(spectra):
        # at rest from here on, or where the velocity that is sampled starts
        own = nuisances is not None and nuisances.rv is not None
        spectra = model.place(spectra, np.zeros(n) if own else np.asarray(table["rv"].value))
    x, usable = _starts(model, table, values)
    unit = model.host_emulator.flux_unit()
    scale = np.asarray(table["noise_scale"], float)
    scale = np.where(scale > 0, scale, 1.0)  # NaN where the fit failed
    free = tuple(k for k in range(len(model.label_names)) if np.all(np.isnan(values[:, k])))
    forward: ForwardEmulator | None = None
    likelihood: Any
    if nuisances is None:
        exact, noise = model.host_emulator.in_unit(unit), model.noise.in_unit(unit)
        choice = choose_projection(exact, noise, model.training_labels, _strongest(model, spectra, unit, usable))
        emulator, on_device = (jax.tree_util.tree_map(jnp.asarray, part) for part in (exact, noise))
        likelihood = (
            FluxLikelihood(emulator, on_device)
            if choice.projection is None
            else ProjectedLikelihood(emulator, on_device, choice.projection)
        )
    else:
        choice = Choice(None, 0.0, f"flux space, with nuisances: {nuisances}")
        forward = ForwardEmulator.around(model.quick().host_emulator.in_unit(unit), model.wave, nuisances)
        x = np.concatenate([x, starts(forward, table)], axis=1)
        free += tuple(range(len(model.label_names), x.shape[1]))
        emulator, on_device = (
            jax.tree_util.tree_map(jnp.asarray, part) for part in (forward, model.noise.in_unit(unit))
        )
        likelihood = ForwardLikelihood(emulator, on_device)
    # device arrays throughout: a NumPy array's place in a compilation does not tell the precision JAX runs in
    shared, star_priors = jax.tree_util.tree_map(
        jnp.asarray, (Shared(likelihood, emulator.scaling, shared_priors, free), star_priors)
    )
    size = _batch_size(model, choice.projection, options, memory, int(usable.sum()), forward)
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(seed), k))(jnp.arange(n))

    results: list[tuple[np.ndarray, Result]] = []
    rows = np.flatnonzero(usable)
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        result = None if store is None else store.read(start)
        if result is None:
            flux, ivar = _arrays(model, spectra[some], unit)
            if forward is not None:
                ivar = np.where(np.asarray(forward.usable), ivar, ivar.dtype.type(0))
            own = jax.tree_util.tree_map(lambda leaf, some=some: leaf[some], star_priors)
            result = sample_batch(shared, flux, ivar, scale[some], x[some], own, keys[some], options, size)
            if store is not None:
                store.write(start, result)
        results.append((some, result))
        if on_progress is not None:
            on_progress(start + len(some) + n - len(rows), n)
    if on_progress is not None and not len(rows):
        on_progress(n, n)
    attrs = {
        "likelihood": choice.reason,
        "projection_error": float(choice.error),
        "sampler": options.sampler,
        "warmup": warmup,
        "seed": seed,
        "prior": _describe(prior),
        "fixed": ",".join(fixed or ()),
        "nuisances": "none" if nuisances is None else str(nuisances),
        "source": spectra.source,
        "model": repr(model),
        "model_provenance": {key: str(value) for key, value in model.info.provenance.items()},
        "slamjax": __version__,
    }
    posterior = _assemble(model, table, results, options, attrs, forward)
    if store is not None:
        store.remove()
    return posterior


def _options(sampler: str, draws: int, warmup: int, chains: int) -> Options:
    if sampler not in SAMPLERS:
        raise SlamError(f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")
    for name, value, least in (("draws", draws, 4), ("chains", chains, 1), ("warmup", warmup, 20)):
        if value < least:
            raise SlamError(f"{name} is {value}; give at least {least}")
    return Options(sampler, draws, warmup, chains)


def _priors(model: Model, prior: Any, n: int) -> tuple[tuple[dist.Distribution, ...], tuple[dist.Distribution, ...]]:
    """Factors that all stars share, and those whose arrays have a row a star."""
    given = list(prior) if isinstance(prior, list | tuple) else [prior]
    if len(given) == 1 and isinstance(given[0], Mapping):
        given = [None, given[0]]
    factors: list[dist.Distribution] = []
    for one in given:
        if one is None or (isinstance(one, str) and one == "uniform"):
            factors.append(training_range(model))
        elif isinstance(one, str) and one == "density":
            factors.append(training_density(model))
        elif isinstance(one, Mapping):
            factors.append(known(model, one))
        elif isinstance(one, Product):
            factors.extend(one.factors)
        elif isinstance(one, dist.Distribution):
            factors.append(one)
        else:
            raise SlamError(
                f"prior is {one!r}; give 'uniform', 'density', a NumPyro distribution or a dict "
                "{label: (values, errors)}"
            )
    shared, own = [], []
    for factor in factors:
        if factor.event_shape != (len(model.label_names),):
            raise SlamError(
                f"the prior has event shape {factor.event_shape}; this model has {len(model.label_names)} labels "
                "(of scalar distributions make one by .to_event(1))"
            )
        if factor.batch_shape == ():
            shared.append(factor)
        elif factor.batch_shape == (n,):
            own.append(_rows_of(factor, n))
        else:
            raise SlamError(f"the prior has batch shape {factor.batch_shape}; it must be () or ({n},), one a spectrum")
    return tuple(shared), tuple(own)


def _rows_of(factor: dist.Distribution, n: int) -> dist.Distribution:
    """The distribution with every array of shape (N, ...), so that stars can be taken from it."""
    promoted = factor if type(factor).__module__ == training_range.__module__ else promote_batch_shape(factor)
    leaves = jax.tree_util.tree_leaves(promoted)
    if not all(jnp.ndim(leaf) and jnp.shape(leaf)[0] == n for leaf in leaves):

        def spread(leaf: Any) -> Any:
            return leaf if jnp.ndim(leaf) == 2 else jnp.broadcast_to(leaf, (n, *jnp.shape(leaf)))

        promoted = jax.tree_util.tree_map(spread, promoted)
    return promoted


def _fixed(model: Model, fixed: Mapping[str, Any] | None, n: int) -> np.ndarray:
    """(N, L) physical values of the labels that are fixed, NaN for those that are not."""
    values = np.full((n, len(model.label_names)), np.nan)
    for name, given in (fixed or {}).items():
        k = label_index(model, name)
        number = in_unit(given, model.info.label_units[k], name)
        if number.shape not in ((), (n,)):
            raise SlamError(f"fixed {name!r} has shape {number.shape}; give a number or one a spectrum, ({n},)")
        bad = np.flatnonzero(~np.isfinite(np.broadcast_to(number, n)))
        if bad.size:
            raise SlamError(f"fixed {name!r} is not finite for spectrum {bad[0]}; leave such stars out")
        values[:, k] = number
    if not np.isnan(values).any(axis=1).all():
        raise SlamError("all labels are fixed; leave at least one to sample")
    return values


def _starts(model: Model, table: QTable, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scaled labels (N, L) to start from, and which stars have any.

    Where labels are fixed, the others start where the fit's covariance takes them.
    """
    labels = np.stack([np.asarray(table[name], float) for name in model.label_names], 1)
    usable = np.isfinite(labels).all(axis=1)
    held = np.isfinite(fixed[0])
    if held.any():
        covariance = np.asarray(table["cov"], float)
        known_there = usable & np.isfinite(covariance).all(axis=(1, 2))
        inner = covariance[known_there][:, held][:, :, held]
        across = covariance[known_there][:, ~held][:, :, held]
        shift = (fixed - labels)[known_there][:, held]
        moved = labels[known_there]
        moved[:, ~held] += np.einsum("nij,nj->ni", across, np.linalg.solve(inner, shift[..., None])[..., 0])
        labels[known_there] = moved
        labels[:, held] = fixed[:, held]
    scaling = model.host_emulator.scaling
    x = np.zeros_like(labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        x[usable] = np.nan_to_num(scaling(labels[usable]))
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    inside = np.clip(x, low, high)
    return np.where(held, x, inside), usable


def _arrays(model: Model, spectra: Spectra, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Prepared flux and ivar (N, P) in the unit and the device's precision."""
    prepared = model.prepare(spectra)
    dtype = jax.dtypes.canonicalize_dtype(float)
    flux = np.clip(prepared.flux / unit, -1e6, 1e6).astype(dtype)
    return flux, ivar_in_unit(np.where(prepared.good & model.trained, prepared.ivar, 0), unit)


def _strongest(model: Model, spectra: Spectra, unit: float, usable: np.ndarray) -> np.ndarray:
    """(P,) the largest inverse variance of any star at each pixel."""
    largest = np.zeros(model.wave.size)
    rows = np.flatnonzero(usable)
    for start in range(0, len(rows), 1024):
        largest = np.maximum(largest, _arrays(model, spectra[rows[start : start + 1024]], unit)[1].max(axis=0))
    return largest


def _batch_size(
    model: Model, projection: Any, options: Options, memory: float, n: int, forward: ForwardEmulator | None = None
) -> int:
    """Stars in a batch, a power of two, within the memory budget."""
    size = jax.dtypes.canonicalize_dtype(float).itemsize
    n_support = model.host_emulator.n_terms if projection is None else projection.n_support
    rank = model.wave.size if projection is None else projection.rank
    if forward is not None:  # Fourier transforms on the way, and rows of the polynomial
        rank *= 1 + forward.nuisances.n_coefficients + (4 if forward.grid is not None else 0)
    kernels = max(options.chains, options.at_once) * (3 * n_support * (model.host_emulator.n_labels + 3) + 8 * rank)
    own = 4 * model.wave.size * (8 if projection is None else rank) + (0 if projection is None else rank**2)
    fits = memory * 2**30 / (size * (kernels + own))
    largest = int(np.clip(fits, 1, _LARGEST_BATCH))
    return int(min(1 << (largest.bit_length() - 1), 1 << max(0, (n - 1).bit_length())))


def _describe(prior: Any) -> str:
    if isinstance(prior, list | tuple):
        return ", ".join(_describe(one) for one in prior)
    if isinstance(prior, Mapping):
        return f"known {', '.join(prior)}"
    return "uniform" if prior is None else prior if isinstance(prior, str) else type(prior).__name__


def _assemble(
    model: Model,
    table: QTable,
    results: list[tuple[np.ndarray, Result]],
    options: Options,
    attrs: dict[str, Any],
    forward: ForwardEmulator | None,
) -> Posterior:
    """The batches' results in the order of the spectra, with flags."""
    n, names, units = len(table), model.label_names, model.info.label_units
    n_labels = len(names)
    if forward is not None:
        names, units = (*names, *forward.free), (*units, *["km / s"] * len(forward.free))
    shape = (options.chains, options.draws, n)
    dtype = jax.dtypes.canonicalize_dtype(float)
    labels = np.full((*shape, len(names)), np.nan, dtype)
    density, diverging = np.full(shape, np.nan, dtype), np.zeros(shape, bool)
    rhat, bulk, tail = (np.full((n, len(names)), np.nan) for _ in range(3))
    khat, sampler = np.full(n, np.nan), np.full(n, "", dtype="U10")
    for rows, part in results:
        labels[:, :, rows, :n_labels] = model.host_emulator.scaling.inverse(
            np.asarray(part.x[..., :n_labels], np.float64)
        )
        if forward is not None and forward.free:
            labels[:, :, rows, n_labels:] = velocities(forward, part.x)
        density[:, :, rows], diverging[:, :, rows] = part.log_density, part.diverging
        rhat[rows], bulk[rows], tail[rows] = part.rhat, part.ess_bulk, part.ess_tail
        khat[rows], sampler[rows] = part.khat, part.sampler
    flags = np.array(table["flags"], dtype=np.int32)
    sampled = np.char.str_len(sampler) > 0
    with np.errstate(invalid="ignore"):
        for condition, flag in (
            (sampled & (np.fmin.reduce([*bulk.T, *tail.T]) < MIN_ESS), Flag.LOW_ESS),
            (sampled & (np.fmax.reduce(rhat, axis=1) > MAX_RHAT), Flag.HIGH_RHAT),
            (sampled & (diverging.mean(axis=(0, 1)) > MAX_DIVERGENT), Flag.DIVERGENCES),
            (~sampled & (flags & Flag.NO_DATA == 0), Flag.NOT_SAMPLED),
        ):
            flags |= np.where(condition, np.int32(flag), np.int32(0))
    own = {f"{label}{end}" for label in names for end in ("", "_err", "_err95")}
    left_out = own | {"flags", "cov", "n_iter"}
    stars = {
        name: np.asarray(table[name]) for name in table.colnames if name not in left_out and np.ndim(table[name]) == 1
    }
    return Posterior(
        names, units, labels, density, diverging, Diagnostics(rhat, bulk, tail), khat, sampler,
        flags, stars, attrs,
    )  # fmt: skip
