"""Named array shapes, defined once; the names of the axes say what an array holds.

Axes: ``star``, ``pixel``, ``label``, ``support`` (support vectors), ``gamma`` (kernel widths); ``*batch`` is any number
of leading axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Array, Bool, Float, Int

#: On the device or on the host: what the leaves of a pytree may be.
AnyArray: TypeAlias = Array | np.ndarray

Scalar: TypeAlias = Float[Array, ""]
#: Labels in physical units (Teff in K, log g in dex, ...).
Labels: TypeAlias = Float[AnyArray, "*batch label"]
#: Standardised labels, x = (t(label) - m) / w.
ScaledLabels: TypeAlias = Float[AnyArray, "*batch label"]
#: Flux on the model's wavelength grid.
Flux: TypeAlias = Float[AnyArray, "*batch pixel"]
#: Inverse variance of the flux: 0 for a bad pixel, inf for a good pixel without a known error.
Ivar: TypeAlias = Float[AnyArray, "*batch pixel"]
#: Derivatives of the flux with respect to the labels.
Jacobian: TypeAlias = Float[Array, "*batch label pixel"]
#: Support vectors: standardised labels of training stars.
Support: TypeAlias = Float[AnyArray, "support label"]
#: Coefficients of the support vectors, for each kernel width and the pixels that use it.
Dual: TypeAlias = Float[AnyArray, "gamma support slot"]
#: Which pixels.
PixelMask: TypeAlias = Bool[Array, "pixel"]
#: Numbers of pixels.
PixelIndex: TypeAlias = Int[AnyArray, "pixel"]

#: ln of the prior density of one star's labels, in physical units.
LogPrior: TypeAlias = Callable[[Float[Array, " label"]], Scalar]
#: Called with the progress of long work: (done, total).
Progress: TypeAlias = Callable[[int, int], None]
