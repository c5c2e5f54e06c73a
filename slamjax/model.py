"""The model: everything that training learnt and that a new star needs."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
from astropy import units as u
from astropy.table import Table

from slamjax.domain import Domain
from slamjax.errors import SlamError
from slamjax.goodness import Calibration
from slamjax.noise import DiagonalNoise, Noise
from slamjax.prepare.recipe import Recipe
from slamjax.spectra import Spectra, is_known
from slamjax.standardised import Emulator
from slamjax.typing import Flux, Labels

#: Wavelengths agree if they differ by less than this part of a pixel.
_GRID_TOLERANCE = 1e-3


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


@partial(jax.tree_util.register_dataclass, data_fields=["exact", "noise", "domain"], meta_fields=["info"])
@dataclass(frozen=True, eq=False)
class Model:
    """A trained SLAM or polynomial: emulator, noise, training range, recipe and provenance; an immutable pytree.

    ``model(labels)`` is the predicted flux. The arrays are kept in float64 as trained (and as saved), and handed to
    JAX in the precision it runs in: ``model.emulator`` is what to use inside other JAX code.
    """

    exact: Emulator
    noise: Noise
    domain: Domain
    info: ModelInfo

    @property
    def emulator(self) -> Emulator:
        """The emulator with its arrays on the device, in JAX's current default precision (made once)."""
        if isinstance(self.exact.intercept, jax.core.Tracer):
            return self.exact
        cache: dict[str, Emulator] = self.__dict__.setdefault("_device", {})
        key = str(jax.dtypes.canonicalize_dtype(float))
        if key not in cache:
            with jax.ensure_compile_time_eval():  # a model closed over by jit must not cache that trace's arrays
                cache[key] = self.exact.on_device()
        return cache[key]

    def __call__(self, labels: Labels) -> Flux:
        """Predicted flux (..., P), prepared as by ``recipe``, for labels (..., L) in the order of ``label_names``.

        NaN at pixels that could not be trained (see ``info.pixels``).
        """
        return self.emulator(labels)

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.info.label_names

    @property
    def wave(self) -> np.ndarray:
        """(P,) wavelengths, in ``info.wave_unit``."""
        return self.info.wave

    @property
    def recipe(self) -> Recipe:
        return self.info.recipe

    @property
    def trained(self) -> np.ndarray:
        """(P,) bool: pixels that could be trained."""
        return np.isfinite(np.asarray(self.exact.intercept))

    @property
    def label_range(self) -> np.ndarray:
        """(L, 2) smallest and largest training label, in physical units."""
        box = np.stack([self.domain.low, self.domain.high])
        return np.asarray(self.exact.scaling.inverse(box)).T

    def __repr__(self) -> str:
        return (
            f"Model({', '.join(self.label_names)}; {self.wave.size} pixels {self.wave[0]:g}-{self.wave[-1]:g} "
            f"{self.info.wave_unit}; trained on {len(self.domain.stars)} stars)"
        )

    def prepare(self, spectra: Spectra) -> Spectra:
        """New spectra on the model's grid, prepared as the training spectra were.

        Raises
        ------
        SlamError
            If the spectra do not cover the model's wavelengths, or are measured in another medium.
        """
        info = self.info
        if "unknown" not in (spectra.medium, info.medium) and spectra.medium != info.medium:
            raise SlamError(
                f"{spectra.source} has {spectra.medium} wavelengths but the model was trained on {info.medium} ones; "
                "convert them first"
            )
        if "unknown" not in (spectra.frame, info.frame) and spectra.frame != info.frame:
            raise SlamError(
                f"{spectra.source} is in the {spectra.frame} frame but the model was trained in the {info.frame} "
                "frame; shift it first"
            )
        on_grid = self._on_grid(spectra)
        return info.recipe(on_grid)

    def _on_grid(self, spectra: Spectra) -> Spectra:
        """The spectra's pixels that are the model's: before the recipe, so that others cannot enter it."""
        info = self.info
        wave = spectra.wave * u.Unit(spectra.wave_unit).to(info.wave_unit)
        step = np.gradient(self.wave) if self.wave.size > 1 else np.ones(1)
        nearest = np.clip(np.searchsorted(wave, self.wave - _GRID_TOLERANCE * step), 0, wave.size - 1)
        missing = np.abs(wave[nearest] - self.wave) > _GRID_TOLERANCE * step
        if missing.any():
            at = self.wave[missing]
            raise SlamError(
                f"{spectra.source} ({wave[0]:g} to {wave[-1]:g} {info.wave_unit}, {wave.size} pixels) has no pixel at "
                f"{missing.sum()} of the model's {self.wave.size} wavelengths (first {at[0]:g} {info.wave_unit}); "
                "resample it to the model's grid"
            )
        aligned = spectra.on_pixels(nearest)
        return dataclasses.replace(aligned, wave=self.wave, wave_unit=u.Unit(info.wave_unit))

    def with_diagonal_noise(self) -> Model:
        """The same model with the published likelihood: every pixel by itself, with the model error it was given."""
        error = np.asarray(self.info.pixels["model_error"], float)
        noise = DiagonalNoise(np.where(np.isfinite(error), np.square(error), np.inf))
        info = dataclasses.replace(self.info, calibration=Calibration(chi2_limit=float("inf")))
        return dataclasses.replace(self, noise=noise, info=info)

    def compress(self, tolerance: float = 0.01) -> Model:
        """The same model with its emulator in few components; see `slamjax.compression.compress`."""
        from slamjax.compression import compress  # it stands above the model

        return compress(self, tolerance)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model file (HDF5); see `slamjax.load`."""
        from slamjax.modelfile import save  # the file format stands above the model

        save(self, path)
