"""Two stars in one spectrum: f = (1 − w) f(θ₁, v₁) + w f(θ₂, v₂), for spectra that are divided by their continuum.

w is the second star's share of the light: a parameter, at most a half and the same at all wavelengths, or a function of
the labels of both, w = L(θ₂) / (L(θ₁) + L(θ₂)). Both stars are predictions of one emulator; labels may be common to
them, as the abundances of stars that were born together are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.scaling import LabelScaling
from slamjax.errors import SlamError
from slamjax.forward.emulator import ForwardEmulator, Parameters
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.typing import Flux, Jacobian

#: Largest share of the second star, which is the fainter one.
LARGEST_SHARE = 0.5
#: Brightness of stars, up to a constant, from their labels (..., L) in the model's units, by jax.numpy: (...), or
#: (..., P) where it depends on wavelength.
Light: TypeAlias = Callable[[Any], Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PairEmulator:
    """The sum of two stars, an immutable pytree that is fitted like a `slamjax.ForwardEmulator`.

    Parameters are the scaled labels of the first star, those of the second that are its own, both velocities in units
    of the model's pixel, and w unless it follows from the labels. Works under jit, vmap, grad and jacfwd.

    Attributes
    ----------
    forward : of one star, with a free velocity and nothing else
    own : places of the labels that each star has for itself
    light : brightness of a star from its labels, or None

    Examples
    --------
    >>> import slamjax
    >>> from slamjax.forward import PairEmulator
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 600), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> pair = PairEmulator.from_forward(model.with_nuisances(slamjax.Nuisances(rv="free")), own=(0,))
    >>> pair.n_labels
    2
    """

    forward: ForwardEmulator
    own: tuple[int, ...] = field(metadata={"static": True})
    light: Light | None = field(default=None, metadata={"static": True})

    @classmethod
    def from_forward(cls, forward: ForwardEmulator, own: tuple[int, ...], light: Light | None = None) -> PairEmulator:
        """Around the prediction of one star; raises SlamError where more than its velocity is free."""
        if forward.free != ("rv",) or forward.terms is not None:
            raise SlamError(f"two stars have a free velocity each and no other nuisance, not {forward.nuisances}")
        return cls(forward, own, light)

    @property
    def scaling(self) -> LabelScaling:
        """Of one star's labels."""
        return self.forward.scaling

    @property
    def n_labels(self) -> int:
        """Labels of both stars together."""
        return self.forward.n_labels + len(self.own)

    @property
    def terms(self) -> None:
        """There is no polynomial."""
        return None

    def of_each(self, x: Parameters) -> Float[Array, "*batch 2 parameter"]:
        """Labels and velocity of each star, as the emulator of one star takes them."""
        n, k = self.forward.n_labels, self.n_labels
        x = jnp.asarray(x)
        second: Array = jnp.asarray(x)[..., :n]
        for place, label in enumerate(self.own):
            second = second.at[..., label].set(x[..., n + place])
        labels = jnp.stack([x[..., :n], second], axis=-2)
        return jnp.concatenate([labels, x[..., k : k + 2, None]], axis=-1)

    def share(self, x: Parameters) -> Float[Array, "*batch pixel_or_1"]:
        """The second star's share of the light, of each pixel or (..., 1) of all."""
        x = jnp.asarray(x)
        if self.light is None:
            return x[..., -1:]
        n = self.forward.n_labels
        each = jnp.asarray(self.light(self.scaling.inverse(self.of_each(x)[..., :n])), x.dtype)
        each = each[..., None] if each.ndim == x.ndim else each
        return each[..., 1, :] / (each[..., 0, :] + each[..., 1, :])

    def at(self, x: Parameters) -> Flux:
        """Flux (..., P) at parameters."""
        w = self.share(x)
        flux = self.forward.at(self.of_each(x))
        return (1 - w) * flux[..., 0, :] + w * flux[..., 1, :]

    def at_with_jacobian(self, x: Parameters) -> tuple[Flux, Jacobian]:
        """Flux (..., P) and its derivatives (..., parameter, P)."""
        x = jnp.asarray(x)
        w, n = self.share(x), self.forward.n_labels
        flux, slopes = self.forward.at_with_jacobian(self.of_each(x))
        first, second = (1 - w)[..., None, :] * slopes[..., 0, :, :], w[..., None, :] * slopes[..., 1, :, :]
        own = np.isin(np.arange(n), self.own)[:, None]
        rows = [
            first[..., :n, :] + jnp.where(own, 0, second[..., :n, :]),
            second[..., jnp.asarray(self.own, int), :],
            first[..., n:, :],
            second[..., n:, :],
        ]
        more = flux[..., 1, :] - flux[..., 0, :]
        total = (1 - w) * flux[..., 0, :] + w * flux[..., 1, :]
        if self.light is None:
            return total, jnp.concatenate([*rows, more[..., None, :]], axis=-2)
        by_labels = jnp.vectorize(jax.jacfwd(self.share), signature="(k)->(p,k)")(x)
        return total, jnp.concatenate(rows, axis=-2) + jnp.swapaxes(by_labels, -1, -2) * more[..., None, :]

    def information(self, inv_cov: InverseCovariance, x: Parameters, flux: Flux) -> Float[Array, "row row"]:
        """Gram matrix of residual and Jacobian, see `slamjax.emulators.base.Standardised.information`."""
        predicted, slopes = self.at_with_jacobian(x)
        return inv_cov.gram(jnp.concatenate([(flux - predicted)[None], slopes]))

    def bounds(
        self, low: Float[np.ndarray, " one"], high: Float[np.ndarray, " one"]
    ) -> tuple[Float[np.ndarray, " parameter"], Float[np.ndarray, " parameter"]]:
        """The box of the parameters, from that of one star's labels and velocity."""
        own, n = list(self.own), self.forward.n_labels
        ends = [np.concatenate([end[:n], end[own], end[[n, n]]]) for end in (np.asarray(low), np.asarray(high))]
        if self.light is not None:
            return ends[0], ends[1]
        return np.append(ends[0], 0).astype(ends[0].dtype), np.append(ends[1], LARGEST_SHARE).astype(ends[1].dtype)
