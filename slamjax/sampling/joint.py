"""Posteriors of stars from all that was observed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints
from scipy.special import expit

from slamjax._util.batching import power_of_two_above, power_of_two_below
from slamjax._util.progress import reporter
from slamjax._version import __version__
from slamjax.errors import SlamError
from slamjax.fitting.joint.concluded import Concluded
from slamjax.fitting.joint.fitter import JointFitter
from slamjax.fitting.joint.priors import known_of_stars
from slamjax.forward.joint import JointEmulator
from slamjax.forward.line_spread import LineSpread, seen_through
from slamjax.forward.nuisances import SQUARES, UNITS, WIDTHS
from slamjax.model.joint import JointModel
from slamjax.noise.joint import JointNoise
from slamjax.sampling.assemble import flags_of_draws
from slamjax.sampling.batches import Stars, sample_batch, select, star_keys
from slamjax.sampling.density import Shared
from slamjax.sampling.diagnostics import Diagnostics
from slamjax.sampling.distributions import LabelNormal, _Ordered
from slamjax.sampling.importance import AT_ONCE
from slamjax.sampling.likelihoods import FluxStar, StarFlux, X
from slamjax.sampling.nuisances import coordinate_of, folded, log_prior_at, velocity_at
from slamjax.sampling.posterior import Posterior
from slamjax.sampling.priors import training_range
from slamjax.sampling.specs import Method, SamplerSpec
from slamjax.spectra.observations import Observations
from slamjax.typing import Progress, Scalar

_LARGEST_BATCH = 64


class OfSome(_Ordered):
    """A density of some of the labels, as a factor of a density of all of them.

    Parameters
    ----------
    base : distribution of labels (L',)
    positions : of these among all labels
    n_labels : of all labels
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    support = constraints.real_vector
    pytree_data_fields = ("base",)
    pytree_aux_fields = ("positions",)

    def __init__(self, base: dist.Distribution, positions: tuple[int, ...], n_labels: int) -> None:
        self.base, self.positions = base, positions
        super().__init__((), (n_labels,), validate_args=False)

    def log_prob(self, value: Any) -> Any:
        return self.base.log_prob(value[..., jnp.asarray(self.positions)])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class JointLikelihood:
    """χ² summed over all spectra of a star, at x: scaled labels, and behind them coordinates of nuisances."""

    emulator: JointEmulator
    noise: JointNoise

    def prepare_star(
        self, flux: StarFlux, ivar: StarFlux, x: X, line_spread: tuple[LineSpread | None, ...] | None = None
    ) -> FluxStar:
        return FluxStar(flux, self.noise.inverse_covariance(ivar), line_spread)  # type: ignore[arg-type]

    def n_pix(self, ivar: StarFlux) -> Any:
        counts = self.noise.weights(ivar) > 0
        return jnp.stack([jnp.sum(span.of(counts)) for span in self.noise.spans])

    def chi2_and_logdet(self, data: FluxStar, x: X, noise_scale: Any) -> tuple[Scalar, Any]:
        at = self.parameters(x)
        emulator = seen_through(self.emulator, data.line_spread)
        inverse: Any = data.inv_cov
        chi2, logdet = jnp.zeros((), x.dtype), jnp.zeros((), x.dtype)
        for k, (arm, part) in enumerate(zip(emulator.arms, inverse.parts, strict=True)):
            its_chi2, its_logdet = arm.marginal(part, at, arm.span.of(data.flux), noise_scale[k])
            chi2, logdet = chi2 + its_chi2, logdet + its_logdet
        return chi2, logdet

    def parameters(self, x: X) -> Any:
        """Parameters of the joint emulator at x."""
        parts = [x[: self.emulator.n_labels]]
        for place, (arm, name, _) in self.emulator.nuisances.items():
            value = velocity_at(arm.forward, name, x[place], jax.nn.sigmoid)
            parts.append(jnp.asarray(arm.forward.coordinate(name, value))[None])
        return jnp.concatenate(parts)

    def log_prior(self, x: X) -> Any:
        total = jnp.zeros((), x.dtype)
        for place, (arm, name, _) in self.emulator.nuisances.items():
            total = total + log_prior_at(getattr(arm.forward.nuisances, name), name, x[place])
        for shared in self.emulator.shared:
            arm, name, _ = self.emulator.nuisances[shared.place]
            value = velocity_at(arm.forward, name, x[shared.place], jax.nn.sigmoid)
            value = jnp.abs(value) if name in WIDTHS else value
            total = total - 0.5 * jnp.square((value - shared.prior.mean) / shared.prior.sd)
        return total

    def fold(self, x: Any) -> Any:
        for place, (arm, name, _) in self.emulator.nuisances.items():
            x = x.at[..., place].set(folded(getattr(arm.forward.nuisances, name), name, x[..., place]))
        return x


def sample_joint(
    models: JointModel | Mapping[str, Any],
    stars: Observations | Mapping[str, Any],
    *,
    prior: Any = None,
    sampler: Method | SamplerSpec = "auto",
    seed: int = 0,
    memory: float = 1.0,
    on_progress: Progress | bool | None = True,
) -> Posterior:
    """Draws from the posteriors of stars, each from all of its spectra; `slamjax.sample` calls it.

    Parameters
    ----------
    models, stars : as of `slamjax.JointFitter`
    prior : optional
        By default uniform where every model of which the star has spectra has training stars. Labels known from
        elsewhere, ``{"logg": (value, error)}``, numbers or one for each star, or a NumPyro distribution of the joint
        labels multiply it.
    sampler, seed, memory, on_progress : as of `slamjax.sample`

    Returns
    -------
    Posterior
        Of the labels, the nuisances that all spectra of a star share, and those of each spectrum:
        ``rv_<model>_1``, … in the order of a star's rows, NaN where it has fewer.
    """
    spec = SamplerSpec.from_option(sampler)
    fitter = JointFitter(models, memory=memory)
    stars = stars if isinstance(stars, Observations) else Observations(stars)
    with reporter(on_progress) as report:
        report.stage("fitting stars", shared=False)
        fitted, concluded = fitter.fit_and_keep(stars, lambda *at: report(*at))
        report.stage("sampling stars")
        draws = _Draws.empty(fitter.model, stars, spec)
        known, factors = _factors(fitter.model, prior, len(stars))
        keys = star_keys(seed, np.arange(len(stars)))
        done = 0
        # of each model once: neighbouring stars are merged for it
        ranges = {name: training_range(one) for name, one in fitter.model.models.items() if name in stars.spectra}
        for each in concluded:
            size = _batch_size(each, spec, memory)
            for first in range(0, len(each.stars), size):
                rows = np.arange(first, min(first + size, len(each.stars)))
                own = () if known is None else (select(known, each.stars[rows]),)
                _sample_rows(draws, each, rows, (own, ranges, factors, keys), size)
                done += rows.size
                report(done, len(stars))
    attrs = {
        "likelihood": "flux space, all spectra of a star",
        "sampler": spec.method,
        "warmup": spec.warmup,
        "seed": seed,
        "model": repr(fitter.model),
        "slamjax": __version__,
    }
    return draws.posterior(fitted.labels, attrs)


def _factors(model: JointModel, prior: Any, n: int) -> tuple[Any, tuple[dist.Distribution, ...]]:
    """Labels known of single stars, and what multiplies the priors of all."""
    if prior is None:
        return None, ()
    if isinstance(prior, dist.Distribution):
        return None, (prior,)
    if not isinstance(prior, Mapping):
        raise SlamError(f"prior is {prior!r}; give {{label: (value, error)}} or a NumPyro distribution of the labels")
    return LabelNormal(*known_of_stars(model, prior, n)), ()


def _batch_size(each: Concluded, spec: SamplerSpec, memory: float) -> int:
    emulator: Any = each.problem.emulator
    n_pix = each.data.flux.shape[1]
    n_terms = max(arm.forward.emulator.n_terms for arm in emulator.arms)
    rows = 2 + emulator.n_parameters
    numbers = max(spec.chains, AT_ONCE) * (3 * n_terms * rows + 8 * n_pix * rows) + 8 * n_pix
    spread: Any = each.problem.line_spread
    if spread is not None:  # the weights of neighbours are kept with a star, and used by each chain
        n_near = sum(
            len(grid.away) * arm.span.n_pix * arm.span.n_visits
            for grid, arm in zip(spread.grids, emulator.arms, strict=True)
            if grid is not None
        )
        numbers += n_near * (1 + spec.chains)
    size = jax.dtypes.canonicalize_dtype(float).itemsize
    fit_in = int(np.clip(memory * 2**30 / (size * numbers), 1, _LARGEST_BATCH))
    return min(power_of_two_below(fit_in), power_of_two_above(len(each.stars)))


def _sample_rows(draws: _Draws, each: Concluded, rows: np.ndarray, given: Any, size: int) -> None:
    """Draws of some stars of a group."""
    own, ranges, factors, keys = given
    emulator: Any = each.problem.emulator
    usable = rows[~each.result.failed[rows] & np.isfinite(each.result.x[rows]).all(axis=1)]
    if not usable.size:
        return
    model = draws.model
    priors = [OfSome(ranges[arm.name], tuple(arm.labels), len(model.label_names)) for arm in emulator.arms]
    likelihood = JointLikelihood(emulator, each.problem.noise)  # type: ignore[arg-type]
    free, spread = tuple(range(emulator.n_parameters)), each.problem.line_spread
    shared = Shared(likelihood, model.scaling, (*priors, *factors), free, spread)
    dtype = each.data.flux.dtype
    x = each.result.x[usable].copy()
    for place, (arm, name, _) in emulator.nuisances.items():
        parameter = np.maximum(x[:, place], 0) if name in SQUARES else x[:, place]
        x[:, place] = coordinate_of(arm.forward, name, np.asarray(arm.forward.velocity(name, parameter)))
    # by way of the device: unlike a NumPy array, a JAX array has the precision that JAX runs in
    kept = jax.tree_util.tree_map(
        lambda leaf: np.asarray(jnp.asarray(leaf)), select(own, np.searchsorted(rows, usable))
    )
    spectra = each.data.flux[usable], each.data.ivar[usable], each.result.scale[usable].astype(dtype)
    own_spread = None if each.data.line_spread is None else each.data.line_spread[usable]
    stars = Stars(*spectra, x.astype(dtype), kept, keys[each.stars[usable]], own_spread)
    on_device = jax.tree_util.tree_map(jnp.asarray, shared)
    draws.put(each, usable, sample_batch(on_device, stars, draws.spec, size))


@dataclass(frozen=True, eq=False)
class _Draws:
    """Draws of all stars, filled batch by batch."""

    model: JointModel
    spec: SamplerSpec
    names: tuple[str, ...]
    units: tuple[str, ...]
    labels: np.ndarray
    log_density: np.ndarray
    diverging: np.ndarray
    quality: dict[str, np.ndarray]
    khat: np.ndarray
    sampler: np.ndarray

    @classmethod
    def empty(cls, model: JointModel, stars: Observations, spec: SamplerSpec) -> _Draws:
        n, most = len(stars), {name: int(each.max(initial=0)) for name, each in stars.counts().items()}
        units = {name: UNITS[name] for name in model.shared}
        for name, count in most.items():
            own = [each for each in model.nuisances[name].free if each not in model.shared]
            units |= {f"{each}_{name}_{k + 1}": UNITS[each] for each in own for k in range(count)}
        names = (*model.label_names, *units)
        shape = (spec.chains, spec.draws, n)
        dtype = jax.dtypes.canonicalize_dtype(float)
        quality = {each: np.full((n, len(names)), np.nan) for each in ("rhat", "ess_bulk", "ess_tail")}
        return cls(
            model,
            spec,
            names,
            (*model.label_units, *units.values()),
            np.full((*shape, len(names)), np.nan, dtype),
            np.full(shape, np.nan, dtype),
            np.zeros(shape, bool),
            quality,
            np.full(n, np.nan),
            np.full(n, "", dtype="U10"),
        )

    def put(self, each: Concluded, rows: np.ndarray, draws: Any) -> None:
        """The draws of some stars of a group."""
        emulator: Any = each.problem.emulator
        n_labels, stars = len(self.model.label_names), each.stars[rows]
        x = np.moveaxis(np.asarray(draws.x, float), 0, 2)
        columns = list(range(n_labels))
        self.labels[:, :, stars, :n_labels] = self.model.scaling.inverse(x[..., :n_labels])
        for place, (arm, name, visit) in emulator.nuisances.items():
            label = name if name in self.model.shared else f"{name}_{arm.name}_{visit + 1}"
            if label not in self.names:  # an empty place of a group
                columns.append(-1)
                continue
            column = self.names.index(label)
            columns.append(column)
            values = velocity_at(arm.forward, name, x[..., place], expit)
            values = np.abs(values) if name in WIDTHS else values
            there = np.ones(len(rows), bool) if name in self.model.shared else each.rows[arm.name][rows, visit] >= 0
            self.labels[:, :, stars, column] = np.where(there, values, np.nan)
        self.log_density[:, :, stars] = np.moveaxis(draws.log_density, 0, 2)
        self.diverging[:, :, stars] = np.moveaxis(draws.diverging, 0, 2)
        for place, column in enumerate(columns):
            if column >= 0:
                for name, values in self.quality.items():
                    values[stars, column] = getattr(draws, name)[:, place]
        self.khat[stars], self.sampler[stars] = draws.khat, draws.sampler

    def posterior(self, table: Any, attrs: dict[str, Any]) -> Posterior:
        diagnostics = Diagnostics(**self.quality)
        sampled = np.char.str_len(self.sampler) > 0
        flags = flags_of_draws(np.array(table["flags"], dtype=np.int32), sampled, diagnostics, self.diverging)
        stars = {"star": np.asarray(table["star"]), "n_spectra": np.asarray(table["n_spectra"])}
        return Posterior(
            self.names, self.units, self.labels, self.log_density, self.diverging, diagnostics, self.khat, self.sampler,
            flags, stars, attrs,
        )  # fmt: skip
