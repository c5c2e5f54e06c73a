"""Nuisances around an emulator: P_n(λ) × 10^(−0.4 A(λ)) × [emulator(θ) ⊗ G(v, σ) ⊗ R(v sin i)].

A `ForwardEmulator` is called like an emulator. Its parameters are the scaled labels, followed by the free nuisances:
rv in units of the model's pixel, widths as squares of that unit, extinction in mag (`slamjax.forward.coordinates`).
The polynomial's coefficients c are linear and have a Gaussian prior N(m, T), so they are never parameters. With
F = f B, the flux times each Legendre term, a spectrum is N(F m, Σ + F T Fᵀ) once they are integrated out, and

    rᵀ(Σ + F T Fᵀ)⁻¹r = min_c (y − F c)ᵀΣ⁻¹(y − F c) + (c − m)ᵀT⁻¹(c − m)
    ln |Σ + F T Fᵀ| = ln |Σ| + ln |T| + ln |T⁻¹ + FᵀΣ⁻¹F|

(Rasmussen & Williams 2006, eq. 2.41-2.43): a fit solves for, and a sampler marginalises over, the same coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import legendre

from slamjax._util.linalg import eliminate
from slamjax.emulators.scaling import LabelScaling
from slamjax.errors import SlamError
from slamjax.forward.coordinates import NARROW, Coordinate, Linear, ResolvingPower, Width
from slamjax.forward.doppler import VelocityGrid, reach, untouched
from slamjax.forward.extinction import curve_of, dimming, dimming_slopes
from slamjax.forward.nuisances import MOVING, WIDTHS, Nuisances
from slamjax.forward.orthogonal import orthonormal
from slamjax.forward.pixel_facts import PixelFacts
from slamjax.forward.resolution import own_resolution
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.typing import AnyArray, Flux, Jacobian, Labels, Scalar

#: Smallest fraction of the trained pixels that must be left to a fit.
_ENOUGH = 0.3
#: A polynomial term is left out where its prior allows no larger standard deviation than this on a star's pixels.
_HELD = {4: 1e-6, 8: 1e-12}
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
Parameters = Float[AnyArray, "*batch parameter"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ForwardEmulator:
    """An emulator with nuisance parameters, an immutable pytree: ``forward(labels, rv=..., ...)`` predicts flux.

    Works under jit, vmap, grad and jacfwd. Made by `slamjax.Model.with_nuisances`. In your own NumPyro model::

        forward = model.with_nuisances(slamjax.Nuisances(rv="free"))
        labels = numpyro.sample("labels", slamjax.sampling.training_range(model))
        flux = forward(labels, rv=numpyro.sample("rv", dist.Normal(0, 100)))
        ivar = jnp.where(forward.usable, ivar, 0)
        numpyro.sample("flux", slamjax.sampling.SpectrumDistribution(flux, noise, ivar), obs=observed)

    Attributes
    ----------
    emulator : anything with ``scaling``, ``trained``, ``at`` and ``at_with_jacobian``
    grid : for shifts and broadening; None without velocities
    terms : (n + 1, P) Legendre polynomials on the model's range, or None
    usable : (P,) bool: pixels that may count; near the ends and near untrained pixels, flux is not predicted at all
        allowed velocities
    nuisances : Nuisances
    curve : (2, P) a and b of the extinction curve, or None
    resolution : the model's own R, where one of spectra is a nuisance
    line_spread : of one star, at observed wavelengths (``slamjax.forward.line_spread.LineSpread``), or None

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 600), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> forward = model.with_nuisances(slamjax.Nuisances(rv="free", polynomial=2))
    >>> forward([4500.0], rv=30.0).shape
    (51,)
    """

    emulator: Any
    grid: VelocityGrid | None
    terms: Float[AnyArray, "term pixel"] | None
    usable: AnyArray
    nuisances: Nuisances = field(metadata={"static": True})
    line_spread: Any = None
    curve: Float[AnyArray, "2 pixel"] | None = None
    resolution: float | None = field(default=None, metadata={"static": True})

    @classmethod
    def from_emulator(
        cls, emulator: Any, wave: Float[np.ndarray, " pixel"], nuisances: Nuisances, facts: PixelFacts | None = None
    ) -> ForwardEmulator:
        """Around any emulator of pixels at ``wave`` (P,), on the host; a resolution and extinction need ``facts``."""
        wave = np.asarray(wave, float)
        trained = np.asarray(emulator.trained)
        grid, usable, terms = None, trained, None
        resolution, curve = own_resolution(nuisances, facts), curve_of(nuisances, facts)
        if nuisances.moving:
            if not np.all(wave > 0):
                raise SlamError("velocities need wavelengths above 0")
            farthest = reach(nuisances, resolution)
            usable = untouched(wave, trained, farthest)
            if usable.sum() < max(2, _ENOUGH * trained.sum()):
                raise SlamError(
                    f"velocities as large as allowed ({nuisances}) leave {usable.sum()} of the model's "
                    f"{trained.sum()} pixels that nothing from beyond the spectrum's ends or from untrained pixels "
                    "comes to; give narrower bounds"
                )
            grid = VelocityGrid.from_pixels(wave, trained, farthest)
        if nuisances.polynomial is not None:
            place = 2 * (wave - wave[0]) / (wave[-1] - wave[0]) - 1
            terms = legendre.legvander(place, nuisances.polynomial).T
        return cls(emulator, grid, terms, usable, nuisances, curve=curve, resolution=resolution)

    def on_device(self) -> ForwardEmulator:
        """The same emulator with JAX arrays of the default precision."""
        return jax.tree_util.tree_map(jnp.asarray, self)

    # --- parameters

    @property
    def scaling(self) -> LabelScaling:
        """Of the labels."""
        return self.emulator.scaling

    @property
    def n_labels(self) -> int:
        return self.scaling.n_labels

    @property
    def free(self) -> tuple[str, ...]:
        """Nuisances that stand behind the labels among the parameters."""
        return self.nuisances.free

    def coordinate_of(self, name: str) -> Coordinate:
        """How a nuisance stands among the parameters."""
        if name not in MOVING:
            return Linear()
        assert self.grid is not None
        if name in WIDTHS:
            return Width(self.grid.unit)
        if name == "resolution":
            assert self.resolution is not None
            return ResolvingPower(self.grid.unit, self.resolution)
        return Linear(self.grid.unit)

    def coordinate(self, name: str, value: Any) -> Any:
        """A nuisance's value, km/s or in its own unit, as the parameter that stands for it."""
        return self.coordinate_of(name).parameter(value)

    def velocity(self, name: str, parameter: Any) -> Any:
        """The value, km/s or in its own unit, that a parameter stands for."""
        return self.coordinate_of(name).value(parameter)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds (V,) and (V,) of the free nuisances' parameters."""
        ends = [[self.coordinate(name, bound) for bound in self.nuisances.bounds(name)] for name in self.free]
        low, high = np.sort(np.array(ends, float).reshape(-1, 2), axis=1).T
        return low, high

    def parameters(self, labels: Labels, **velocities: Any) -> Parameters:
        """Parameters (..., L + V) of labels (..., L) in physical units and every free nuisance (...), in its unit."""
        if set(velocities) != set(self.free):
            raise SlamError(
                f"nuisances given are {', '.join(velocities) or 'none'}; the free ones are "
                f"{', '.join(self.free) or 'none'}"
            )
        x = jnp.asarray(self.scaling(labels))
        behind = [
            jnp.broadcast_to(self.coordinate(name, jnp.asarray(velocities[name], x.dtype)), x.shape[:-1])
            for name in self.free
        ]
        return jnp.concatenate([x, *(one[..., None] for one in behind)], axis=-1)

    def __call__(self, labels: Labels, *, polynomial: Any = None, **velocities: Any) -> Flux:
        """Predicted flux (..., P).

        Parameters
        ----------
        labels : (..., L) in physical units
        polynomial : (..., n + 1), optional
            Legendre coefficients; by default 1, 0, 0, ….
        **velocities : (...)
            Every free nuisance by its name: rv, sigma_v, vsini (km/s), resolution, extinction (mag), r_v.
        """
        flux = self.at(self.parameters(labels, **velocities))
        if polynomial is None:
            return flux
        if self.terms is None:
            raise SlamError("a polynomial is given, but the nuisances have none")
        return flux * self.polynomial(jnp.asarray(polynomial, flux.dtype))

    def polynomial(self, coefficients: Float[Array, "*batch term"]) -> Flux:
        """(..., P) of Legendre coefficients (..., n + 1)."""
        return _matmul(coefficients, jnp.asarray(self.terms))

    # --- as an emulator is called

    def at(self, x: Parameters) -> Flux:
        """Flux (..., P) at parameters (..., L + V), the polynomial being 1."""
        return self.moved(self.emulator.at(x[..., : self.n_labels]), x)

    def at_with_jacobian(self, x: Parameters) -> tuple[Flux, Jacobian]:
        """Flux (..., P) and its derivatives (..., L + V, P) with respect to the parameters."""
        flux, slopes = self.emulator.at_with_jacobian(x[..., : self.n_labels])
        return self.moved_with_jacobian(flux, slopes, x)

    def moved(self, flux: Flux, x: Parameters) -> Flux:
        """Flux (..., P) of the emulator, changed by the nuisances among parameters (..., L + V)."""
        values = self._values(x)
        if self.grid is not None:
            flux = self.grid.back(self.grid.transform(flux) * self.grid.factor(values))
        flux = flux if self.line_spread is None else self.line_spread(flux)
        return flux if self.curve is None else flux * dimming(self.curve, values)

    def moved_with_jacobian(
        self, flux: Flux, slopes: Jacobian, x: Parameters
    ) -> tuple[Flux, Float[Array, "*batch parameter pixel"]]:
        """The same of flux (..., P) and its derivatives (..., L, P) by the labels; those by nuisances are added."""
        values = self._values(x)
        if self.grid is not None:
            plain = self.grid.transform(jnp.concatenate([flux[..., None, :], slopes], axis=-2))
            moved = plain * self.grid.factor(values)[..., None, :]
            by_velocity = [plain[..., 0, :] * slope for slope in self.grid.slopes(values, self._moving_free)]
            rows = self.grid.back(jnp.concatenate([moved, *(row[..., None, :] for row in by_velocity)], axis=-2))
            flux, slopes = rows[..., 0, :], rows[..., 1:, :]
        if self.line_spread is not None:
            flux, slopes = self.line_spread(flux), self.line_spread(slopes)
        if self.curve is None:
            return flux, slopes
        factor = dimming(self.curve, values)
        flux, slopes = flux * factor, slopes * factor[..., None, :]
        dust = [flux * slope for slope in dimming_slopes(self.curve, values, self.free)]
        return flux, jnp.concatenate([slopes, *(row[..., None, :] for row in dust)], axis=-2)

    def residual_and_jacobian(self, x: Parameters, flux: Flux) -> Float[Array, "*batch row pixel"]:
        """Rows [flux − f(x); ∂f/∂x₁; …] (..., L + V + 1, P), the polynomial being 1."""
        predicted, slopes = self.at_with_jacobian(x)
        return jnp.concatenate([(flux - predicted)[..., None, :], slopes], axis=-2)

    def _values(self, x: Parameters) -> dict[str, Any]:
        """Parameter of every nuisance in the model, of shape (..., 1); a resolution counts as the width it adds."""
        values: dict[str, Any] = {}
        for name in self.nuisances.present:
            if name in self.free:
                k = self.n_labels + self.free.index(name)
                value = x[..., k : k + 1]
            else:
                value = jnp.full((1,), self.coordinate(name, self.nuisances.bounds(name)[0]), x.dtype)
            values["sigma_v" if name == "resolution" else name] = value
        return values

    @property
    def _moving_free(self) -> tuple[str, ...]:
        """Free nuisances of the grid, by the grid's names."""
        return tuple("sigma_v" if name == "resolution" else name for name in self.free if name in MOVING)

    # --- with the polynomial solved or integrated out, one star at a time

    def information(self, inv_cov: InverseCovariance, x: Parameters, flux: Flux) -> Float[Array, "row row"]:
        """G of `Emulator.information` for the parameters (L + V,), polynomial solved, priors added.

        Variable projection: residual at the best polynomial, slopes without what a change of it takes up (Golub &
        Pereyra 1973, SIAM J. Numer. Anal. 10, 413; in Kaufman's form). So G[1:, 1:] is the information that is left of
        the parameters once the polynomial is unknown.
        """
        predicted, slopes = self.at_with_jacobian(x)
        more = self.prior_rows(x)
        if self.terms is None:
            rows = jnp.concatenate([(flux - predicted)[None], slopes])
            return inv_cov.gram(rows) + _gram(more)
        predicted = jnp.where(self.usable, predicted, 0)
        terms, legendre_of = self.terms_for(inv_cov.weight)
        lines = predicted * terms
        change, _ = self._solve(inv_cov.gram(jnp.concatenate([(flux - predicted)[None], lines])), legendre_of)
        best = 1 + _matmul(change, terms)
        residual = flux - predicted * best
        slopes = slopes * best
        n = slopes.shape[0]
        gram = inv_cov.gram(jnp.concatenate([slopes, lines]))
        taken, _ = eliminate(gram[n:, n:] + self.weakest(legendre_of), gram[n:, :n])
        slopes = slopes - _matmul(taken.T, lines)
        about = -_matmul(jnp.concatenate([change[None], taken.T]), legendre_of) / self.nuisances.polynomial_sd
        return inv_cov.gram(jnp.concatenate([residual[None], slopes])) + _gram(about) + _gram(more)

    def coefficients(self, inv_cov: InverseCovariance, x: Parameters, flux: Flux) -> Float[Array, " term"]:
        """The polynomial's best coefficients (n + 1,) at given parameters (L + V,)."""
        predicted = jnp.where(self.usable, self.at(x), 0)
        terms, legendre_of = self.terms_for(inv_cov.weight)
        gram = inv_cov.gram(jnp.concatenate([(flux - predicted)[None], predicted * terms]))
        return _matmul(self._solve(gram, legendre_of)[0], legendre_of).at[0].add(1)

    def prediction(self, inv_cov: InverseCovariance, x: Parameters, flux: Flux) -> Flux:
        """Flux (P,) at given parameters (L + V,), with the best polynomial."""
        predicted = self.at(x)
        return predicted if self.terms is None else predicted * self.polynomial(self.coefficients(inv_cov, x, flux))

    def marginal(
        self, inv_cov: InverseCovariance, x: Parameters, flux: Flux, noise_scale: Any = 1.0
    ) -> tuple[Scalar, Scalar]:
        """rᵀS⁻¹r and ln |S| − ln |s Σ| for S = s Σ + F T Fᵀ, with s the noise scale, at parameters (L + V,)."""
        predicted = jnp.where(self.usable, self.at(x), 0)  # 0 · NaN of an untrained pixel is NaN, in slopes too
        if self.terms is None:
            residual = flux - predicted
            return jnp.sum(jnp.square(inv_cov.whiten(residual))) / noise_scale, jnp.zeros((), residual.dtype)
        terms, legendre_of = self.terms_for(inv_cov.weight)
        gram = inv_cov.gram(jnp.concatenate([(flux - predicted)[None], predicted * terms])) / noise_scale
        change, logdet = self._solve(gram, legendre_of)
        residual = flux - predicted * (1 + _matmul(change, terms))
        sd = self.nuisances.polynomial_sd
        square = jnp.sum(jnp.square(_matmul(change, legendre_of) / sd))
        chi2 = jnp.sum(jnp.square(inv_cov.whiten(residual))) / noise_scale + square
        return chi2, logdet + 2 * terms.shape[0] * float(np.log(sd))

    def terms_for(self, weight: Float[AnyArray, " pixel"]) -> tuple[Array, Array]:
        """A basis Q of polynomials for pixels of this weight, and its Legendre coefficients B: c = Bᵀ of Q's."""
        degree = self.nuisances.n_coefficients - 1
        place = jnp.asarray(self.terms[1] if degree else jnp.zeros(weight.shape), weight.dtype)  # type: ignore[index]
        q, legendre_of = orthonormal(place, weight, degree)
        # a polynomial that the prior holds so near to 0 on these pixels would only cost the others their digits
        held = jnp.linalg.norm(legendre_of, axis=1) * _HELD[weight.dtype.itemsize] > self.nuisances.polynomial_sd
        free = ~held[:, None]
        eye = jnp.eye(degree + 1, dtype=weight.dtype)
        return jax.lax.stop_gradient((jnp.where(free, q, 0), jnp.where(free, legendre_of, eye)))

    def _solve(
        self, gram: Float[Array, "row row"], legendre_of: Float[Array, "term term"]
    ) -> tuple[Float[Array, " term"], Scalar]:
        """Best coefficients in Q less their prior mean, and ln |T⁻¹ + FᵀΣ⁻¹F|, of rows residual and f Q."""
        solution, logdet = eliminate(gram[1:, 1:] + self.weakest(legendre_of), gram[1:, :1])
        return solution[:, 0], logdet - 2 * jnp.sum(jnp.log(jnp.abs(jnp.diagonal(legendre_of))))

    def weakest(self, legendre_of: Float[Array, "term term"]) -> Float[Array, "term term"]:
        """T⁻¹ of coefficients in Q."""
        return _matmul(legendre_of, legendre_of.T) / self.nuisances.polynomial_sd**2

    def velocity_cost(self, x: Parameters) -> Scalar:
        """Σ ((v − mean) / sd)² of nuisances with a Gaussian prior, at parameters (L + V,)."""
        return jnp.sum(jnp.square(self.prior_rows(x)[0]))

    def prior_rows(self, x: Parameters) -> Float[Array, "row prior"]:
        """(1 + L + V, K): residual of each Gaussian prior, in standard deviations, and its slopes below."""
        gaussian = [(k, name) for k, name in enumerate(self.free) if getattr(self.nuisances, name).is_gaussian]
        rows = jnp.zeros((1 + x.shape[-1], len(gaussian)), x.dtype)
        for column, (k, name) in enumerate(gaussian):
            place = self.n_labels + k
            residual, slope = prior_row(getattr(self.nuisances, name), name, self.coordinate_of(name), x[place])
            rows = rows.at[0, column].set(residual).at[1 + place, column].set(slope)
        return rows


def prior_row(prior: Any, name: str, coordinate: Coordinate, parameter: Any) -> tuple[Any, Any]:
    """Residual of a nuisance's Gaussian prior, in standard deviations, and its slope by the nuisance's parameter."""
    at = jnp.maximum(parameter, NARROW**2) if name in WIDTHS else parameter
    return (prior.mean - coordinate.value(at)) / prior.sd, coordinate.slope(at) / prior.sd


def _gram(rows: Float[Array, "row column"]) -> Float[Array, "row row"]:
    return _matmul(rows, rows.T)
