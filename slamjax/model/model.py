"""The model: everything that is learnt in training and needed for a new star."""

from __future__ import annotations

import dataclasses
import os
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import jax
import numpy as np
from astropy.table import Table
from jaxtyping import Float

from slamjax._util.cards import html_card
from slamjax._util.progress import reporter
from slamjax.emulators.base import Emulator
from slamjax.emulators.broadening import broadened, can_broaden
from slamjax.emulators.compression import Compressed, compress, compress_if_large
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError, SlamWarning
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import Nuisances
from slamjax.forward.pixel_facts import PixelFacts
from slamjax.forward.scaled import ScaledModel
from slamjax.model.facts import model_facts, model_title
from slamjax.model.info import ModelInfo
from slamjax.model.named_labels import LabelsLike, labels_of, warn_outside
from slamjax.model.own_line_spread import as_seen
from slamjax.model.storage import ModelParts, read_parts, write_parts
from slamjax.noise.calibration import Calibration
from slamjax.noise.models import DiagonalNoise, Noise
from slamjax.preprocessing.flux_unit import in_flux_unit
from slamjax.preprocessing.recipe import Recipe
from slamjax.preprocessing.resolution import MatchResolution, blur_to, extra_sigma, gaussian_kernel
from slamjax.preprocessing.target_grid import TargetGrid
from slamjax.spectra.covariance import refuse_covariance
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.wavelengths import to_vacuum
from slamjax.typing import AnyArray, Flux, Progress

#: Two line spreads are the same if their widths differ by less than this fraction of a pixel; models of so many of them
#: are kept.
_SAME_WIDTH, _MOST_WIDTHS = 0.01, 4


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Model:
    """A trained SLAM or polynomial: emulator, noise, training labels, recipe and provenance; an immutable pytree.

    ``model(labels)``, or ``model(teff=..., logg=...)``, is the predicted flux.

    Attributes
    ----------
    host_emulator : Emulator
        Float64 NumPy arrays on the host, as trained or as compressed (`is_compressed`), and as saved.
    emulator : Emulator
        The same on the device, in JAX's precision: what to use inside other JAX code.
    noise : Noise
        Covariance of spectra about the emulator, on the host, in physical flux.
    training_labels : TrainingLabels
        Scaled labels of the training stars and their range, on the host.
    info : ModelInfo
        Label names and units, wavelengths, recipe, training record, calibration, provenance; static under JAX.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> model
    Model(teff; 31 pixels 500-560 nm; trained on 100 stars)
    >>> model([[4500.0], [4700.0]]).shape
    (2, 31)
    >>> model.is_compressed
    False
    """

    host_emulator: Emulator
    noise: Noise
    training_labels: TrainingLabels
    info: ModelInfo = field(metadata={"static": True})

    @cached_property
    def _cache(self) -> dict[str, Any]:
        """Copies made on demand: the emulator in each precision, the compressed model. No leaf of the pytree."""
        return {}

    @property
    def emulator(self) -> Emulator:
        """The emulator with its arrays on the device, in JAX's current default precision (made once)."""
        if isinstance(self.host_emulator.intercept, jax.core.Tracer):
            return self.host_emulator
        key = str(jax.dtypes.canonicalize_dtype(float))
        if key not in self._cache:
            with jax.ensure_compile_time_eval():  # a model closed over by jit must not cache that trace's arrays
                self._cache[key] = self.host_emulator.on_device()
        return self._cache[key]

    @property
    def is_compressed(self) -> bool:
        """Whether the emulator is in few components, see `compress`."""
        return self.host_emulator.is_compressed

    def __call__(self, labels: LabelsLike = None, /, **named: Any) -> Flux:
        """Predicted flux, prepared as by ``recipe``.

        `emulator` is the pure function behind it, without names, units and warnings.

        Parameters
        ----------
        labels : (..., L) array, mapping, or table, optional
            In physical units: an array in the order of ``label_names``, values by name, or a table (Table, DataFrame,
            Spectra) with a column per label. Quantities are converted.
        **named
            Labels by name instead, as in ``model(teff=4800, logg=2.5)``; values are broadcast against each other.

        Returns
        -------
        (..., P) array; NaN at untrained pixels (see ``info.pixels``)

        Raises
        ------
        SlamError
            If a label is missing or unknown, or a unit cannot be converted.

        Warns
        -----
        SlamWarning
            Of labels outside the training range; not where JAX traces them.

        Examples
        --------
        >>> import slamjax
        >>> stars, _ = slamjax.datasets.load_xp_giants()
        >>> emulator, recipe = slamjax.Polynomial(), slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
        >>> model = slamjax.train(stars[:80], ["teff", "logg"], emulator=emulator, recipe=recipe, noise="diagonal")
        >>> model(teff=[4500, 4600, 4700], logg=2.2).shape
        (3, 31)
        >>> model(stars[80:90]).shape
        (10, 31)
        """
        values = labels_of(self, labels, named)
        warn_outside(self, values)
        return self.emulator(values)

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
        """(P,) bool: trained pixels."""
        return np.isfinite(np.asarray(self.host_emulator.intercept))

    @property
    def label_range(self) -> np.ndarray:
        """(L, 2) smallest and largest label of the training stars, in physical units."""
        box = np.stack([self.training_labels.low, self.training_labels.high])
        return np.asarray(self.host_emulator.scaling.inverse(box)).T

    def __repr__(self) -> str:
        return (
            f"Model({', '.join(self.label_names)}; {self.wave.size} pixels {self.wave[0]:g}-{self.wave[-1]:g} "
            f"{self.info.wave_unit}; trained on {len(self.training_labels.stars)} stars)"
        )

    @property
    def _parts(self) -> ModelParts:
        return ModelParts(self.host_emulator, self.noise, self.training_labels, self.info)

    def _repr_html_(self) -> str:
        return html_card(model_title(self._parts), model_facts(self._parts))

    def needs_rv(self, spectra: Spectra) -> bool:
        """Whether spectra are in the observed frame and the model in the rest frame, so that a velocity is needed."""
        return spectra.frame == "observed" and self.info.frame == "rest"

    def prepare(
        self, spectra: Spectra, velocity: Float[np.ndarray, " star"] | None = None, *, covariance: bool = False
    ) -> Spectra:
        """New spectra on the model's wavelengths, prepared like the training spectra.

        Flux is converted to the unit of the training spectra, if both are stated and the recipe has no continuum.
        Spectra on the model's pixels are used as they are; others are brought to its medium, rest frame and
        wavelengths in one resampling, and convolved to its line spread where they state a narrower one. Where they
        state a wider one, `matched` gives a model that predicts as wide lines; where each spectrum states its own,
        `as_seen` convolves predictions for each.

        Parameters
        ----------
        spectra : Spectra
        velocity : (N,) km/s, optional
            Needed if spectra are in the observed frame and the model is in the rest frame (`slamjax.measure_rv`).
        covariance : bool
            Whether covariances between pixels are used, so that spectra may have them.

        Returns
        -------
        Spectra

        Raises
        ------
        SlamError
            If the spectra have none of the model's wavelengths, are in another frame and no velocity is given, are
            in a unit of flux that cannot be converted to the model's and the recipe has no continuum, or have
            covariances that would be dropped.
        """
        if not covariance:
            refuse_covariance(spectra, "what takes ivar")
        placed, treatment = self._before_treatment(spectra, velocity)
        return treatment(placed)

    def prepare_with_continuum(
        self, spectra: Spectra, velocity: Float[np.ndarray, " star"] | None = None
    ) -> tuple[Spectra, Float[np.ndarray, "star pixel"]]:
        """As `prepare`, and the continuum (N, P) by which the recipe divided: 1 if it has none."""
        placed, treatment = self._before_treatment(spectra, velocity)
        return treatment.with_continuum(placed)

    def _before_treatment(
        self, spectra: Spectra, velocity: Float[np.ndarray, " star"] | None
    ) -> tuple[Spectra, Recipe]:
        """Spectra on the model's wavelengths with its line spread and unit, and what is left to do to them."""
        placed, info = self.place(spectra, velocity), self.info
        if not info.recipe.has_continuum:
            placed = in_flux_unit(placed, info.flux_unit, "the model was trained on flux")
        treatment = info.recipe.treatment
        if info.fwhm is not None and placed.fwhm is not None:
            if not placed.has_own_line_spreads and np.any(extra_sigma(info.fwhm, placed.fwhm) > 0):
                warnings.warn(
                    f"{spectra.source} has a line spread of up to {np.max(placed.fwhm):g} {info.wave_unit}, wider than "
                    f"the model's: model.matched(spectra) predicts as wide lines",
                    SlamWarning,
                    stacklevel=3,
                )
            placed = blur_to(placed, info.fwhm)
            treatment = Recipe(tuple(step for step in treatment.steps if not isinstance(step, MatchResolution)))
        return placed, treatment

    def matched(self, spectra: Spectra) -> Model:
        """The model for spectra of wider lines: its predictions are convolved to the line spread that they state.

        Spectra of narrower lines are convolved to the model's line spread by `prepare` instead. `slamjax.fit`,
        `slamjax.sample` and `slamjax.measure_rv` do both by themselves.

        Parameters
        ----------
        spectra : Spectra

        Returns
        -------
        Model
            This one, if the spectra or the model do not state their line spread, or it is wide enough everywhere. So
            it is if each spectrum states its own, because no model fits them all: see `as_seen`.

        Examples
        --------
        >>> import dataclasses
        >>> import slamjax
        >>> stars, others = slamjax.datasets.load_xp_giants()
        >>> sharp, blurred = (dataclasses.replace(some, fwhm=width) for some, width in ((stars, 8.0), (others, 12.0)))
        >>> recipe = slamjax.Recipe.make(wave_range=(500, 600), wave_unit="nm")
        >>> model = slamjax.train(
        ...     sharp[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal"
        ... )
        >>> float(model.matched(blurred).info.fwhm.max()), model.matched(sharp) is model
        (12.0, True)
        """
        info = self.info
        theirs = None if info.fwhm is None else spectra.fwhm_at(self.wave, info.wave_unit)
        if info.fwhm is None or theirs is None or spectra.has_own_line_spreads:
            return self
        sigma = np.broadcast_to(extra_sigma(info.fwhm, theirs), self.wave.shape)
        if not np.any(sigma > 0):
            return self
        # the widths of spectra that are read in other company differ in their last digits
        close, kept = _SAME_WIDTH * np.diff(self.wave).min(), self._cache.setdefault("wider", [])
        for before, wider in kept:
            if np.max(np.abs(before - sigma)) <= close:
                return cast(Model, wider)
        parent = self if can_broaden(self.host_emulator) else self._in_components()
        emulator = broadened(parent.host_emulator, gaussian_kernel(self.wave, sigma))
        its_info = dataclasses.replace(parent.info, fwhm=np.broadcast_to(np.maximum(info.fwhm, theirs), sigma.shape))
        wider = dataclasses.replace(parent, host_emulator=emulator, info=its_info)
        self._cache["wider"] = [*kept[1 - _MOST_WIDTHS :], (sigma, wider)]
        return wider

    def as_seen(self, prepared: Spectra, flux: Flux) -> Float[AnyArray, "star pixel"]:
        """Predicted flux (N, P) with lines as wide as those of each of N spectra, where these state their own.

        Parameters
        ----------
        prepared : Spectra
            From `prepare`.
        flux : (N, P) array

        Returns
        -------
        (N, P) array
            The same flux where all spectra have one line spread.
        """
        return as_seen(self.info, self.trained, prepared, flux)

    def _in_components(self) -> Model:
        """The model in components, of which every pixel is a sum, whatever its kernel."""
        try:
            return self.compress(on_progress=False)
        except SlamError:
            return self.compress(0.1, on_progress=False)

    def place(self, spectra: Spectra, velocity: Float[np.ndarray, " star"] | None = None) -> Spectra:
        """The spectra on the model's wavelengths, in its frame: `prepare` without the treatment of the flux."""
        info = self.info
        return TargetGrid(info.wave, info.wave_unit, info.medium, info.frame).place(spectra, velocity)

    def with_diagonal_noise(self) -> Model:
        """The same model with the published likelihood: independent pixels, each with its model error."""
        error = np.asarray(self.info.pixels["model_error"], float)
        noise = DiagonalNoise(np.where(np.isfinite(error), np.square(error), np.inf))
        info = dataclasses.replace(self.info, calibration=Calibration(chi2_limit=float("inf")))
        return dataclasses.replace(self, noise=noise, info=info)

    def compress(self, tolerance: float = 0.01, *, on_progress: Progress | bool | None = True) -> Model:
        """The same model with its emulator in few components; see `slamjax.emulators.compression.compress`.

        Parameters
        ----------
        tolerance : float
            Largest shift of any label, in standard errors.
        on_progress : callable or bool
            By default a line in terminals and notebooks; False for none. A function hears of stages only.

        Returns
        -------
        Model
            ``info.pixels`` has a column ``compression_error``; ``info.provenance`` has the number of components and
            the largest errors.

        Raises
        ------
        SlamError
            If the model is compressed already, or no compression meets the tolerance.
        """
        with reporter(on_progress) as report:
            report.stage("compressing the emulator")
            small = compress(self.host_emulator, self.noise, self.training_labels, tolerance)
        return self._with_compressed(small)

    def quick(self) -> Model:
        """The model, compressed if it is large and compression loses nothing; made once per model."""
        if "quick" not in self._cache:
            small = compress_if_large(self.host_emulator, self.noise, self.training_labels)
            self._cache["quick"] = self if small is None else self._with_compressed(small)
        return self._cache["quick"]

    def _with_compressed(self, small: Compressed) -> Model:
        pixels = Table(self.info.pixels, copy=True)
        pixels["compression_error"] = small.pixel_error
        settings = self.info.provenance.get("settings", {}) | {"compression": small.report}
        info = dataclasses.replace(self.info, pixels=pixels, provenance=self.info.provenance | {"settings": settings})
        return dataclasses.replace(self, host_emulator=small.emulator, info=info)

    def with_nuisances(self, nuisances: Nuisances) -> ForwardEmulator:
        """The emulator with nuisance parameters, in physical flux, on the device.

        Parameters
        ----------
        nuisances : Nuisances

        Returns
        -------
        ForwardEmulator

        Raises
        ------
        SlamError
            If the nuisances leave too few pixels, or the model lacks what they need of its pixels.
        """
        return ForwardEmulator.from_emulator(self.host_emulator, self.wave, nuisances, self._pixel_facts).on_device()

    @property
    def _pixel_facts(self) -> PixelFacts:
        info = self.info
        vacuum = to_vacuum(self.wave, info.wave_unit) if info.medium == "air" else self.wave
        resolution = None if info.fwhm is None else float(np.median(self.wave / info.fwhm))
        micron = None if info.wave_unit == "pix" else vacuum * length_unit(info.wave_unit).to("micron")
        return PixelFacts(micron, resolution, not info.recipe.has_continuum)

    def scaled(self, nuisances: Nuisances | None = None) -> ScaledModel:
        """Emulator and noise on the device, of flux in a unit near the training stars' spread.

        Made once per precision. With ``nuisances`` the emulator has them around it.
        """
        parts = (self.host_emulator, self.noise, self.training_labels)
        if nuisances is None:
            key = f"scaled {jax.dtypes.canonicalize_dtype(float)}"
            if key not in self._cache:
                with jax.ensure_compile_time_eval():
                    self._cache[key] = ScaledModel.from_host(*parts)
            return self._cache[key]
        return ScaledModel.with_nuisances(*parts, self.wave, nuisances, self._pixel_facts)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the model file (HDF5); `Model.read` returns the same model, bit by bit.

        Parameters
        ----------
        path : path

        Raises
        ------
        SlamError
            If the file cannot be written.
        """
        write_parts(self._parts, path)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Model:
        """Read a model file.

        Parameters
        ----------
        path : path

        Returns
        -------
        Model

        Raises
        ------
        SlamError
            If it is missing, truncated, damaged (a checksum differs), no model file, or of a newer schema.
        """
        parts = read_parts(path)
        return cls(parts.emulator, parts.noise, parts.training_labels, parts.info)
