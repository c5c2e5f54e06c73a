"""The wavelengths that a model predicts, and how other spectra are brought to them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing.regrid import onto_grid
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.spectra import Spectra

#: Wavelengths agree if they differ by less than this part of a pixel.
_TOLERANCE = 1e-3
#: Pixels wider than the model's by this factor give a warning.
_COARSE = 2.0


@dataclass(frozen=True, eq=False)
class TargetGrid:
    """Wavelengths (P,) of a model in ``wave_unit``, their medium and frame."""

    wave: Float[np.ndarray, " pixel"]
    wave_unit: str
    medium: str
    frame: str

    def place(self, spectra: Spectra, velocity: Float[np.ndarray, " star"] | None = None) -> Spectra:
        """The spectra on this grid: as they are where they have its pixels, else by one resampling.

        Parameters
        ----------
        spectra : Spectra
        velocity : (N,) km/s, optional
            Needed where spectra are in the observed frame and the grid is in the rest frame.

        Raises
        ------
        SlamError
            If the frames cannot be matched, or the spectra have none of the wavelengths.
        """
        if spectra.frame == "observed" and self.frame == "rest" and velocity is None:
            raise SlamError(
                f"{spectra.source} is in the observed frame but the model was trained in the rest frame; give "
                "velocities (slamjax.measure_rv measures them)"
            )
        if spectra.frame == "rest" and self.frame == "observed":
            raise SlamError(
                f"{spectra.source} is in the rest frame but the model was trained in the observed frame; give spectra "
                "in the observed frame"
            )
        same = self._same_pixels(spectra) if velocity is None else None
        if same is not None:
            return same
        self._check_coverage(spectra)
        return onto_grid(spectra, self.wave, self.wave_unit, self.medium, velocity)  # type: ignore[arg-type]

    def _same_pixels(self, spectra: Spectra) -> Spectra | None:
        """The spectra's pixels that are the grid's, if all are there."""
        if "unknown" not in (spectra.medium, self.medium) and spectra.medium != self.medium:
            return None
        scale = spectra.wave_unit.to(length_unit(self.wave_unit))
        wave = spectra.wave * scale
        step = np.gradient(self.wave) if self.wave.size > 1 else np.ones(1)
        nearest = np.clip(np.searchsorted(wave, self.wave - _TOLERANCE * step), 0, wave.size - 1)
        if np.any(np.abs(wave[nearest] - self.wave) > _TOLERANCE * step):
            return None
        aligned = spectra.on_pixels(nearest)
        fwhm = aligned.fwhm_at(self.wave, self.wave_unit)
        return aligned._with(wave=self.wave, wave_unit=length_unit(self.wave_unit), fwhm=fwhm)

    def _check_coverage(self, spectra: Spectra) -> None:
        wave = spectra.wave * spectra.wave_unit.to(length_unit(self.wave_unit))
        if self.wave.size < 2 or wave[-1] < self.wave[0] or wave[0] > self.wave[-1]:
            raise SlamError(
                f"{spectra.source} covers {wave[0]:g} to {wave[-1]:g} {self.wave_unit} and has none of the "
                f"model's {self.wave.size} wavelengths ({self.wave[0]:g} to {self.wave[-1]:g})"
            )
        theirs, ours = (np.median(np.diff(np.log(grid))) for grid in (wave, self.wave))
        if theirs > _COARSE * ours:
            warnings.warn(
                f"the pixels of {spectra.source} are {theirs / ours:.1f} times as wide as the model's: they do not "
                "resolve the lines that the model predicts",
                SlamWarning,
                stacklevel=5,
            )
