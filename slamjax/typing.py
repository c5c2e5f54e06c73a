"""Named array shapes, written once: the last axis says what an array holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Array, Bool, Float, Int

Scalar: TypeAlias = Float[Array, ""]
#: Labels in physical units (Teff in K, log g in dex, ...), any batch shape in front.
Labels: TypeAlias = Float[Array | np.ndarray, "*batch label"]
#: Standardised labels, x = (t(label) - m) / w.
ScaledLabels: TypeAlias = Float[Array, "*batch label"]
#: Flux on the model's wavelength grid.
Flux: TypeAlias = Float[Array, "*batch pixel"]
#: Inverse variance of the flux; 0 marks a bad pixel, inf a pixel whose error is not stated.
Ivar: TypeAlias = Float[Array, "*batch pixel"]
#: Derivative of the flux with respect to each label.
Jacobian: TypeAlias = Float[Array, "*batch label pixel"]
Support: TypeAlias = Float[Array, "support label"]
Dual: TypeAlias = Float[Array, "gamma support slot"]
PixelMask: TypeAlias = Bool[Array, "pixel"]
PixelIndex: TypeAlias = Int[Array, "pixel"]

#: What host code (files, tables, scikit-learn) hands around.
HostArray: TypeAlias = np.ndarray
#: ln of the prior density of one star's labels, in physical units.
LogPrior: TypeAlias = Callable[[Float[Array, " label"]], Scalar]
#: Told of progress: (done, total).
Progress: TypeAlias = Callable[[int, int], None]
