"""Prior densities of one star's labels, in physical units, as NumPyro distributions of event shape (L,).

Each can be used in any NumPyro model (``numpyro.sample("labels", prior)``). Those of a model's training stars also make
NumPyro sample in scaled labels, where a step of 1 is a standard deviation of the training stars, whatever the units.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

with warnings.catch_warnings():  # this is NumPyro's first import: its tqdm misses ipywidgets in notebooks without them
    warnings.filterwarnings("ignore", "IProgress not found")
    import numpyro.distributions as dist
    from numpyro.distributions import constraints

from slamjax._util.jit import compiled
from slamjax.emulators.kernels import similarity
from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.training_labels import NEIGHBOUR
from slamjax.forward.label_density import Density, LabelDensity, log_volume
from slamjax.sampling.label_space import LabelSpace
from slamjax.typing import AnyArray, Labels, ScaledLabels

#: Candidates from which a draw is chosen where there is no direct way to draw.
_N_CANDIDATES = 256
#: How steeply the prior falls where training stars become few: power of their number.
_STEEPNESS = 2.0


class _Ordered(dist.Distribution):
    """A distribution whose arrays have one order in every process, so that programs are found again.

    NumPyro's order is that of a set of names.
    """

    @classmethod
    def gather_pytree_data_fields(cls) -> tuple[str, ...]:
        return tuple(sorted(super().gather_pytree_data_fields()))


class _ScaledDistribution(_Ordered):
    """A density of scaled labels x, presented as one of physical labels."""

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
    """Uniform where there are training stars, falling off smoothly outside.

    ln p = −½ Σ_k (e_k / w_k)² + ln [nᵖ / (nᵖ + n₀ᵖ)] + const, where e is the excess over the training range and w its
    soft edge, n(x) = Σ_i exp(−2 |x − x_i|² / reach²) the number of nearby training stars, p = 2, and n₀ that of five
    stars at distance ``reach``: the prior is halved about where `slamjax.Flag.OUTSIDE_TRAINING` begins. A hard wall
    would stop Hamiltonian trajectories. Without the second term most of the box would hold no training star, and a
    kernel expansion means nothing there.

    `training_range` makes it from a model.

    Parameters
    ----------
    scaling : LabelScaling
        From physical to scaled labels, in which all other arguments are.
    low, high : (L,) array
        Training range.
    edge : (L,) array
        Standard deviation of the Gaussian fall-off outside.
    stars : (N, L) array, optional
        Training stars, or fewer points in their place. None keeps the whole box.
    log_weight : float or (N,) array
        ln of the number of training stars for which each point stands.
    reach : float
        Distance to which a training star counts as near.
    metric : (L,) array, optional
        Factors of the scaled labels in this distance.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import LabelScaling
    >>> from slamjax.sampling import TrainingRange
    >>> scaling = LabelScaling(np.array([4500.0]), np.array([250.0]), (False,))
    >>> prior = TrainingRange(scaling, np.array([-2.0]), np.array([2.0]), np.array([0.1]), None)
    >>> inside, outside = prior.log_prob(np.array([[4500.0], [5200.0]]))
    >>> bool(inside > outside + 10)
    True
    """

    pytree_data_fields = ("scaling", "low", "high", "edge", "stars", "log_weight", "rate", "metric", "log_norm")

    def __init__(
        self,
        scaling: LabelScaling,
        low: AnyArray,
        high: AnyArray,
        edge: AnyArray,
        stars: AnyArray | None,
        log_weight: float | np.ndarray = 0.0,
        reach: float = 1.0,
        metric: AnyArray | None = None,
    ) -> None:
        self.low, self.high, self.edge = jnp.asarray(low), jnp.asarray(high), jnp.asarray(edge)
        self.stars = None if stars is None else jnp.asarray(stars)
        self.log_weight = jnp.asarray(log_weight, float)
        self.rate = jnp.asarray(2 / reach**2, float)
        self.metric = jnp.ones(jnp.shape(low)) if metric is None else jnp.asarray(metric, float)
        self.log_norm = jnp.asarray(0.0)
        super().__init__(scaling)
        self.log_norm = _log_volume_of_range(self)

    def _log_near(self, x: ScaledLabels) -> Density:
        """ln [nᵖ / (nᵖ + n₀ᵖ)]."""
        if self.stars is None:
            return jnp.zeros(jnp.shape(x)[:-1])
        square = similarity("rbf", x * self.metric, self.stars * self.metric)
        log_n = jax.nn.logsumexp(self.log_weight - self.rate * square, axis=-1)
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


@compiled
def _log_volume_of_range(prior: TrainingRange) -> Density:
    """ln of the integral of the density before it is normalised."""
    log_norm = jnp.sum(jnp.log(prior.high - prior.low + np.sqrt(2 * np.pi) * prior.edge))
    if prior.stars is None:
        return log_norm
    # the part of the box that is kept, estimated from fixed points
    points = prior._draw_box(jax.random.key(0), (4096,))
    log_near = jax.lax.map(prior._log_near, points, batch_size=512)
    return log_norm + jax.nn.logsumexp(log_near) - np.log(log_near.size)


class TrainingDensity(_ScaledDistribution):
    """The density of the training stars, `slamjax.forward.LabelDensity`: smooth, nowhere zero, a Gaussian far away.

    `training_density` makes it from a model.

    Parameters
    ----------
    scaling : LabelScaling
        From physical to scaled labels.
    stars : (N, L) array
        Scaled labels of the training stars.
    width : float
        Factor of the bandwidth h.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> from slamjax import LabelScaling
    >>> from slamjax.sampling import TrainingDensity
    >>> scaling = LabelScaling(np.array([4500.0]), np.array([250.0]), (False,))
    >>> prior = TrainingDensity(scaling, np.array([[-1.0], [0.0], [0.5], [1.0]]))
    >>> prior.sample(jax.random.key(0), (10,)).shape
    (10, 1)
    """

    pytree_data_fields = ("scaling", "density")

    def __init__(self, scaling: LabelScaling, stars: AnyArray, width: float = 1.0) -> None:
        self.density = LabelDensity.from_stars(scaling, stars, width)
        super().__init__(scaling)

    def _log_density(self, x: ScaledLabels) -> Density:
        return self.density.at(x)

    def _draw(self, key: Array, shape: tuple[int, ...]) -> ScaledLabels:
        which, shift = jax.random.split(key)
        stars, lower = self.density.stars, jnp.linalg.inv(self.density.inverse)
        star = stars[jax.random.randint(which, shape, 0, stars.shape[0])]
        return jnp.einsum("kl,...l->...k", lower, star + jax.random.normal(shift, star.shape))


class LabelNormal(_Ordered):
    """Independent normal distributions of labels, in physical units; σ = inf leaves a label unconstrained.

    For labels known from photometry or a parallax. With an unconstrained label it is not a density by itself but a
    factor of `Product`. `known` makes it from a model's label names.

    Parameters
    ----------
    loc, scale : (..., L) array
        Means and standard deviations; leading axes are stars.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.sampling import LabelNormal
    >>> prior = LabelNormal(np.array([4500.0, 0.0]), np.array([100.0, np.inf]))
    >>> peak, below = prior.log_prob(np.array([[4500.0, 2.0], [4400.0, 3.0]]))
    >>> round(float(peak - below), 3)
    0.5
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    pytree_data_fields = ("loc", "scale")

    def __init__(self, loc: Float[AnyArray, "*batch label"], scale: Float[AnyArray, "*batch label"]) -> None:
        self.loc, self.scale = jnp.asarray(loc, float), jnp.asarray(scale, float)
        shape = jnp.broadcast_shapes(self.loc.shape, self.scale.shape)
        super().__init__(shape[:-1], shape[-1:], validate_args=False)

    def log_prob(self, value: Labels, intermediates: Any = None) -> Density:
        known = jnp.isfinite(self.scale)
        scale = jnp.where(known, self.scale, 1)
        log_p = -0.5 * jnp.square((value - self.loc) / scale) - jnp.log(scale) - 0.5 * np.log(2 * np.pi)
        return jnp.sum(jnp.where(known, log_p, 0), axis=-1)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Labels:
        scale = jnp.where(jnp.isfinite(self.scale), self.scale, jnp.nan)
        return self.loc + scale * jax.random.normal(key, self.shape(sample_shape))


class Product(_Ordered):
    """A product of priors: ln p = Σ ln p_k + const; the constant is left out.

    Draws are made from the first factor and resampled by the others, from 256 candidates each: good where the others
    are not much narrower than the first. ``log_prob`` has no such condition.

    Parameters
    ----------
    *factors : NumPyro distributions of event shape (L,)

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.sampling import LabelNormal, Product
    >>> photometry = LabelNormal(np.array([4500.0, 2.0]), np.array([100.0, np.inf]))
    >>> seismology = LabelNormal(np.array([4500.0, 2.0]), np.array([np.inf, 0.1]))
    >>> Product(photometry, seismology).event_shape
    (2,)
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
    """ln p, and −inf outside of the distribution's support, which NumPyro does not check."""
    inside = prior.support(labels)
    feasible = jnp.where(inside[..., None], labels, prior.support.feasible_like(labels))
    return jnp.where(inside, prior.log_prob(feasible), -jnp.inf)


def _choose(key: Array, shape: tuple[int, ...], draw: Any, log_weight: Any) -> Array:
    """One of `_N_CANDIDATES` draws for each element of ``shape``, with probabilities ∝ exp(log_weight)."""
    first, second = jax.random.split(key)
    candidates = draw(first, (_N_CANDIDATES, *shape))
    weights = log_weight(candidates)
    chosen = jnp.argmax(weights + jax.random.gumbel(second, weights.shape), axis=0)
    return jnp.take_along_axis(candidates, chosen[None, ..., None], axis=0)[0]
