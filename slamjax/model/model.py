"""The model: everything that training learnt and that a new star needs."""

from __future__ import annotations

import dataclasses
import os
import warnings
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from astropy import units as u
from astropy.table import Table
from jaxtyping import Float

from slamjax.emulators.base import Emulator
from slamjax.emulators.compression import Compressed, compress, compress_if_large
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError, SlamWarning
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import Nuisances
from slamjax.model.info import ModelInfo
from slamjax.model.storage import ModelParts, read_parts, write_parts
from slamjax.noise.calibration import Calibration
from slamjax.noise.models import DiagonalNoise, Noise
from slamjax.preprocessing.recipe import Recipe
from slamjax.preprocessing.regrid import onto_grid
from slamjax.preprocessing.resolution import MatchResolution
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Flux, Labels

#: Wavelengths agree if they differ by less than this part of a pixel.
_GRID_TOLERANCE = 1e-3
#: Spectra whose pixels are wider than the model's by this factor are told of.
_COARSE = 2.0


@partial(
    jax.tree_util.register_dataclass, data_fields=["host_emulator", "noise", "training_labels"], meta_fields=["info"]
)
@dataclass(frozen=True, eq=False)
class Model:
    """A trained SLAM or polynomial: emulator, noise, training range, recipe and provenance; an immutable pytree.

    ``model(labels)`` is the predicted flux. The arrays are kept in float64 as trained (and as saved), and handed to
    JAX in the precision it runs in: ``model.emulator`` is what to use inside other JAX code.
    """

    host_emulator: Emulator
    noise: Noise
    training_labels: TrainingLabels
    info: ModelInfo

    @property
    def emulator(self) -> Emulator:
        """The emulator with its arrays on the device, in JAX's current default precision (made once)."""
        if isinstance(self.host_emulator.intercept, jax.core.Tracer):
            return self.host_emulator
        cache: dict[str, Emulator] = self.__dict__.setdefault("_device", {})
        key = str(jax.dtypes.canonicalize_dtype(float))
        if key not in cache:
            with jax.ensure_compile_time_eval():  # a model closed over by jit must not cache that trace's arrays
                cache[key] = self.host_emulator.on_device()
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
        return np.isfinite(np.asarray(self.host_emulator.intercept))

    @property
    def label_range(self) -> np.ndarray:
        """(L, 2) smallest and largest training label, in physical units."""
        box = np.stack([self.training_labels.low, self.training_labels.high])
        return np.asarray(self.host_emulator.scaling.inverse(box)).T

    def __repr__(self) -> str:
        return (
            f"Model({', '.join(self.label_names)}; {self.wave.size} pixels {self.wave[0]:g}-{self.wave[-1]:g} "
            f"{self.info.wave_unit}; trained on {len(self.training_labels.stars)} stars)"
        )

    def needs_rv(self, spectra: Spectra) -> bool:
        """Whether the spectra are as observed and the model knows stars at rest: they need a velocity."""
        return spectra.frame == "observed" and self.info.frame == "rest"

    def prepare(self, spectra: Spectra, velocity: Float[np.ndarray, " star"] | None = None) -> Spectra:
        """New spectra on the model's grid, prepared as the training spectra were.

        Spectra that have the model's pixels are taken as they are; others are brought to its medium, rest frame and
        wavelengths in one resampling, and blurred to its line spread where they tell a finer one.

        Parameters
        ----------
        spectra : Spectra
        velocity : (N,) km/s, optional
            Needed where spectra are as observed and the model is of stars at rest; `slamjax.measure_rv` finds it.

        Raises
        ------
        SlamError
            If the spectra have none of the model's wavelengths, or are in another frame and no velocity is given.
        """
        placed, info = self.place(spectra, velocity), self.info
        treatment = info.recipe.treatment
        if info.fwhm is not None and placed.fwhm is not None:
            treatment = Recipe((MatchResolution(info.fwhm, info.wave_unit), *treatment.steps))
        return treatment(placed)

    def place(self, spectra: Spectra, velocity: Float[np.ndarray, " star"] | None = None) -> Spectra:
        """The spectra on the model's wavelengths, in its frame: `prepare` without what is done to the flux there."""
        info = self.info
        if self.needs_rv(spectra) and velocity is None:
            raise SlamError(
                f"{spectra.source} is in the observed frame but the model was trained in the rest frame; give "
                "velocities (slamjax.measure_rv finds them)"
            )
        if spectra.frame == "rest" and info.frame == "observed":
            raise SlamError(
                f"{spectra.source} is in the rest frame but the model was trained in the observed frame; give spectra "
                "as they were observed"
            )
        placed = self._on_grid(spectra) if velocity is None else None
        if placed is None:
            self._check_reach(spectra)
            placed = onto_grid(spectra, self.wave, info.wave_unit, info.medium, velocity)  # type: ignore[arg-type]
        return placed

    def _on_grid(self, spectra: Spectra) -> Spectra | None:
        """The spectra's pixels that are the model's, if all are there."""
        info = self.info
        if "unknown" not in (spectra.medium, info.medium) and spectra.medium != info.medium:
            return None
        wave = spectra.wave * u.Unit(spectra.wave_unit).to(info.wave_unit)
        step = np.gradient(self.wave) if self.wave.size > 1 else np.ones(1)
        nearest = np.clip(np.searchsorted(wave, self.wave - _GRID_TOLERANCE * step), 0, wave.size - 1)
        if np.any(np.abs(wave[nearest] - self.wave) > _GRID_TOLERANCE * step):
            return None
        aligned = spectra.on_pixels(nearest)
        fwhm = None if spectra.fwhm is None else spectra.fwhm * u.Unit(spectra.wave_unit).to(info.wave_unit)
        return dataclasses.replace(aligned, wave=self.wave, wave_unit=u.Unit(info.wave_unit), fwhm=fwhm)

    def _check_reach(self, spectra: Spectra) -> None:
        wave = spectra.wave * u.Unit(spectra.wave_unit).to(self.info.wave_unit)
        if self.wave.size < 2 or wave[-1] < self.wave[0] or wave[0] > self.wave[-1]:
            raise SlamError(
                f"{spectra.source} covers {wave[0]:g} to {wave[-1]:g} {self.info.wave_unit} and has none of the "
                f"model's {self.wave.size} wavelengths ({self.wave[0]:g} to {self.wave[-1]:g})"
            )
        own, wanted = (np.median(np.diff(np.log(grid))) for grid in (wave, self.wave))
        if own > _COARSE * wanted:
            warnings.warn(
                f"the pixels of {spectra.source} are {own / wanted:.1f} times as wide as the model's: it cannot show "
                "the lines that the model knows",
                SlamWarning,
                stacklevel=4,
            )

    def with_diagonal_noise(self) -> Model:
        """The same model with the published likelihood: every pixel by itself, with the model error it was given."""
        error = np.asarray(self.info.pixels["model_error"], float)
        noise = DiagonalNoise(np.where(np.isfinite(error), np.square(error), np.inf))
        info = dataclasses.replace(self.info, calibration=Calibration(chi2_limit=float("inf")))
        return dataclasses.replace(self, noise=noise, info=info)

    def compress(self, tolerance: float = 0.01) -> Model:
        """The same model with its emulator in few components; see `slamjax.emulators.compression.compress`.

        ``info.pixels`` then has a column ``compression_error``, the provenance the number of components and the
        largest errors.
        """
        return self._with_compressed(compress(self.host_emulator, self.noise, self.training_labels, tolerance))

    def quick(self) -> Model:
        """The model, compressed if it is large and that loses nothing; made once a model."""
        cache: dict[str, Model] = self.__dict__.setdefault("_quick", {})
        if "model" not in cache:
            small = compress_if_large(self.host_emulator, self.noise, self.training_labels)
            cache["model"] = self if small is None else self._with_compressed(small)
        return cache["model"]

    def _with_compressed(self, small: Compressed) -> Model:
        pixels = Table(self.info.pixels, copy=True)
        pixels["compression_error"] = small.pixel_error
        settings = self.info.provenance.get("settings", {}) | {"compression": small.report}
        info = dataclasses.replace(self.info, pixels=pixels, provenance=self.info.provenance | {"settings": settings})
        return dataclasses.replace(self, host_emulator=small.emulator, info=info)

    def with_nuisances(self, nuisances: Nuisances) -> ForwardEmulator:
        """The emulator with nuisances around it, in physical flux, on the device.

        Raises SlamError if the nuisances leave too few pixels, or the wavelengths are not positive.
        """
        return ForwardEmulator.around(self.host_emulator, self.wave, nuisances).on_device()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the model file (HDF5); `Model.read` gives the same model back, bit by bit."""
        write_parts(ModelParts(self.host_emulator, self.noise, self.training_labels, self.info), path)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Model:
        """Read a model file.

        Raises
        ------
        SlamError
            If it is missing, truncated, damaged (a checksum differs), no model file, or of a newer schema.
        """
        parts = read_parts(path)
        return cls(parts.emulator, parts.noise, parts.training_labels, parts.info)
