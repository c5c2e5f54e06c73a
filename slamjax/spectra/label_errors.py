"""Errors of known labels, as a catalogue states them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from slamjax.spectra.spectra import Spectra


def stated_label_errors(spectra: Spectra, names: Sequence[str]) -> Float[np.ndarray, "star label"]:
    """(N, L) the table's ``<label>_err``; 0 where there is no column, or no number above 0 in it.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> errors = stated_label_errors(stars, ["teff", "ak_targ"])
    >>> bool(errors[:, 0].min() > 0), float(errors[:, 1].max())
    (True, 0.0)
    """
    errors = np.zeros((len(spectra), len(names)))
    for k, name in enumerate(names):
        if f"{name}_err" in spectra.table.colnames:
            stated = spectra.values(f"{name}_err")
            errors[:, k] = np.where(np.isfinite(stated) & (stated > 0), stated, 0)
    return errors
