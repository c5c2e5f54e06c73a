"""A recipe: the ordered steps of preparation, stored in the model so that new stars get what training stars got."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u

from slamjax._util.files import existing_file
from slamjax.errors import SlamError
from slamjax.preprocessing.continuum import ChebyshevContinuum, GaussianContinuum, SplineContinuum
from slamjax.preprocessing.regrid import Resample, RestFrame
from slamjax.preprocessing.resolution import MatchResolution
from slamjax.preprocessing.steps import BadPixels, MaskWavelengths, Step, WaveRange
from slamjax.spectra.spectra import Spectra

#: Steps that say which pixels there are and in which frame. They come first: a new star's spectrum is brought to the
#: model's grid by what it knows of itself, and what follows must not have seen other pixels in training.
_PLACING = (WaveRange, RestFrame, Resample)
STEPS: dict[str, type[Any]] = {
    step.name: step
    for step in (
        *_PLACING,
        MatchResolution,
        GaussianContinuum,
        SplineContinuum,
        ChebyshevContinuum,
        BadPixels,
        MaskWavelengths,
    )
}


@dataclass(frozen=True)
class Recipe:
    """Steps applied in order. ``recipe(spectra)`` prepares; ``to_list`` and ``from_list`` store it as plain data."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        kinds = [isinstance(step, _PLACING) for step in self.steps]
        if kinds != sorted(kinds, reverse=True):
            late = self.steps[max(k for k, placing in enumerate(kinds) if placing)]
            raise SlamError(
                f"{late.name} must come before all steps but {', '.join(step.name for step in _PLACING)}: what lies "
                "outside the grid must not reach the continuum, for new spectra need not have it"
            )

    def __call__(self, spectra: Spectra) -> Spectra:
        for step in self.steps:
            spectra = step(spectra)
        return spectra

    def __str__(self) -> str:
        return "; ".join(str(step) for step in self.steps) or "spectra as they are"

    @property
    def placing(self) -> Recipe:
        """The steps that choose pixels and frame."""
        return Recipe(tuple(step for step in self.steps if isinstance(step, _PLACING)))

    @property
    def treatment(self) -> Recipe:
        """The steps after those: what is done to spectra that are on the grid, in the frame."""
        return Recipe(tuple(step for step in self.steps if not isinstance(step, _PLACING)))

    def masked(self, wave: np.ndarray, wave_unit: str) -> np.ndarray:
        """(P,) bool: pixels that no spectrum may use, whatever it is."""
        inside = [step.inside(wave, wave_unit) for step in self.steps if isinstance(step, MaskWavelengths)]
        return np.any([np.zeros(len(wave), bool), *inside], axis=0)

    def learn(self, spectra: Spectra) -> Recipe:
        """The recipe with what its steps find in training spectra, such as continuum pixels."""
        steps: list[Step] = []
        for step in self.steps:
            if isinstance(step, ChebyshevContinuum):
                step = step.learn(spectra)
            steps.append(step)
            if any(isinstance(later, ChebyshevContinuum) for later in self.steps[len(steps) :]):
                spectra = step(spectra)
        return Recipe(tuple(steps))

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
            known = [field.name for field in dataclasses.fields(STEPS[name])]
            unknown = [option for option in options if option not in known]
            if unknown:
                raise SlamError(
                    f"step {name!r} of the recipe has no option {unknown[0]!r}; it has: {', '.join(known) or 'none'}"
                )
            absent = [
                field.name
                for field in dataclasses.fields(STEPS[name])
                if field.name not in options
                and field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING
            ]
            if absent:
                raise SlamError(f"step {name!r} of the recipe lacks {', '.join(absent)}")
            try:
                steps.append(STEPS[name](**options))
            except ValueError as error:
                raise SlamError(f"step {name!r} of the recipe: {error}") from error
            except TypeError as error:
                given = ", ".join(f"{option} = {value!r}" for option, value in options.items())
                raise SlamError(f"step {name!r} of the recipe has a value of the wrong kind ({given})") from error
        return cls(tuple(steps))

    def to_toml(self) -> str:
        """The recipe as TOML text, a ``[[steps]]`` table a step, which `from_toml` reads."""
        tables = []
        for item in self.to_list():
            stated = {name: value for name, value in item.items() if value is not None and not _is_empty(value)}
            lines = [f"{name} = {_toml(value)}" for name, value in stated.items()]
            tables.append("\n".join(["[[steps]]", *lines]) + "\n")
        return "\n".join(tables)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe from a TOML file.

        ::

            [[steps]]
            step = "wave_range"
            low = 400.0
            high = 720.0

            [[steps]]
            step = "spline_continuum"
            scale = 60.0

        Raises
        ------
        SlamError
            If the file is missing or no TOML, or a step or an option is unknown.
        """
        source = existing_file(path)
        try:
            data = tomllib.loads(source.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SlamError(f"{source} cannot be read as TOML ({error})") from error
        items = data.get("steps")
        if set(data) != {"steps"} or not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise SlamError(f'{source} is no recipe: it must hold [[steps]] tables, each with step = "..." and options')
        try:
            return cls.from_list(items)
        except SlamError as error:
            raise SlamError(f"{source}: {error}") from error

    @classmethod
    def make(
        cls,
        *,
        wave_range: tuple[float, float] | None = None,
        wave_unit: str = "nm",
        continuum: str | Step | None = "none",
        bad_pixels: BadPixels | None = None,
        fwhm: float | None = None,
    ) -> Recipe:
        """The usual recipe: crop, blur to a line spread, divide by the continuum, mark bad pixels.

        ``wave_range`` and ``fwhm`` are in ``wave_unit``. Cropping comes first, so that what a spectrum holds outside
        the range cannot reach the model.
        """
        steps: list[Step] = []
        if wave_range is not None:
            steps.append(WaveRange(float(wave_range[0]), float(wave_range[1]), str(wave_unit)))
        if fwhm is not None:
            steps.append(MatchResolution(float(fwhm), str(wave_unit)))
        step = parse_continuum(continuum) if isinstance(continuum, str) else continuum
        if step is not None:
            steps.append(step)
        if bad_pixels is not None:
            steps.append(bad_pixels)
        return cls(tuple(steps))


def parse_continuum(text: str) -> Step | None:
    """A continuum from its short form: ``gaussian:50nm``, ``spline:60nm``, ``chebyshev:4``, ``none``."""
    kind, _, size = text.strip().partition(":")
    if kind == "none" and not size:
        return None
    if kind not in ("gaussian", "spline", "chebyshev") or not size:
        raise SlamError(f"unknown continuum {text!r}; write gaussian:50nm, spline:60nm, chebyshev:4 or none")
    if kind == "chebyshev":
        if not size.isdigit():
            raise SlamError(f"the continuum {text!r} needs a degree, as in chebyshev:4")
        return ChebyshevContinuum(int(size))
    try:
        width = u.Quantity(size)
        float(width.to_value(u.nm))
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise SlamError(f"the continuum {text!r} needs a width with a unit of length, as in {kind}:50nm") from error
    if kind == "spline":
        return SplineContinuum(float(width.value), str(width.unit), bin_width=float((10 * u.nm).to_value(width.unit)))
    return GaussianContinuum(float(width.value), str(width.unit))


def _toml(value: Any) -> str:
    """A number, text, truth value or list of them as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_empty(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not value
