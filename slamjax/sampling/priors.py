"""Priors on the labels of one star, in physical units, as NumPyro distributions of event shape (L,).

Each is an ordinary distribution for a model of your own (``numpyro.sample("labels", prior)``). Those made from a model
also tell NumPyro to sample in the model's scaled labels, where a step of 1 is a standard deviation of the training
stars, whatever the units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.transforms import Transform, biject_to
from scipy.cluster.vq import kmeans2

from slamjax.emulators.kernels import similarity
from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.training_labels import NEIGHBOUR
from slamjax.errors import SlamError
from slamjax.model.model import Model
from slamjax.typing import AnyArray, Labels, ScaledLabels

Density = Float[Array, "*batch"]

#: More training stars than this are thinned in `TrainingDensity`: a smooth density needs no more.
_MAX_STARS = 2048
#: More than this are merged in `TrainingRange`, where only their number near a point counts.
_MAX_GROUPS = 384
#: Candidates among which a draw is chosen where there is no direct way to draw.
_CANDIDATES = 256
#: How quickly the prior falls where training stars become few: power of their number.
_STEEPNESS = 2.0


class LabelSpace(constraints.Constraint):
    """Physical labels: any number, or any positive one where the scaling takes a logarithm."""

    event_dim = 1

    def __init__(self, scaling: LabelScaling) -> None:
        self.scaling = scaling

    def __call__(self, x: Any) -> Any:
        return jnp.all(jnp.isfinite(x) & (~jnp.asarray(self.scaling.log) | (x > 0)), axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        return jnp.broadcast_to(self.scaling.inverse(jnp.zeros(self.scaling.n_labels)), jnp.shape(prototype))

    def tree_flatten(self) -> Any:
        return (self.scaling,), (("scaling",), {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSpace) and self.scaling is other.scaling

    def __hash__(self) -> int:
        return id(self.scaling)


class ScaledToPhysical(Transform):
    """Scaled labels x to physical ones: how NumPyro moves in `LabelSpace`."""

    training_labels = constraints.real_vector

    def __init__(self, scaling: LabelScaling) -> None:
        self.scaling = scaling

    @property
    def codomain(self) -> LabelSpace:
        return LabelSpace(self.scaling)

    def __call__(self, x: ScaledLabels) -> Labels:
        return self.scaling.inverse(jnp.asarray(x))

    def _inverse(self, y: Labels) -> ScaledLabels:
        return self.scaling(jnp.asarray(y))

    def log_abs_det_jacobian(self, x: ScaledLabels, y: Labels, intermediates: Any = None) -> Density:
        return log_volume(self.scaling, jnp.asarray(x))

    def tree_flatten(self) -> Any:
        return (self.scaling,), (("scaling",), {})


@biject_to.register(LabelSpace)
def _to_label_space(constraint: LabelSpace) -> ScaledToPhysical:
    return ScaledToPhysical(constraint.scaling)


def log_volume(scaling: LabelScaling, x: ScaledLabels) -> Density:
    """ln |∂ labels / ∂ x|."""
    return jnp.sum(jnp.log(jnp.abs(scaling.slope(x))), axis=-1)


class _ScaledDistribution(dist.Distribution):
    """A density of scaled labels x, offered as one of physical labels."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    reparametrized_params: ClassVar[list[str]] = []
    pytree_data_fields: tuple[str, ...] = ("scaling",)
    scaling: LabelScaling

    def __init__(self, scaling: LabelScaling) -> None:
        self.scaling = scaling
        super().__init__((), (scaling.n_labels,), validate_args=False)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> LabelSpace:
        return LabelSpace(self.scaling)

    def log_prob(self, value: Labels, intermediates: Any = None) -> Density:
        """ln of the density of physical labels (..., L)."""
        x = self.scaling(jnp.asarray(value))
        return self._log_density(x) - log_volume(self.scaling, x)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Labels:
        """Labels drawn from the prior, (*sample_shape, L)."""
        return self.scaling.inverse(self._draw(key, sample_shape))

    def _log_density(self, x: ScaledLabels) -> Density:
        raise NotImplementedError

    def _draw(self, key: Array, shape: tuple[int, ...]) -> ScaledLabels:
        raise NotImplementedError


class TrainingRange(_ScaledDistribution):
    """Uniform where the training stars are, falling off smoothly outside.

    ln p = −½ Σ_k (e_k / w_k)² + ln [nᵖ / (nᵖ + n₀ᵖ)] + const, with e the excess over the training range and w its
    soft edge, n(x) = Σ_i exp(−2 |x − x_i|² / reach²) the number of training stars near, p = 2, and n₀ that of five
    stars at the model's reach: the prior is halved about where `Flag.OUTSIDE_TRAINING` begins. A hard wall would
    stop Hamiltonian trajectories; without the second term most of the box would hold no training star, and a kernel
    expansion says nothing there.
    """

    pytree_data_fields = ("scaling", "low", "high", "edge", "stars", "log_weight", "rate", "log_norm")

    def __init__(
        self,
        scaling: LabelScaling,
        low: AnyArray,
        high: AnyArray,
        edge: AnyArray,
        stars: AnyArray | None,
        log_weight: float | np.ndarray = 0.0,
        reach: float = 1.0,
    ) -> None:
        self.low, self.high, self.edge = jnp.asarray(low), jnp.asarray(high), jnp.asarray(edge)
        self.stars = None if stars is None else jnp.asarray(stars)
        self.log_weight = jnp.asarray(log_weight, float)
        self.rate = jnp.asarray(2 / reach**2, float)
        self.log_norm = jnp.sum(jnp.log(self.high - self.low + np.sqrt(2 * np.pi) * self.edge))
        super().__init__(scaling)
        if stars is not None:  # the part of the box that is kept, from points drawn once and for all
            points = self._draw_box(jax.random.key(0), (4096,))
            kept = jax.lax.map(self._log_near, points, batch_size=512)
            self.log_norm = self.log_norm + jax.nn.logsumexp(kept) - np.log(kept.size)

    def _log_near(self, x: ScaledLabels) -> Density:
        if self.stars is None:
            return jnp.zeros(jnp.shape(x)[:-1])
        log_n = jax.nn.logsumexp(self.log_weight - self.rate * similarity("rbf", x, self.stars), axis=-1)
        return jax.nn.log_sigmoid(_STEEPNESS * (log_n - (np.log(NEIGHBOUR) - 2.0)))

    def _log_density(self, x: ScaledLabels) -> Density:
        excess = jnp.maximum(x - self.high, 0) + jnp.minimum(x - self.low, 0)
        return -0.5 * jnp.sum(jnp.square(excess / self.edge), axis=-1) + self._log_near(x) - self.log_norm

    def _draw_box(self, key: Array, shape: tuple[int, ...]) -> ScaledLabels:
        inside, beyond, choice = jax.random.split(key, 3)
        full = (*shape, self.scaling.n_labels)
        tail = self.edge * jax.random.normal(beyond, full)
        flat = self.low + (self.high - self.low) * jax.random.uniform(inside, full)
        share = (self.high - self.low) / (self.high - self.low + np.sqrt(2 * np.pi) * self.edge)
        outer = jnp.where(tail > 0, self.high, self.low) + tail
        return jnp.where(jax.random.uniform(choice, full) < share, flat, outer)

    def _draw(self, key: Array, shape: tuple[int, ...]) -> ScaledLabels:
        if self.stars is None:
            return self._draw_box(key, shape)
        return _choose(key, shape, self._draw_box, self._log_near)


class TrainingDensity(_ScaledDistribution):
    """The training stars' own density: p(x) = mean_i N(x; x_i, h² C), with C their covariance.

    h = N^(−1/(L+4)) (Scott 1992): smooth, nowhere zero, a Gaussian far away.
    """

    pytree_data_fields = ("scaling", "stars", "lower", "log_norm")

    def __init__(self, scaling: LabelScaling, stars: AnyArray, width: float = 1.0) -> None:
        x = np.asarray(stars, float)
        n, n_labels = x.shape
        bandwidth = width * n ** (-1 / (n_labels + 4))
        lower = bandwidth * np.linalg.cholesky(np.atleast_2d(np.cov(x.T)) + 1e-8 * np.eye(n_labels))
        rows = np.random.default_rng(0).permutation(n)[:_MAX_STARS]
        self.lower = jnp.asarray(lower)
        self.stars = jnp.asarray(np.linalg.solve(lower, x[np.sort(rows)].T).T)  # in units of the bandwidth
        self.log_norm = jnp.asarray(
            np.log(len(rows)) + np.log(np.diag(lower)).sum() + 0.5 * n_labels * np.log(2 * np.pi)
        )
        super().__init__(scaling)

    def _log_density(self, x: ScaledLabels) -> Density:
        inverse = jax.scipy.linalg.solve_triangular(self.lower, jnp.eye(self.lower.shape[-1]), lower=True)
        y = jnp.einsum("kl,...l->...k", inverse, x, precision=jax.lax.Precision.HIGHEST)
        return jax.nn.logsumexp(-0.5 * similarity("rbf", y, self.stars), axis=-1) - self.log_norm

    def _draw(self, key: Array, shape: tuple[int, ...]) -> ScaledLabels:
        which, shift = jax.random.split(key)
        star = self.stars[jax.random.randint(which, shape, 0, self.stars.shape[0])]
        return jnp.einsum("kl,...l->...k", self.lower, star + jax.random.normal(shift, star.shape))


class LabelNormal(dist.Distribution):
    """Independent normal distributions of some labels, in physical units; σ = inf leaves a label free.

    What photometry or a parallax says of a star. With a free label it is a factor of `Product`, no density of its own.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    pytree_data_fields = ("loc", "scale")

    def __init__(self, loc: Float[AnyArray, "*batch label"], scale: Float[AnyArray, "*batch label"]) -> None:
        self.loc, self.scale = jnp.asarray(loc, float), jnp.asarray(scale, float)
        shape = jnp.broadcast_shapes(self.loc.shape, self.scale.shape)
        super().__init__(shape[:-1], shape[-1:], validate_args=False)

    def log_prob(self, value: Labels, intermediates: Any = None) -> Density:
        stated = jnp.isfinite(self.scale)
        scale = jnp.where(stated, self.scale, 1)
        each = -0.5 * jnp.square((value - self.loc) / scale) - jnp.log(scale) - 0.5 * np.log(2 * np.pi)
        return jnp.sum(jnp.where(stated, each, 0), axis=-1)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Labels:
        scale = jnp.where(jnp.isfinite(self.scale), self.scale, jnp.nan)
        return self.loc + scale * jax.random.normal(key, self.shape(sample_shape))


class Product(dist.Distribution):
    """A prior times what else is known: ln p = Σ ln p_k + const, the constant left out.

    Draws are made from the first factor and chosen by the others, among 256 candidates: exact where the others are
    not much narrower than the first, which `log_prob` does not ask for.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    pytree_data_fields = ("factors",)

    def __init__(self, *factors: dist.Distribution) -> None:
        self.factors = factors
        batch = jnp.broadcast_shapes(*(factor.batch_shape for factor in factors))
        super().__init__(batch, factors[0].event_shape, validate_args=False)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        return self.factors[0].support

    def log_prob(self, value: Labels, intermediates: Any = None) -> Density:
        return sum((log_prob_inside(factor, value) for factor in self.factors), start=jnp.zeros(()))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Labels:
        first, others = self.factors[0], self.factors[1:]
        shape = sample_shape + self.batch_shape

        def draw(key: Array, shape: tuple[int, ...]) -> Labels:
            extra = len(first.batch_shape)
            return first.sample(key, shape[: len(shape) - extra])

        def rest(value: Labels) -> Density:
            return sum((log_prob_inside(factor, value) for factor in others), start=jnp.zeros(()))

        return _choose(key, shape, draw, rest)


def log_prob_inside(prior: dist.Distribution, labels: Labels) -> Density:
    """ln p, and −inf outside of the distribution's support, which NumPyro itself does not check."""
    inside = prior.support(labels)
    sound = jnp.where(inside[..., None], labels, prior.support.feasible_like(labels))
    return jnp.where(inside, prior.log_prob(sound), -jnp.inf)


def _choose(key: Array, shape: tuple[int, ...], draw: Any, log_weight: Any) -> Array:
    """One of `_CANDIDATES` draws for each place of ``shape``, with probabilities ∝ exp(log_weight)."""
    first, second = jax.random.split(key)
    candidates = draw(first, (_CANDIDATES, *shape))
    weights = log_weight(candidates)
    taken = jnp.argmax(weights + jax.random.gumbel(second, weights.shape), axis=0)
    return jnp.take_along_axis(candidates, taken[None, ..., None], axis=0)[0]


# --- from a model


def training_range(model: Model, *, edge: float = 0.02, reach: bool = True) -> TrainingRange:
    """Uniform in the scaled labels within the training range, with soft edges: the default of `slamjax.sample`.

    Parameters
    ----------
    model : Model
    edge : float
        Standard deviation of the Gaussian edge outside, as a part of each label's range.
    reach : bool
        Also fall off where there are no training stars near; False keeps the whole box.
    """
    if not edge > 0:
        raise SlamError(f"edge is {edge}; give more than 0")
    training_labels = model.training_labels
    low, high = np.asarray(training_labels.low), np.asarray(training_labels.high)
    stars, log_weight = _groups(np.asarray(training_labels.stars)) if reach else (None, 0.0)
    return TrainingRange(
        model.host_emulator.scaling,
        low,
        high,
        edge * (high - low),
        stars,
        log_weight,
        float(training_labels.max_distance),
    )


def _groups(stars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `_MAX_GROUPS` places that stand for all stars, and ln of how many stars each stands for.

    Neighbours are merged by k-means, lone stars stay themselves: the prior must not cost more than the likelihood.
    """
    if len(stars) <= _MAX_GROUPS:
        return stars, np.zeros(len(stars))
    centers, which = kmeans2(stars, _MAX_GROUPS, minit="++", seed=np.random.default_rng(0))
    count = np.bincount(which, minlength=_MAX_GROUPS)
    return centers[count > 0], np.log(count[count > 0])


def training_density(model: Model, *, width: float = 1.0) -> TrainingDensity:
    """The density of the training labels, smoothed; for stars drawn like the training stars.

    ``training_density(model).log_prob`` is also a ``log_prior`` of `slamjax.fit`. ``width`` multiplies the smoothing.
    """
    if not width > 0:
        raise SlamError(f"width is {width}; give more than 0")
    return TrainingDensity(model.host_emulator.scaling, np.asarray(model.training_labels.stars), width)


def known(model: Model, labels: Mapping[str, Any]) -> LabelNormal:
    """What else is known of some labels: ``{"teff": (values, errors)}``, numbers or arrays of N stars.

    NaN, or an error that is not finite, says that nothing is known of that star's label.
    """
    if not labels:
        raise SlamError("the prior names no label; leave it out or give {label: (value, error)}")
    locs, scales = [], []
    shape: tuple[int, ...] = ()
    for name in labels:
        label_index(model, name)
    for name, unit in zip(model.label_names, model.info.label_units, strict=True):
        if name not in labels:
            locs.append(np.zeros(()))
            scales.append(np.full((), np.inf))
            continue
        pair = labels[name]
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise SlamError(f"the prior of {name!r} is {pair!r}; give a pair (value, error)")
        value, error = (in_unit(part, unit, name) for part in pair)
        try:
            value, error = np.broadcast_arrays(value, error)
        except ValueError:
            raise SlamError(f"the prior of {name!r} has {value.shape} values and {error.shape} errors") from None
        if np.any(error <= 0):
            raise SlamError(f"the prior of {name!r} has an error that is not positive; give standard deviations")
        stated = np.isfinite(value) & np.isfinite(error)
        locs.append(np.where(stated, value, 0))
        scales.append(np.where(stated, error, np.inf))
    try:
        shape = np.broadcast_shapes(*(loc.shape for loc in locs))
    except ValueError:
        raise SlamError("the prior's labels have different numbers of stars; they must agree") from None
    stack = [np.stack([np.broadcast_to(part, shape) for part in parts], axis=-1) for parts in (locs, scales)]
    return LabelNormal(*stack)


def normal(model: Model, labels: Mapping[str, Any], base: dist.Distribution | None = None) -> Product:
    """``base`` (by default `training_range`) times normal distributions of some labels, see `known`."""
    return Product(training_range(model) if base is None else base, known(model, labels))


def label_index(model: Model, name: str) -> int:
    if name not in model.label_names:
        raise SlamError(f"{name!r} is not a label of this model; it has {', '.join(model.label_names)}")
    return model.label_names.index(name)


def in_unit(values: Any, unit: str, name: str) -> np.ndarray:
    """Numbers in the model's unit; a Quantity is converted."""
    from astropy import units as u

    from slamjax.spectra.units import known_unit, label_unit

    if isinstance(values, u.Quantity):
        try:
            same = values.unit == label_unit(unit)  # that of label tables
            values = values.value if same else values.to_value(known_unit(unit) or u.dimensionless_unscaled)
        except (u.UnitConversionError, ValueError) as error:
            raise SlamError(f"{name!r} is given in {values.unit}, the model's label in {unit or 'no unit'}") from error
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise SlamError(f"{name!r} holds no numbers") from None
