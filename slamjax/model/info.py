"""What a model is apart from its arrays: grid, recipe, training stars, calibration, provenance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax.noise.calibration import Calibration
from slamjax.preprocessing.recipe import Recipe
from slamjax.spectra.identifiers import is_known
from slamjax.spectra.spectra import Spectra


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """Which stars trained the model: enough to keep them out of a validation.

    ``identifiers`` holds the training table's identifier columns, ``digests`` one hash a spectrum, ``rows`` their
    places in ``source``.
    """

    source: str
    rows: np.ndarray
    digests: np.ndarray
    identifiers: dict[str, np.ndarray]

    def contains(self, spectra: Spectra) -> np.ndarray:
        """(N,) bool: spectra of stars that trained the model, by identifier or by the very same flux."""
        found = np.isin(spectra.digests(), self.digests)
        columns = spectra.columns()
        for name, known in self.identifiers.items():
            if name in columns and columns[name].dtype.kind == known.dtype.kind:
                found |= np.isin(columns[name], known[is_known(known)])
        return found


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """What a model is apart from its arrays; never traced by JAX.

    Attributes
    ----------
    label_names, label_units : L strings; an empty unit for a pure number
    wave : (P,) the model's grid, in ``wave_unit``, with ``medium``, ``frame``, ``fwhm`` as in Spectra
    recipe : how spectra are prepared
    pixels : Table of P rows: hyper-parameters, CV score, support vectors and status of each pixel
    candidates : Table of the hyper-parameters that were tried
    cv_scores : (P, candidates) mean squared error of held-out stars, in scaled flux
    record : which stars trained it
    has_errors : whether the training spectra stated their errors
    calibration : how chi2 is to be read, and what it says of a star's own noise
    provenance : settings, versions, date
    """

    label_names: tuple[str, ...]
    label_units: tuple[str, ...]
    wave: np.ndarray
    wave_unit: str
    medium: str
    frame: str
    fwhm: float | None
    recipe: Recipe
    pixels: Table
    candidates: Table
    cv_scores: np.ndarray
    record: TrainingRecord
    has_errors: bool
    calibration: Calibration
    provenance: dict[str, Any] = field(default_factory=dict)
