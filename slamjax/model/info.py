"""Metadata of a model: wavelengths, recipe, training stars, calibration, provenance."""

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
    """The training stars, to keep them out of a validation.

    Attributes
    ----------
    source : name of the file or table
    rows : (N,) their rows in ``source``
    digests : (N,) one hash per spectrum
    identifiers : the training table's identifier columns
    """

    source: str
    rows: np.ndarray
    digests: np.ndarray
    identifiers: dict[str, np.ndarray]

    def contains(self, spectra: Spectra) -> np.ndarray:
        """(N,) bool: spectra of training stars, by identifier or by identical flux."""
        is_training = np.isin(spectra.digests(), self.digests)
        columns = spectra.columns()
        for name, known in self.identifiers.items():
            if name in columns and columns[name].dtype.kind == known.dtype.kind:
                is_training |= np.isin(columns[name], known[is_known(known)])
        return is_training


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """Metadata of a model; never traced by JAX.

    Attributes
    ----------
    label_names, label_units : L strings; an empty unit for dimensionless labels
    wave : (P,) wavelengths in ``wave_unit``, with ``medium``, ``frame``, ``fwhm`` as in Spectra
    recipe : Recipe that prepares spectra
    pixels : Table of P rows: hyper-parameters, CV score, support vectors and status of each pixel
    candidates : Table of all tried hyper-parameters
    cv_scores : (P, candidates) mean squared error of held-out stars, in scaled flux
    record : the training stars
    has_errors : whether the training spectra state their errors
    calibration : interpretation of χ²
    provenance : settings, versions, date
    velocity_scale : factor of the variance that the model error of independent pixels gives velocities
    flux_unit : unit of the prepared training spectra, and of predictions; "" is dimensionless, None not stated
    """

    label_names: tuple[str, ...]
    label_units: tuple[str, ...]
    wave: np.ndarray
    wave_unit: str
    medium: str
    frame: str
    fwhm: float | np.ndarray | None
    recipe: Recipe
    pixels: Table
    candidates: Table
    cv_scores: np.ndarray
    record: TrainingRecord
    has_errors: bool
    calibration: Calibration
    provenance: dict[str, Any] = field(default_factory=dict)
    velocity_scale: float = 1.0
    flux_unit: str | None = None

    @property
    def screened(self) -> Table:
        """Stars that training left out as outliers: ``row``, ``star`` (an identifier) and ``reason``."""
        stars = self.provenance.get("settings", {}).get("screened", [])
        dtypes = {"row": int, "star": str, "reason": str}
        return Table({name: np.array([star[name] for star in stars], kind) for name, kind in dtypes.items()})
