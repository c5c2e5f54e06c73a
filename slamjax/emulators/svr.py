"""SLAM's emulator: all pixels' SVRs as one kernel expansion, a pure function from labels to flux.

f_λ(ℓ) = μ_λ + s_λ [ Σ_i a_iλ k_γλ(M x, M x_i) + b_λ ],  x = (t(ℓ) − m) / w,  a_iλ = α_iλ − α*_iλ

(Zhang, Liu & Deng 2020, ApJS 246, 9, eq. 4-5, where the diagonal metric M is 1.) All pixels share the support vectors
x_i, so pixels with the same γ share one kernel vector, and evaluation is one matrix product for each γ.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators import kernels
from slamjax.emulators.base import PRECISION, Arrays, Standardised
from slamjax.emulators.scaling import LabelScaling
from slamjax.typing import AnyArray, Dual, PixelIndex, ScaledLabels, Support

_MAX_SLICES, _MIN_SLICE = 16, 100
#: Support vectors on the device are a multiple of this: models of different stars share compiled programs.
_TOGETHER = 64
#: Sums for more pixels than this have half as many slices: memory traffic would cost more than the product
#: (benchmarks/fitting/large_spectra.py).
_WIDE = 2048


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class KernelBlock:
    """Pixels of one kernel: for each of G (γ, c₀) pairs, dual coefficients of up to Q pixels, padded with zeros.

    ``labels`` are the indices of the labels that the kernel depends on; empty: all. ``metric`` (L,) multiplies scaled
    labels before they enter the kernel, so that it may be wide in one label and narrow in another; None: all ones.
    """

    gamma: Float[AnyArray, " gamma"]
    coef0: Float[AnyArray, " gamma"]
    dual: Dual
    kernel: str = field(metadata={"static": True})
    degree: int = field(metadata={"static": True})
    labels: tuple[int, ...] = field(default=(), metadata={"static": True})
    metric: Float[AnyArray, " label"] | None = None

    @property
    def factors(self) -> Any:
        """The metric on the host; 1 where there is none."""
        return 1.0 if self.metric is None else np.asarray(self.metric, float)

    def __call__(self, x: ScaledLabels, support: Support) -> Float[Array, "*batch slot"]:
        """Σ_i a_i k(x, x_i) for each slot, (..., G·Q)."""
        if self.metric is not None:
            x, support = x * self.metric, support * self.metric
        s = kernels.similarity(self.kernel, x, support, self.labels)
        profile = kernels.profile(self.kernel, self.degree)
        if self.dual.shape[0] == 1:
            return _sum_over_support(profile(s, self.gamma[0], self.coef0[0]), self.dual[0])

        def one(group: tuple[Any, Any, Any]) -> Float[Array, "*batch slot"]:
            gamma, coef0, dual = group
            return _sum_over_support(profile(s, gamma, coef0), dual)

        return _join_groups(jax.lax.map(one, (self.gamma, self.coef0, self.dual)))

    def with_jacobian(self, x: ScaledLabels, support: Support) -> Float[Array, "*batch row slot"]:
        """The sums and, below them, their derivatives with respect to x: rows of the same matrix product."""
        if self.metric is not None:
            x, support = x * self.metric, support * self.metric
        s = kernels.similarity(self.kernel, x, support, self.labels)
        ds = kernels.similarity_gradient(self.kernel, x, support, self.labels)
        if self.metric is not None:
            ds = ds * jnp.asarray(self.metric)[:, None]
        profile = kernels.profile(self.kernel, self.degree)
        slope = kernels.profile_slope(self.kernel, self.degree)

        def one(group: tuple[Any, Any, Any]) -> Float[Array, "*batch row slot"]:
            gamma, coef0, dual = group
            k = profile(s, gamma, coef0)
            rows = jnp.concatenate([k[..., None, :], slope(s, gamma, coef0, k)[..., None, :] * ds], axis=-2)
            return _sum_over_support(rows, dual)

        if self.dual.shape[0] == 1:
            return one((self.gamma[0], self.coef0[0], self.dual[0]))
        return _join_groups(jax.lax.map(one, (self.gamma, self.coef0, self.dual)))


def _sum_over_support(
    k: Float[AnyArray, "*batch support"], dual: Float[Array, "support slot"]
) -> Float[Array, "*batch slot"]:
    """Σ_i k_i a_i, as the sum of products over slices of the support vectors.

    Coefficients reach C while their sum is near 1, so a running float32 sum over thousands of stars loses enough digits
    for χ² to jitter and a fit to stall. Sixteen short sums keep more of them for little time
    (benchmarks/fitting/kernel_sum.py).
    """
    n = dual.shape[0]
    most = _MAX_SLICES if dual.shape[1] <= _WIDE else _MAX_SLICES // 2
    slices = max(1, min(most, n // _MIN_SLICE))
    edges = [n * i // slices for i in range(slices + 1)]
    parts = [
        jnp.matmul(k[..., low:high], dual[low:high], precision=PRECISION) for low, high in itertools.pairwise(edges)
    ]
    while len(parts) > 1:  # pairwise, for the same reason
        parts = [sum(parts[i + 1 : i + 2], start=parts[i]) for i in range(0, len(parts), 2)]
    return parts[0]


def _join_groups(parts: Float[Array, "gamma *batch slot"]) -> Float[Array, "*batch joined"]:
    moved = jnp.moveaxis(parts, 0, -2)
    return moved.reshape(*moved.shape[:-2], -1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class KernelEmulator(Standardised):
    """SLAM's emulator: an immutable pytree; ``emulator(labels)`` is the predicted flux.

    Works under jit, vmap, grad, jacfwd, hessian, scan and shard_map, as an argument and as a closure. An untrained
    pixel has a NaN intercept and predicts NaN, see `trained`.

    Attributes
    ----------
    scaling : how labels become x
    support : (S, L) scaled labels of all support vectors
    blocks : kernel sums, one block per kernel (and padded size)
    intercept : (P,) b, in scaled flux
    flux_mean, flux_scale : (P,) μ and s, in flux units
    order : (P,) each pixel's index among the blocks' slots, or None if they are in order
    basis : (R, P) or None
        For a compressed emulator (`slamjax.emulators.compression`): the blocks' slots are R components, to each of
        which every γ contributes, and this is the scaled flux of each component.

    Examples
    --------
    >>> import jax
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 520), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.SVR(), recipe=recipe, noise="diagonal")
    >>> labels = jax.numpy.array([4500.0])
    >>> model.emulator(labels).shape
    (11,)
    >>> jax.jacfwd(model.emulator)(labels).shape
    (11, 1)
    """

    kind: ClassVar[str] = "kernel"
    scaling: LabelScaling
    support: Support
    blocks: tuple[KernelBlock, ...]
    intercept: Float[AnyArray, " pixel"]
    flux_mean: Float[AnyArray, " pixel"]
    flux_scale: Float[AnyArray, " pixel"]
    order: PixelIndex | None
    basis: Float[AnyArray, "component pixel"] | None = None

    @property
    def is_compressed(self) -> bool:
        return self.basis is not None

    @property
    def is_compressible(self) -> bool:
        return self.basis is None

    @property
    def name(self) -> str:
        return "SLAM"

    @property
    def description(self) -> str:
        kernels_used = dict.fromkeys(block.kernel for block in self.blocks)
        return f"SLAM, kernel {', '.join(kernels_used)}"

    @property
    def length_scales(self) -> np.ndarray:
        """(L,) by which differences of labels are divided before they enter the kernel, in units of the labels."""
        return np.asarray(self.scaling.width, float) / self.blocks[0].factors

    @property
    def n_terms(self) -> int:
        """Support vectors."""
        return len(self.support)

    @property
    def n_groups(self) -> int:
        """Kernel matrices that pixels, or components, are sums over."""
        return sum(block.dual.shape[0] for block in self.blocks)

    def padded(self) -> KernelEmulator:
        """With copies of the first support vector, whose coefficients are 0, up to a multiple of `_TOGETHER`."""
        more = -len(self.support) % _TOGETHER
        support = np.concatenate([self.support, np.repeat(self.support[:1], more, axis=0)])
        blocks = tuple(
            dataclasses.replace(block, dual=np.pad(block.dual, ((0, 0), (0, more), (0, 0)))) for block in self.blocks
        )
        return dataclasses.replace(self, support=support, blocks=blocks)

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arrays and header for a model file."""
        arrays = self.common_arrays() | {"support": self.support}
        arrays |= {name: getattr(self, name) for name in ("order", "basis") if getattr(self, name) is not None}
        for number, block in enumerate(self.blocks):
            names = ("gamma", "coef0", "dual", *(() if block.metric is None else ("metric",)))
            arrays |= {f"block{number}/{name}": getattr(block, name) for name in names}
        blocks = [{"kernel": block.kernel, "degree": block.degree, "labels": block.labels} for block in self.blocks]
        return arrays, {"blocks": blocks}

    @classmethod
    def from_arrays(cls, arrays: Arrays, header: Mapping[str, Any], scaling: LabelScaling) -> KernelEmulator:
        """The emulator of a model file."""
        blocks = tuple(
            KernelBlock(
                **{name: arrays[f"block{number}/{name}"] for name in ("gamma", "coef0", "dual")},
                kernel=block["kernel"],
                degree=int(block["degree"]),
                labels=tuple(int(label) for label in block.get("labels", ())),  # from schema 4 on
                metric=arrays.get(f"block{number}/metric"),  # from schema 7 on
            )
            for number, block in enumerate(header["blocks"])
        )
        common = cls.common_fields(arrays)
        return cls(scaling, arrays["support"], blocks, **common, order=arrays.get("order"), basis=arrays.get("basis"))

    def sums(self, x: ScaledLabels) -> Float[Array, "*batch pixel"]:
        """Σ_i a_i k(x, x_i) of each pixel."""
        return self._in_order([block(x, self.support) for block in self.blocks])

    def rows(self, x: ScaledLabels) -> Float[Array, "*batch row pixel"]:
        """The sums and, below them, their derivatives with respect to x."""
        return self._in_order([block.with_jacobian(x, self.support) for block in self.blocks])

    def components(self, x: ScaledLabels) -> Float[Array, "*batch component"]:
        """A compressed emulator's components (..., R) at scaled labels x (..., L), the coefficients of ``basis``."""
        return self._every_gamma([block(x, self.support) for block in self.blocks])

    def _every_gamma(self, parts: list[Array]) -> Array:
        assert self.basis is not None
        joined = jnp.concatenate(parts, axis=-1)
        return jnp.sum(joined.reshape(*joined.shape[:-1], -1, self.basis.shape[0]), axis=-2)

    def _in_order(self, parts: list[Array]) -> Array:
        if self.basis is not None:
            return jnp.matmul(self._every_gamma(parts), self.basis, precision=PRECISION)
        joined = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
        return joined if self.order is None else jnp.take(joined, self.order, axis=-1)
