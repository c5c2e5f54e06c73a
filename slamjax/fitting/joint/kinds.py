"""The spectra of one model in a joint fit: prepared, compared with templates, and with velocities to start from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Float

from slamjax._util.batching import map_padded
from slamjax.fitting.problem import Problem
from slamjax.fitting.rv_starts import (
    ShiftedTemplates,
    extinctions,
    make_shifted_templates,
    shifted_chi2,
    starting_velocities,
)
from slamjax.fitting.starts import Templates, factorised, make_templates, template_chi2
from slamjax.forward.line_spread import LineSpreadGrid
from slamjax.forward.nuisances import Nuisances
from slamjax.forward.scaled import ScaledModel
from slamjax.model.model import Model
from slamjax.model.own_line_spread import line_spread_grid, own_sigma
from slamjax.model.radial_velocity import REFINED_LATER, velocities
from slamjax.model.velocity_meter import VelocityMeter
from slamjax.model.velocity_steps import SeenSpectra
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import check_units

#: Spectra per block of a program: limits memory.
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Seen:
    """Spectra of one kind as the device sees them, M rows.

    Attributes
    ----------
    flux, ivar : (M, P)
    n_pix, snr, no_errors : (M,)
    velocity : (M,) km/s by which they are at rest; 0 where none was measured
    line_spread : (M, P) σ of the Gaussians by which predictions are convolved, where spectra have their own; or None
    """

    flux: np.ndarray
    ivar: np.ndarray
    n_pix: np.ndarray
    snr: np.ndarray
    no_errors: np.ndarray
    velocity: np.ndarray
    line_spread: np.ndarray | None = None

    def with_rows(self, rows: np.ndarray, other: Seen) -> Seen:
        """These with some rows from another."""
        fields: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if values is not None:
                values = values.copy()
                values[rows] = getattr(other, field.name)
            fields[field.name] = values
        return Seen(**fields)


@dataclass(frozen=True, eq=False)
class Left:
    """What M spectra, fitted at rest, say about their velocities.

    Attributes
    ----------
    velocity, error : (M,) km/s that are left, and their errors
    photon : (M,) errors by photon noise alone, km/s: what differs between the spectra of a star
    growth : (M, L') factors of the labels' errors, marginalised over the velocity
    """

    velocity: np.ndarray
    error: np.ndarray
    photon: np.ndarray
    growth: np.ndarray


@dataclass(frozen=True, eq=False)
class Kind:
    """One model with the nuisances of each of its spectra.

    ``n_neighbours`` are those of a pixel, on each side, that line spreads of single spectra reach.
    """

    name: str
    model: Model
    nuisances: Nuisances
    n_neighbours: int = 0

    @cached_property
    def scaled(self) -> ScaledModel:
        return self.model.scaled(self.nuisances if self.nuisances.anything else None)

    @cached_property
    def problem(self) -> Problem:
        scaled = self.scaled
        return Problem(scaled.emulator, scaled.noise, scaled.low, scaled.high, "chi2", line_spread=self.line_spread)

    @cached_property
    def line_spread(self) -> LineSpreadGrid | None:
        """What that of each spectrum is made from, where spectra have their own."""
        return line_spread_grid(self.model.info, self.model.trained, self.n_neighbours, self.scaled.dtype)

    @cached_property
    def usable(self) -> np.ndarray:
        """(P,) bool: pixels that may count."""
        return self.model.trained if self.scaled.forward is None else np.asarray(self.scaled.forward.usable)

    @cached_property
    def meter(self) -> VelocityMeter:
        return VelocityMeter.of(self.model, self.line_spread)

    @cached_property
    def extinctions(self) -> Float[np.ndarray, " extinction"] | None:
        """Those of the templates, if extinction is free."""
        if "extinction" not in self.nuisances.free:
            return None
        return extinctions(*self.nuisances.bounds("extinction"))

    def measures(self, spectra: Spectra) -> bool:
        """Whether velocities are measured before the fit, which has none of its own."""
        return self.model.needs_rv(spectra) and self.nuisances.rv is None

    def check(self, spectra: Spectra) -> None:
        """Raise SlamError for spectra that cannot be fitted, before anything is computed."""
        if len(spectra):
            self.model.prepare(spectra[:1], np.zeros(1) if self.model.needs_rv(spectra) else None)
            check_units(self.model.label_names, self.model.info.label_units, spectra)

    def measured(self, spectra: Spectra) -> tuple[np.ndarray, np.ndarray]:
        """Velocities (M,) in km/s to bring spectra to rest by, and how clearly they were found."""
        if not self.measures(spectra):
            return np.zeros(len(spectra)), np.full(len(spectra), np.inf)
        found = velocities(self.meter, spectra, REFINED_LATER)
        return np.nan_to_num(found[:, 0]), found[:, 3]

    def see(self, spectra: Spectra, velocity: np.ndarray) -> Seen:
        """Prepared spectra; ``velocity`` (M,) counts where they are in the observed frame."""
        prepared = self.model.prepare(spectra, velocity if self.model.needs_rv(spectra) else None)
        good = prepared.good & self.usable
        flux, ivar = self.scaled.flux(prepared.flux), self.scaled.ivar(np.where(good, prepared.ivar, 0))
        no_errors = ~np.any(good & np.isfinite(prepared.ivar), axis=1)
        own = own_sigma(self.model.info, prepared).astype(flux.dtype) if self.n_neighbours else None
        return Seen(flux, ivar, good.sum(axis=1), prepared.snr(), no_errors, np.array(velocity, float), own)

    def templates(self, x: np.ndarray) -> Templates | ShiftedTemplates:
        """At this model's scaled labels (T, L')."""
        if self.scaled.forward is not None:
            return make_shifted_templates(self.problem, x, self.model.wave)
        return make_templates(self.problem, x)

    def compared(self, templates: Any, seen: Seen) -> Float[np.ndarray, "row extinction template"]:
        """χ² of each spectrum with each template at each of `extinctions`, but for a constant of each spectrum."""
        compare: Any = template_chi2 if self.scaled.forward is None else shifted_chi2
        kept = None
        if self.problem.noise.rank:
            kept = map_padded(partial(factorised, self.problem.noise), (seen.ivar,), _BLOCK, 16, counted=True)
        program = partial(compare, self.problem, templates)
        given = (seen.flux, seen.ivar, kept, seen.line_spread)
        chi2 = np.asarray(map_padded(program, given, _BLOCK, 16, counted=True))
        return chi2.reshape(len(chi2), 1 if self.extinctions is None else self.extinctions.size, -1)

    def starting_nuisances(
        self, templates: Any, seen: Seen, x: np.ndarray, extinction: np.ndarray | None
    ) -> np.ndarray:
        """(M, S, V) nuisances' parameters to start from, at this model's scaled labels x (M, S, L').

        ``extinction`` (M, S) is given where it is free.
        """
        if self.scaled.forward is None or not self.scaled.forward.free:
            return np.zeros((*x.shape[:2], 0), seen.flux.dtype)
        if extinction is not None:
            x = np.concatenate([x, extinction[..., None]], axis=-1)
        program = partial(starting_velocities, self.problem, templates)
        return np.asarray(
            map_padded(program, (seen.flux, seen.ivar, x.astype(seen.flux.dtype)), _BLOCK, 16, counted=True)
        )

    def left(self, spectra: Spectra, seen: Seen, x: np.ndarray) -> Left:
        """The velocities that are left at this model's scaled labels x (M, L'); NaN labels know nothing."""
        given = SeenSpectra(seen.flux, seen.ivar, line_spread=seen.line_spread)
        step = self.meter.step(spectra, seen.velocity, x, given)
        error = step.error(self.model.info.velocity_scale, seen.n_pix)
        excess = np.maximum(step.chi2 / np.maximum(seen.n_pix, 1), 1)
        photon = np.where(np.isfinite(step.left), np.sqrt(step.photon * excess), np.inf)
        most = 2 * self.meter.pixel
        return Left(np.clip(step.left, -most, most), error, photon, step.growth)
