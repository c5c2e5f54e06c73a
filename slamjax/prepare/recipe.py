"""A recipe: the ordered steps of preparation, stored in the model so that new stars get what training stars got."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from astropy import units as u

from slamjax.errors import SlamError
from slamjax.prepare.steps import BadPixels, GaussianContinuum, SplineContinuum, Step, WaveRange
from slamjax.spectra import Spectra

STEPS: dict[str, type[Any]] = {step.name: step for step in (WaveRange, BadPixels, GaussianContinuum, SplineContinuum)}


@dataclass(frozen=True)
class Recipe:
    """Steps applied in order. ``recipe(spectra)`` prepares; ``to_list`` and ``from_list`` store it as plain data."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if any(isinstance(step, WaveRange) for step in self.steps[1:]):
            raise SlamError(
                "a wavelength range must be the recipe's first step: what lies outside it must not reach the "
                "continuum, for new spectra need not have it"
            )

    def __call__(self, spectra: Spectra) -> Spectra:
        for step in self.steps:
            spectra = step(spectra)
        return spectra

    def __str__(self) -> str:
        return "; ".join(str(step) for step in self.steps) or "spectra as they are"

    def to_list(self) -> list[dict[str, Any]]:
        return [{"step": step.name, **dataclasses.asdict(step)} for step in self.steps]  # type: ignore[call-overload]

    @classmethod
    def from_list(cls, items: list[dict[str, Any]]) -> Recipe:
        steps: list[Step] = []
        for item in items:
            options = dict(item)
            name = options.pop("step", None)
            if name not in STEPS:
                raise SlamError(f"the recipe has an unknown step {name!r}; there are: {', '.join(STEPS)}")
            try:
                steps.append(STEPS[name](**options))
            except TypeError as error:
                raise SlamError(f"step {name!r} of the recipe: {error}") from error
        return cls(tuple(steps))

    @classmethod
    def make(
        cls,
        *,
        wave_range: tuple[float, float] | None = None,
        wave_unit: str = "nm",
        continuum: str | Step | None = "none",
        bad_pixels: BadPixels | None = None,
    ) -> Recipe:
        """The usual recipe: crop, divide by the continuum, mark bad pixels.

        ``wave_range`` is in ``wave_unit``. Cropping comes first, so that what a spectrum holds outside the range
        cannot reach the model.
        """
        steps: list[Step] = []
        if wave_range is not None:
            steps.append(WaveRange(float(wave_range[0]), float(wave_range[1]), str(wave_unit)))
        step = parse_continuum(continuum) if isinstance(continuum, str) else continuum
        if step is not None:
            steps.append(step)
        if bad_pixels is not None:
            steps.append(bad_pixels)
        return cls(tuple(steps))


def parse_continuum(text: str) -> Step | None:
    """A continuum from its short form: ``gaussian:50nm``, ``spline:60nm``, ``none``."""
    kind, _, size = text.strip().partition(":")
    if kind == "none" and not size:
        return None
    steps: dict[str, type[Any]] = {"gaussian": GaussianContinuum, "spline": SplineContinuum}
    if kind not in steps or not size:
        raise SlamError(f"unknown continuum {text!r}; write gaussian:50nm, spline:60nm or none")
    try:
        width = u.Quantity(size)
        float(width.to_value(u.nm))
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise SlamError(f"the continuum {text!r} needs a width with a unit of length, as in {kind}:50nm") from error
    if kind == "spline":
        return SplineContinuum(float(width.value), str(width.unit), bin_width=float((10 * u.nm).to_value(width.unit)))
    return GaussianContinuum(float(width.value), str(width.unit))
