"""One emulator of all that was observed of a star: shared labels, nuisances of each spectrum, any number of models.

χ², its gradient and the Fisher matrix are sums over spectra that have no error in common. The parameters are the scaled
labels, nuisances that all spectra share, and behind them those of each spectrum. What a model calls its parameters,
y = T x + t, is linear in these: labels are scaled alike but for place and width, nuisances have other units, and a
resolving power counts from the model's own. With G_y the Gram matrix of a model's residual and Jacobian, its part of
the joint one is Tᵀ G_y T.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax._util.linalg import eliminate
from slamjax.emulators.scaling import LabelScaling
from slamjax.errors import SlamError
from slamjax.forward.coordinates import Coordinate
from slamjax.forward.emulator import ForwardEmulator, prior_row
from slamjax.forward.nuisances import Gaussian
from slamjax.noise.joint import JointInverseCovariance, Span
from slamjax.noise.visits import VisitsInverseCovariance
from slamjax.typing import AnyArray, Flux, Scalar

Parameters = Float[Array, " parameter"]
Gram = Float[Array, "row row"]
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Arm:
    """The spectra of a star that one model predicts.

    Attributes
    ----------
    forward : ForwardEmulator
    scale, offset : (L',) this model's scaled labels are scale · x + offset, at ``labels`` among the joint ones
    units, origins : (V,) this model's parameters of free nuisances are units · x + origins; 1 and 0 unless shared
    span : number of spectra, and where their pixels lie
    labels : positions of this model's labels among the joint parameters
    nuisances : position of each free nuisance of each spectrum among the joint parameters
    name : of the model
    line_spread : of each spectrum of one star (``slamjax.forward.line_spread.LineSpread`` with a leading axis), or None
    """

    forward: ForwardEmulator
    scale: Float[AnyArray, " label"]
    offset: Float[AnyArray, " label"]
    units: Float[AnyArray, " nuisance"]
    origins: Float[AnyArray, " nuisance"]
    span: Span = field(metadata={"static": True})
    labels: tuple[int, ...] = field(metadata={"static": True})
    nuisances: tuple[tuple[int, ...], ...] = field(metadata={"static": True})
    name: str = field(metadata={"static": True})
    line_spread: Any = None

    @property
    def shared(self) -> tuple[int, ...]:
        """Which of the free nuisances, by number, all spectra have in common; of one spectrum, all."""
        columns = zip(*self.nuisances, strict=True)
        return tuple(v for v, places in enumerate(columns) if len(set(places)) == 1)

    @property
    def own(self) -> tuple[int, ...]:
        """The others."""
        return tuple(v for v in range(len(self.nuisances[0])) if v not in self.shared)

    def seen(self, line_spread: Any) -> ForwardEmulator:
        """The emulator of a spectrum with this line spread, which may be None."""
        return self.forward if line_spread is None else dataclasses.replace(self.forward, line_spread=line_spread)

    @property
    def _of_one(self) -> ForwardEmulator:
        """The emulator of the only spectrum."""
        return self.seen(jax.tree_util.tree_map(lambda leaf: leaf[0], self.line_spread))

    def scaled_labels(self, x: Any) -> Array:
        """(..., L') this model's scaled labels at joint parameters."""
        own: Array = x[..., jnp.asarray(self.labels)]
        return own * self.scale + self.offset

    def parameters(self, x: Any, visit: int = 0) -> Array:
        """(L' + V,) this model's parameters of a spectrum."""
        behind = x[..., jnp.asarray(self.nuisances[visit], int)] * self.units + self.origins
        if "resolution" in self.forward.free:  # no R is above the model's own
            behind = behind.at[..., self.forward.free.index("resolution")].max(0)
        return jnp.concatenate([self.scaled_labels(x), behind], axis=-1)

    def at(self, x: Parameters) -> Float[Array, " pixel"]:
        """Flux of all spectra, one after the other, the polynomials being 1."""
        flux = self.forward.emulator.at(self.scaled_labels(x))
        if self.forward.grid is None and self.forward.curve is None and self.line_spread is None:
            return jnp.tile(flux, self.span.n_visits)
        each = jax.vmap(lambda y, spread: self.seen(spread).moved(flux, y))(self._all_parameters(x), self.line_spread)
        return jnp.asarray(each).reshape(-1)

    def _all_parameters(self, x: Parameters) -> Float[Array, "visit parameter"]:
        return jnp.stack([self.parameters(x, visit) for visit in range(self.span.n_visits)])

    def information(self, inv_cov: Any, x: Parameters, flux: Flux) -> Gram:
        """Its part of the joint Gram matrix, from its own pixels (P,) or (K, P)."""
        n = 1 + x.shape[-1]
        factors = [jnp.ones(1, x.dtype), jnp.asarray(self.scale, x.dtype)]
        units = jnp.asarray(self.units, x.dtype)
        if self.span.n_visits == 1:
            gram = self._of_one.information(inv_cov, self.parameters(x), flux)
            places = [0, *(1 + k for k in self.labels), *(1 + k for k in self.nuisances[0])]
            factors.append(units)
        else:
            gram = self._visits(x, flux).information(inv_cov)
            shared, own = list(self.shared), list(self.own)
            places = [0, *(1 + k for k in self.labels), *(1 + self.nuisances[0][v] for v in shared)]
            places += [1 + visit[v] for visit in self.nuisances for v in own]
            factors += [units[jnp.asarray(shared, int)], *[units[jnp.asarray(own, int)]] * self.span.n_visits]
        factor = jnp.concatenate(factors)
        at = jnp.asarray(places)
        return jnp.zeros((n, n), x.dtype).at[at[:, None], at[None, :]].add(gram * factor[:, None] * factor)

    def marginal(self, inv_cov: Any, x: Parameters, flux: Flux, noise_scale: Any) -> tuple[Scalar, Scalar]:
        """rᵀS⁻¹r and ln |S| − ln |s Σ|, see `ForwardEmulator.marginal`."""
        if self.span.n_visits == 1:
            return self._of_one.marginal(inv_cov, self.parameters(x), flux, noise_scale)
        return self._visits(x, flux).marginal(inv_cov, noise_scale)

    def coefficients(self, inv_cov: Any, x: Parameters, flux: Flux) -> Float[Array, "visit term"]:
        """The best polynomial of each spectrum."""
        if self.span.n_visits == 1:
            return self._of_one.coefficients(inv_cov, self.parameters(x), flux)[None]
        return self._visits(x, flux).coefficients(inv_cov)

    def _visits(self, x: Parameters, flux: Flux) -> _Visits:
        forward, y = self.forward, self._all_parameters(x)
        predicted, slopes = forward.emulator.at_with_jacobian(self.scaled_labels(x))
        each, rows = jax.vmap(lambda one, spread: self.seen(spread).moved_with_jacobian(predicted, slopes, one))(
            y, self.line_spread
        )
        n_labels = len(self.labels)
        full = [*range(n_labels), *(n_labels + v for v in self.shared)]
        own = [n_labels + v for v in self.own]
        along = jnp.swapaxes(rows[:, jnp.asarray(full)], 0, 1)
        return _Visits(forward, flux, jnp.asarray(each), along, rows[:, jnp.asarray(own, int)], y, tuple(own))


@dataclass(frozen=True, eq=False)
class _Visits:
    """Residuals and slopes of the K spectra of one model.

    ``full`` (F, K, P) are slopes along parameters that all of them have, ``local`` (K, V, P) along their own, ``y``
    (K, L' + V) their parameters, of which ``own`` are the latter.
    """

    forward: ForwardEmulator
    flux: Any
    predicted: Float[Array, "visit pixel"]
    full: Float[Array, "row visit pixel"]
    local: Float[Array, "visit row pixel"]
    y: Float[Array, "visit parameter"]
    own: tuple[int, ...]

    def information(self, inv_cov: VisitsInverseCovariance) -> Gram:
        """As `ForwardEmulator.information`, of [residual; full; local of each visit]."""
        best, (change, terms, legendre_of) = self._polynomials(inv_cov)
        residual = self.flux - self.predicted * best
        rows = jnp.concatenate([residual[None], self.full * best])
        local = self.local * best[:, None]
        n_visits, n_full, n_own, n_terms = local.shape[0], rows.shape[0], local.shape[1], terms.shape[1]
        lines = jnp.where(self.forward.usable, self.predicted, 0)[:, None] * terms
        gram = inv_cov.gram(rows, jnp.concatenate([local, lines], axis=1))
        keep, out = _split(n_full, n_visits, n_own, n_terms)
        wanted = gram[keep[:, None], keep[None, :]]
        if n_terms:
            inverse_prior = _block_diagonal(jax.vmap(self.forward.weakest)(legendre_of))
            right = gram[out[:, None], keep[None, :]]
            # the residual row is at the best polynomial: what is left of its slope is the prior's
            lines_gram = gram[out[:, None], out[None, :]] + inverse_prior
            pull = jnp.einsum("kij,kj->ki", jax.vmap(self.forward.weakest)(legendre_of), change).reshape(-1)
            right = right.at[:, 0].add(-pull)
            taken, _ = eliminate(lines_gram, right)
            wanted = wanted.at[0, 0].add(_matmul(change.reshape(-1), _matmul(inverse_prior, change.reshape(-1))))
            wanted = wanted - _matmul(right.T, taken)
        return wanted + self._priors(n_full)

    def _priors(self, n_full: int) -> Gram:
        """Of the nuisances' Gaussian priors; those that all spectra share are counted by the joint emulator."""
        n_visits, n_own = self.y.shape[0], len(self.own)
        size = n_full + n_visits * n_own
        rows = jax.vmap(self.forward.prior_rows)(self.y)[:, jnp.asarray([0, *(1 + k for k in self.own)])]
        total = jnp.zeros((size, size), rows.dtype)
        for visit in range(n_visits):
            at = jnp.asarray([0, *range(n_full + visit * n_own, n_full + (visit + 1) * n_own)])
            total = total.at[at[:, None], at[None, :]].add(_matmul(rows[visit], rows[visit].T))
        return total

    def marginal(self, inv_cov: VisitsInverseCovariance, noise_scale: Any) -> tuple[Scalar, Scalar]:
        best, (change, terms, legendre_of) = self._polynomials(inv_cov, noise_scale)
        residual = self.flux - self.predicted * best
        none = jnp.zeros((residual.shape[0], 0, residual.shape[1]), residual.dtype)
        chi2 = inv_cov.gram(residual[None], none)[0, 0] / noise_scale
        if not terms.shape[1]:
            return chi2, jnp.zeros((), residual.dtype)
        sd = self.forward.nuisances.polynomial_sd
        lines = jnp.where(self.forward.usable, self.predicted, 0)[:, None] * terms
        gram = inv_cov.gram(jnp.zeros((0, *residual.shape), residual.dtype), lines) / noise_scale
        _, logdet = eliminate(gram + _block_diagonal(jax.vmap(self.forward.weakest)(legendre_of)), gram[:, :0])
        basis = 2 * jnp.sum(jnp.log(jnp.abs(jnp.diagonal(legendre_of, axis1=1, axis2=2))))
        square = jnp.sum(jnp.square(jnp.einsum("ki,kij->kj", change, legendre_of) / sd))
        return chi2 + square, logdet - basis + 2 * change.size * jnp.log(jnp.asarray(sd, chi2.dtype))

    def coefficients(self, inv_cov: VisitsInverseCovariance) -> Float[Array, "visit term"]:
        _, (change, _, legendre_of) = self._polynomials(inv_cov)
        return jnp.einsum("ki,kij->kj", change, legendre_of).at[:, 0].add(1)

    def _polynomials(
        self, inv_cov: VisitsInverseCovariance, noise_scale: Any = 1.0
    ) -> tuple[Float[Array, "visit pixel"], tuple[Array, Array, Array]]:
        """The best polynomial of each spectrum; its change from 1 in a basis, the basis, and its Legendre coefficients.

        All are solved together, for spectra of one star have an error in common.
        """
        n_visits, n_pix = self.predicted.shape
        if self.forward.terms is None:
            none = jnp.zeros((n_visits, 0), self.predicted.dtype)
            return jnp.ones_like(self.predicted), (none, none[:, :, None] * jnp.zeros(n_pix), none[:, :, None])
        terms, legendre_of = jax.vmap(self.forward.terms_for)(jnp.asarray(inv_cov.weight))
        predicted = jnp.where(self.forward.usable, self.predicted, 0)
        lines = predicted[:, None] * terms
        gram = inv_cov.gram((self.flux - predicted)[None], lines) / noise_scale
        inverse_prior = _block_diagonal(jax.vmap(self.forward.weakest)(legendre_of))
        change = eliminate(gram[1:, 1:] + inverse_prior, gram[1:, :1])[0][:, 0].reshape(terms.shape[:2])
        return 1 + jnp.einsum("ki,kip->kp", change, terms), (change, terms, legendre_of)


def _split(n_full: int, n_visits: int, n_own: int, n_terms: int) -> tuple[Array, Array]:
    """Rows of parameters, and rows of polynomials, in a Gram matrix of full rows and, visit by visit, [own; lines]."""
    first = [n_full + visit * (n_own + n_terms) for visit in range(n_visits)]
    keep = [*range(n_full), *(k + i for k in first for i in range(n_own))]
    out = [k + n_own + i for k in first for i in range(n_terms)]
    return jnp.asarray(keep), jnp.asarray(out, int)


def _block_diagonal(blocks: Float[Array, "visit row row"]) -> Gram:
    n_visits, n = blocks.shape[:2]
    visit = jnp.arange(n_visits)
    whole = jnp.zeros((n_visits, n, n_visits, n), blocks.dtype).at[visit, :, visit].set(blocks)
    return whole.reshape(n_visits * n, n_visits * n)


@dataclass(frozen=True)
class SharedPrior:
    """The Gaussian prior of a nuisance that all spectra share: the joint parameter at ``place``."""

    name: str
    place: int
    coordinate: Coordinate
    prior: Gaussian


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class JointEmulator:
    """All spectra of a star as functions of one set of labels, an immutable pytree.

    Made by `slamjax.JointModel.emulator`. Works under jit, vmap, grad and jacfwd.

    Attributes
    ----------
    arms : the models, each with its spectra
    scaling : of the joint labels
    shared : Gaussian priors of nuisances that all spectra share
    n_parameters : labels, shared nuisances, and those of each spectrum

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 600), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> emulator = slamjax.JointModel({"xp": model}, nuisances={"xp": slamjax.Nuisances(rv="free")}).emulator({"xp": 2})
    >>> emulator([4500.0], {"xp": {"rv": [-30.0, 20.0]}})["xp"].shape
    (2, 51)
    """

    arms: tuple[Arm, ...]
    scaling: LabelScaling
    shared: tuple[SharedPrior, ...] = field(metadata={"static": True})
    n_parameters: int = field(metadata={"static": True})

    @property
    def n_labels(self) -> int:
        return self.scaling.n_labels

    @property
    def nuisances(self) -> dict[int, tuple[Arm, str, int]]:
        """What stands at each place behind the labels: a nuisance of the first model that has it, and whose.

        It is that model's own parameter, of unit 1 and origin 0.
        """
        places: dict[int, tuple[Arm, str, int]] = {}
        for arm in self.arms:
            for visit, at in enumerate(arm.nuisances):
                for place, name in zip(at, arm.forward.free, strict=True):
                    places.setdefault(place, (arm, name, visit))
        return dict(sorted(places.items()))

    @property
    def terms(self) -> None:
        """Polynomials belong to the spectra."""
        return None

    def at(self, x: Parameters) -> Float[Array, " pixel"]:
        """Flux of all spectra of a star at joint parameters, one after the other, the polynomials being 1."""
        return jnp.concatenate([arm.at(x) for arm in self.arms])

    def information(self, inv_cov: JointInverseCovariance, x: Parameters, flux: Float[Array, " pixel"]) -> Gram:
        """The joint Gram matrix of residual and Jacobian, see `slamjax.emulators.base.Standardised.information`."""
        parts = self.informations(inv_cov, x, flux)
        return jnp.tensordot(inv_cov.factor, parts, axes=1, precision="highest") + self._shared_information(x)

    def informations(
        self, inv_cov: JointInverseCovariance, x: Parameters, flux: Float[Array, " pixel"]
    ) -> Float[Array, "model row row"]:
        """That of each model's spectra, whatever factor it counts with."""
        each = zip(self.arms, inv_cov.parts, strict=True)
        return jnp.stack([arm.information(inverse, x, arm.span.of(flux)) for arm, inverse in each])

    def _shared_information(self, x: Parameters) -> Gram:
        """Of the priors of nuisances that all spectra share."""
        total = jnp.zeros((1 + x.shape[-1],) * 2, x.dtype)
        for shared in self.shared:
            residual, slope = prior_row(shared.prior, shared.name, shared.coordinate, x[shared.place])
            row = jnp.zeros(1 + x.shape[-1], x.dtype).at[0].set(residual).at[1 + shared.place].set(slope)
            total = total + jnp.outer(row, row)
        return total

    def seen_through(self, line_spreads: tuple[Any, ...]) -> JointEmulator:
        """As a star is predicted whose spectra have these line spreads, of each model; None for its own."""
        arms = zip(self.arms, line_spreads, strict=True)
        return dataclasses.replace(self, arms=tuple(dataclasses.replace(arm, line_spread=one) for arm, one in arms))

    def __call__(self, labels: Any, nuisances: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Flux]:
        """Predicted flux of every spectrum, (K, P) of each model by its name.

        Parameters
        ----------
        labels : (L,) in physical units
        nuisances : of each model, every free one by its name, of shape (K,) or (), in its unit
        """
        given = nuisances or {}
        unknown = set(given) - {arm.name for arm in self.arms}
        if unknown:
            raise SlamError(f"nuisances are given for {min(unknown)!r}; the models are {', '.join(self._names)}")
        flux = {}
        for arm in self.arms:
            own = given.get(arm.name, {})
            x = jnp.asarray(self.scaling(labels))
            y = arm.scaled_labels(x)
            missing = set(arm.forward.free) ^ set(own)
            if missing:
                free = ", ".join(arm.forward.free) or "none"
                raise SlamError(f"{min(missing)!r} of {arm.name!r}: its free nuisances are {free}; give each of them")
            columns = [
                jnp.broadcast_to(arm.forward.coordinate(name, jnp.asarray(own[name], y.dtype)), (arm.span.n_visits,))
                for name in arm.forward.free
            ]
            at_rest = arm.forward.emulator.at(y)
            each = [jnp.concatenate([y, *(column[k : k + 1] for column in columns)]) for k in range(arm.span.n_visits)]
            flux[arm.name] = jax.vmap(lambda one, arm=arm, at_rest=at_rest: arm.forward.moved(at_rest, one))(
                jnp.stack(each)
            )
        return flux

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(arm.name for arm in self.arms)
