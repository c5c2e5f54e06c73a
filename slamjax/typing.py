"""Named array shapes, written once: the last axis says what an array holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Array, Bool, Float, Int

#: On the device, or on the host on its way there: what a pytree's leaves may be.
AnyArray: TypeAlias = Array | np.ndarray

Scalar: TypeAlias = Float[Array, ""]
#: Labels in physical units (Teff in K, log g in dex, ...), any batch shape in front.
Labels: TypeAlias = Float[AnyArray, "*batch label"]
#: Standardised labels, x = (t(label) - m) / w.
ScaledLabels: TypeAlias = Float[AnyArray, "*batch label"]
#: Flux on the model's wavelength grid.
Flux: TypeAlias = Float[AnyArray, "*batch pixel"]
#: Inverse variance of the flux; 0 marks a bad pixel, inf a pixel whose error is not stated.
Ivar: TypeAlias = Float[AnyArray, "*batch pixel"]
#: Derivative of the flux with respect to each label.
Jacobian: TypeAlias = Float[Array, "*batch label pixel"]
Support: TypeAlias = Float[AnyArray, "support label"]
Dual: TypeAlias = Float[AnyArray, "gamma support slot"]
PixelMask: TypeAlias = Bool[Array, "pixel"]
PixelIndex: TypeAlias = Int[AnyArray, "pixel"]

#: ln of the prior density of one star's labels, in physical units.
LogPrior: TypeAlias = Callable[[Float[Array, " label"]], Scalar]
#: Told of progress: (done, total).
Progress: TypeAlias = Callable[[int, int], None]
