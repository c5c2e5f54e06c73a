"""Standardisation: labels to x = (t(label) − m) / w, flux to (f − μ) / s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.typing import AnyArray, Labels, ScaledLabels

Method = Literal["standard", "robust"]
METHODS = ("standard", "robust")
_LN10 = float(np.log(10.0))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LabelScaling:
    """x = (t(label) − center) / width, with t = log10 for labels with ``log``, else the identity.

    NumPy labels are standardised in NumPy, in their own precision, before they are rounded to float32.

    Parameters
    ----------
    center, width : (L,) arrays
    log : L bools

    Examples
    --------
    >>> import numpy as np, slamjax
    >>> scaling = slamjax.LabelScaling(np.array([4500.0, 2.0]), np.array([300.0, 0.5]), (False, False))
    >>> scaling(np.array([4800.0, 1.5]))
    array([ 1., -1.])
    >>> scaling.inverse(np.array([1.0, -1.0])).tolist()
    [4800.0, 1.5]
    """

    center: Float[AnyArray, " label"]
    width: Float[AnyArray, " label"]
    log: tuple[bool, ...] = field(metadata={"static": True})

    @property
    def n_labels(self) -> int:
        return len(self.log)

    def __call__(self, labels: Labels) -> ScaledLabels:
        """Physical labels (..., L) to scaled ones."""
        xp, labels = _namespace(labels, self.center)
        return (self._transform(xp, labels) - self.center) / self.width

    def inverse(self, x: Any) -> Any:
        """Scaled labels (..., L) to physical ones."""
        xp, x = _namespace(x, self.center)
        t = x * self.width + self.center
        if not any(self.log):
            return t
        return xp.where(xp.asarray(self.log), xp.power(10.0, xp.where(xp.asarray(self.log), t, 0)), t)

    def slope(self, x: Any) -> Any:
        """d label / d x at scaled labels x, (..., L): turns errors in x into errors in physical units."""
        xp, x = _namespace(x, self.center)
        if not any(self.log):
            return xp.broadcast_to(self.width, x.shape)
        return self.width * xp.where(xp.asarray(self.log), self.inverse(x) * _LN10, 1.0)

    def _transform(self, xp: Any, labels: Any) -> Any:
        if not any(self.log):
            return labels
        log = xp.asarray(self.log)
        return xp.where(log, xp.log10(xp.where(log, labels, 1.0)), labels)

    @classmethod
    def from_labels(
        cls, labels: np.ndarray, names: Sequence[str], method: Method = "standard", log: Sequence[str] = ()
    ) -> LabelScaling:
        """The scaling of training labels (N, L): mean and standard deviation, or median and half the 16-84 % range.

        NaN is ignored.

        Raises SlamError for a label that is constant, or not positive where log10 is asked for.
        """
        unknown = [name for name in log if name not in names]
        if unknown:
            raise SlamError(
                f"log10 is asked for {', '.join(unknown)}, which is not one of the labels {', '.join(names)}"
            )
        taken = tuple(name in log for name in names)
        columns = []
        for name, values, as_log in zip(names, labels.T, taken, strict=True):
            if as_log and not np.all(values[np.isfinite(values)] > 0):
                raise SlamError(f"label {name!r} has values that are not positive; do not learn it in log10")
            columns.append(np.log10(values) if as_log else values)
        t = np.stack(columns, axis=-1)
        center, width = location_and_width(t, method)
        for name, values, w in zip(names, t.T, width, strict=True):
            known = values[np.isfinite(values)]
            if np.ptp(known) == 0:
                raise SlamError(f"label {name!r} is the same, {known[0]:g}, for all training stars; leave it out")
            if not w > 0:
                raise SlamError(f"label {name!r} has no robust width (most values are equal); use standard scaling")
        # numbers that a float32 holds exactly: the same scaling in either precision
        return cls(center.astype(np.float32).astype(float), width.astype(np.float32).astype(float), taken)


def location_and_width(values: np.ndarray, method: Method) -> tuple[np.ndarray, np.ndarray]:
    """Centre and width along the first axis, NaN ignored."""
    if method == "standard":
        return np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    if method == "robust":
        low, middle, high = np.nanpercentile(values, [16, 50, 84], axis=0)
        return middle, (high - low) / 2
    raise SlamError(f"unknown scaling {method!r}; choose one of {', '.join(METHODS)}")


def _namespace(values: Any, reference: Any) -> tuple[Any, Any]:
    """NumPy for what lives on the host, jax.numpy for the rest; integers become floats."""
    if isinstance(values, jax.Array) or isinstance(reference, jax.core.Tracer):
        array = jnp.asarray(values)
        return jnp, array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
    return np, np.asarray(values, dtype=np.float64)
