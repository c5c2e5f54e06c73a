"""Σ of all that was observed of a star: blocks of spectra that have no error in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.noise import visits
from slamjax.typing import AnyArray


class Span(NamedTuple):
    """Where the pixels of a block lie among all pixels of a star: ``n_visits`` spectra of ``n_pix`` from ``first``."""

    first: int
    n_visits: int
    n_pix: int

    @property
    def end(self) -> int:
        return self.first + self.n_visits * self.n_pix

    def of(self, pixels: Any) -> Any:
        """(..., n_pix) the block's pixels of (..., P), or (..., n_visits, n_pix) where there are several visits."""
        own = pixels[..., self.first : self.end]
        return own if self.n_visits == 1 else own.reshape(*own.shape[:-1], self.n_visits, self.n_pix)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class JointNoise:
    """The noise of each model's spectra; spectra of one model share its emulator error, see `slamjax.noise.visits`.

    Attributes
    ----------
    blocks : noise of each model
    spans : where their pixels lie
    """

    blocks: tuple[Any, ...]
    spans: tuple[Span, ...] = field(metadata={"static": True})

    @property
    def rank(self) -> int:
        return sum(visits.rank(noise, span.n_visits) for noise, span in zip(self.blocks, self.spans, strict=True))

    def weights(self, ivar: Float[AnyArray, "*batch pixel"]) -> Float[Array, "*batch pixel"]:
        """Inverse variance of each pixel, correlations aside; 0 for a pixel that does not count."""
        parts = [
            jnp.reshape(noise.weights(span.of(ivar)), (*jnp.shape(ivar)[:-1], -1))
            for noise, span in zip(self.blocks, self.spans, strict=True)
        ]
        return jnp.concatenate(parts, axis=-1)

    def factorised(self, ivar: Float[AnyArray, " pixel"]) -> JointFactorised:
        """What takes long of each block's Σ⁻¹, of one star."""
        parts: list[Any] = []
        for noise, span in zip(self.blocks, self.spans, strict=True):
            own = span.of(_after(jnp.asarray(ivar), parts))
            parts.append(noise.factorised(own) if span.n_visits == 1 else visits.factorised(noise, own))
        return JointFactorised(tuple(parts), jnp.ones(len(self.blocks), jnp.result_type(ivar)))

    def inverse_covariance(
        self, ivar: Float[AnyArray, " pixel"], factorised: JointFactorised | None = None
    ) -> JointInverseCovariance:
        """Σ⁻¹ of one star with these photon errors."""
        known = self.factorised(ivar) if factorised is None else factorised
        parts: list[Any] = []
        for noise, span, kept in zip(self.blocks, self.spans, known.parts, strict=True):
            own = span.of(_after(jnp.asarray(ivar), [getattr(part, "whitener", None) for part in parts]))
            if span.n_visits == 1:
                parts.append(noise.inverse_covariance(own, kept))
            else:
                parts.append(visits.visits_inverse_covariance(noise, own, kept))
        return JointInverseCovariance(tuple(parts), known.factor)

    def variance_shares(self, ivar: Float[AnyArray, " pixel"]) -> Float[Array, "block 2"]:
        """Expected χ² of each block by the emulator's error and by photon noise, correlations aside; of one star."""
        return jnp.stack(
            [
                noise.variance_shares(span.of(ivar))
                if span.n_visits == 1
                else visits.variance_shares(noise, span.of(ivar))
                for noise, span in zip(self.blocks, self.spans, strict=True)
            ]
        )


def _after(ivar: Array, parts: list[Any]) -> Array:
    """The same numbers, that are known only when the last matrix among ``parts`` is.

    LAPACK's calls for different models would run concurrently otherwise, and can wait for each other for ever, see
    `slamjax._util.jit`.
    """
    known = [part for part in parts if part is not None]
    if not known:
        return ivar
    before = known[-1][..., 0, 0]
    return ivar + jnp.where(jnp.isfinite(before), 0 * before, 0).astype(ivar.dtype)[..., None]


class JointFactorised(NamedTuple):
    """What is kept of a star's Σ⁻¹: parts of the blocks, and a factor of each."""

    parts: tuple[Any, ...]
    factor: Any


class JointInverseCovariance(NamedTuple):
    """Σ⁻¹ of each block of a star, and a factor that it counts with: 1 over the block's noise scale, or 1."""

    parts: tuple[Any, ...]
    factor: Any

    def logdet(self) -> Any:
        """ln |Σ| over the good pixels, the factors being 1."""
        return sum((part.logdet() for part in self.parts[1:]), start=self.parts[0].logdet())
