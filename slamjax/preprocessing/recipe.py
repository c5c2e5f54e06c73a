"""Recipes: ordered steps of preparation, stored in the model so that new spectra are prepared like training spectra."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from jaxtyping import Bool, Float

from slamjax._util.files import atomic_path, existing_file
from slamjax._util.toml import read_toml, to_toml
from slamjax.errors import SlamError
from slamjax.preprocessing.arms import ContinuumByArm, divide
from slamjax.preprocessing.chebyshev import ChebyshevContinuum
from slamjax.preprocessing.continuum import GaussianContinuum, SplineContinuum
from slamjax.preprocessing.regrid import Resample, RestFrame
from slamjax.preprocessing.resolution import MatchResolution
from slamjax.preprocessing.steps import BadPixels, MaskWavelengths, Step, WaveRange
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.spectra import Spectra

#: Steps that choose the pixels and the frame. They come first: a new spectrum is brought to the model's grid by its own
#: metadata, and the steps that follow must not have seen other pixels in training.
_REGRIDDING = (WaveRange, RestFrame, Resample)
STEPS: dict[str, type[Any]] = {
    step.name: step
    for step in (
        *_REGRIDDING,
        MatchResolution,
        GaussianContinuum,
        SplineContinuum,
        ChebyshevContinuum,
        BadPixels,
        MaskWavelengths,
    )
}


#: A width with its unit, as in gaussian:50nm.
_WIDTH = re.compile(r"\s*([-+]?(?:nan|inf|[.\d]+(?:[eE][-+]?\d+)?))\s*(\S.*)")


@dataclass(frozen=True)
class Recipe:
    """Steps of preparation, applied in order by ``recipe(spectra)``.

    Parameters
    ----------
    steps : tuple of steps
        From `slamjax.preprocessing`. Steps that choose pixels and frame (`WaveRange`, `RestFrame`, `Resample`) come
        before all others.

    Raises
    ------
    SlamError
        If a step that chooses pixels or frame comes after one that treats the flux.

    Examples
    --------
    >>> from slamjax import Recipe
    >>> from slamjax.preprocessing import BadPixels, GaussianContinuum, WaveRange
    >>> recipe = Recipe((WaveRange(400.0, 900.0, "nm"), GaussianContinuum(50.0, "nm", order=4), BadPixels(min_snr=1)))
    >>> print(recipe)
    wavelengths 400 to 900 nm; continuum: Gaussian of standard deviation 50 nm and fourth order; bad pixels: S/N < 1
    >>> bad = BadPixels(min_snr=1)
    >>> recipe == Recipe.make(wave_range=(400, 900), wave_unit="nm", continuum="gaussian:50nm", bad_pixels=bad)
    True
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        regridding = [isinstance(step, _REGRIDDING) for step in self.steps]
        if regridding != sorted(regridding, reverse=True):
            late = self.steps[max(k for k, is_regridding in enumerate(regridding) if is_regridding)]
            raise SlamError(
                f"{late.name} must come before all steps but {', '.join(step.name for step in _REGRIDDING)}: pixels "
                "outside the grid must not reach the continuum, because new spectra need not have them"
            )

    def __call__(self, spectra: Spectra) -> Spectra:
        """The prepared spectra."""
        for step in self.steps:
            spectra = step(spectra)
        return spectra

    def with_continuum(self, spectra: Spectra) -> tuple[Spectra, Float[np.ndarray, "star pixel"]]:
        """The prepared spectra, and what they were divided by: 1 without a continuum, NaN where there is none.

        For recipes without steps that choose pixels or frame.
        """
        whole = np.ones(spectra.flux.shape, spectra.flux.dtype)
        for step in self.steps:
            if isinstance(step, ContinuumByArm):
                continuum = step.continuum(spectra)
                spectra, whole = divide(spectra, continuum), whole * continuum
            else:
                spectra = step(spectra)
        return spectra, whole

    def __str__(self) -> str:
        return "; ".join(str(step) for step in self.steps) or "spectra as they are"

    @property
    def regridding(self) -> Recipe:
        """The steps that choose pixels and frame."""
        return Recipe(tuple(step for step in self.steps if isinstance(step, _REGRIDDING)))

    @property
    def treatment(self) -> Recipe:
        """The steps after those: what is done to spectra on the model's grid and in its frame."""
        return Recipe(tuple(step for step in self.steps if not isinstance(step, _REGRIDDING)))

    @property
    def has_continuum(self) -> bool:
        """Whether the flux is divided by a continuum, so that its unit and level do not matter."""
        return any(isinstance(step, ContinuumByArm) for step in self.steps)

    def masked(self, wave: Float[np.ndarray, " pixel"], wave_unit: str) -> Bool[np.ndarray, " pixel"]:
        """(P,) bool: pixels that the recipe masks in every spectrum."""
        inside = [step.inside(wave, wave_unit) for step in self.steps if isinstance(step, MaskWavelengths)]
        return np.any([np.zeros(len(wave), bool), *inside], axis=0)

    def learn(self, spectra: Spectra) -> Recipe:
        """The recipe with everything its steps take from the training spectra, such as continuum pixels.

        Parameters
        ----------
        spectra : Spectra
            The training spectra, not yet prepared.
        """
        steps: list[Step] = []
        for step in self.steps:
            if isinstance(step, ChebyshevContinuum):
                step = step.learn(spectra)
            steps.append(step)
            if any(isinstance(later, ChebyshevContinuum) for later in self.steps[len(steps) :]):
                spectra = step(spectra)
        return Recipe(tuple(steps))

    @classmethod
    def make(
        cls,
        *,
        wave_range: tuple[float, float] | None = None,
        wave_unit: str = "",
        continuum: str | Step | None = "none",
        bad_pixels: BadPixels | None = None,
        fwhm: float | None = None,
    ) -> Recipe:
        """The usual recipe: crop, blur to a common resolution, divide by the continuum, mark bad pixels.

        Parameters
        ----------
        wave_range : (float, float), optional
            First and last wavelength, in ``wave_unit``, or Quantities. Cropping comes first, so that flux outside the
            range cannot reach the model.
        wave_unit : str
            Needed for ``wave_range`` and ``fwhm``, unless Quantities bring it.
        continuum : str or step
            ``"gaussian:50nm"``, ``"spline:60nm"``, ``"chebyshev:4"``, ``"none"``, or a continuum step.
        bad_pixels : BadPixels, optional
        fwhm : float, optional
            Full width at half maximum of the line spread to blur to, in ``wave_unit``.

        Raises
        ------
        SlamError
            If the continuum cannot be parsed or a value is out of range.

        Examples
        --------
        >>> import slamjax
        >>> train, _ = slamjax.datasets.load_xp_giants()
        >>> recipe = slamjax.Recipe.make(wave_range=(400, 900), wave_unit="nm", continuum="gaussian:50nm")
        >>> recipe(train[:3]).n_pix
        251
        """
        steps: list[Step] = []
        if wave_range is not None:
            low, high = (end if isinstance(end, u.Quantity) else float(end) for end in wave_range)
            steps.append(WaveRange(low, high, str(wave_unit)))
        if fwhm is not None:
            steps.append(MatchResolution(fwhm, str(wave_unit)))
        step = parse_continuum(continuum) if isinstance(continuum, str) else continuum
        if step is not None:
            steps.append(step)
        if bad_pixels is not None:
            steps.append(bad_pixels)
        return cls(tuple(steps))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe from a TOML file, one ``[[steps]]`` table per step; see `write`.

        Raises
        ------
        SlamError
            If the file is missing or is not TOML, or a step or an option is unknown.
        """
        source = existing_file(path)
        data = read_toml(source)
        items = data.get("steps")
        if set(data) != {"steps"} or not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise SlamError(f'{source} is no recipe: it must hold [[steps]] tables, each with step = "..." and options')
        try:
            return cls.from_list(items)
        except SlamError as error:
            raise SlamError(f"{source}: {error}") from error

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as a TOML file that `read` reads back.

        Examples
        --------
        >>> import os, tempfile
        >>> from slamjax import Recipe
        >>> recipe = Recipe.make(wave_range=(400, 900), wave_unit="nm", continuum="spline:60nm")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "recipe.toml")
        ...     recipe.write(path)
        ...     Recipe.read(path) == recipe
        True
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_toml(), encoding="utf-8")

    def to_toml(self) -> str:
        """The recipe as TOML text.

        Examples
        --------
        >>> from slamjax import Recipe
        >>> print(Recipe.make(wave_range=(400, 720), wave_unit="nm").to_toml())
        [[steps]]
        step = "wave_range"
        low = 400.0
        high = 720.0
        unit = "nm"
        <BLANKLINE>
        """
        return to_toml("steps", self.to_list())

    def to_list(self) -> list[dict[str, Any]]:
        """The recipe as plain data: one dictionary per step, its name under "step"."""
        return [{"step": step.name, **dataclasses.asdict(step)} for step in self.steps]  # type: ignore[call-overload]

    @classmethod
    def from_list(cls, items: Iterable[Mapping[str, Any]]) -> Recipe:
        """The recipe of `to_list`'s data.

        Raises
        ------
        SlamError
            If a step or an option is unknown, missing, or has a wrong value.
        """
        return cls(tuple(_step(item) for item in items))


def _step(item: Mapping[str, Any]) -> Step:
    options = dict(item)
    name = options.pop("step", None)
    if not isinstance(name, str) or name not in STEPS:
        raise SlamError(f"the recipe has an unknown step {name!r}; there are: {', '.join(STEPS)}")
    fields = dataclasses.fields(STEPS[name])
    known = [field.name for field in fields]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise SlamError(
            f"step {name!r} of the recipe has no option {unknown[0]!r}; it has: {', '.join(known) or 'none'}"
        )
    missing = [field.name for field in fields if field.name not in options and field.default is dataclasses.MISSING]
    if missing:
        raise SlamError(f"step {name!r} of the recipe lacks {', '.join(missing)}")
    for field in fields:
        _check_kind(name, field, options.get(field.name, field.default))
    try:
        step: Step = STEPS[name](**options)
    except (ValueError, OverflowError) as error:
        raise SlamError(f"step {name!r} of the recipe: {error}") from error
    except TypeError as error:
        given = ", ".join(f"{option} = {value!r}" for option, value in options.items())
        raise SlamError(f"step {name!r} of the recipe has a value of the wrong type ({given})") from error
    return step


#: What a plain field of a step may hold, by its annotation.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "float": ((int, float), "a number"),
    "float | None": ((int, float, type(None)), "a number"),
    "int": ((int,), "a whole number"),
    "str": ((str,), "text"),
    "Medium": ((str,), "text"),
    "bool": ((bool,), "true or false"),
}


def _check_kind(step: str, field: dataclasses.Field[Any], value: Any) -> None:
    """Raise SlamError unless the value of a plain field is of its kind and, if it is a number, finite."""
    types, what = _KINDS.get(str(field.type), ((object,), ""))
    is_bool = isinstance(value, bool) and bool not in types and object not in types
    if is_bool or not isinstance(value, types):
        raise SlamError(
            f"step {step!r} of the recipe has a value of the wrong type ({field.name} = {value!r}); give {what}"
        )
    if isinstance(value, float) and not np.isfinite(value):
        raise SlamError(f"step {step!r} of the recipe has {field.name} = {value}; give a finite number")


def parse_continuum(text: str) -> Step | None:
    """A continuum step from its short form: ``gaussian:50nm``, ``spline:60nm``, ``chebyshev:4``, ``none``.

    Raises
    ------
    SlamError
        If the text cannot be parsed.

    Examples
    --------
    >>> from slamjax.preprocessing import parse_continuum
    >>> parse_continuum("gaussian:50nm")
    GaussianContinuum(sigma=50.0, unit='nm', arms=(), order=4)
    """
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
        number, name = _WIDTH.fullmatch(size).groups()  # type: ignore[union-attr]
        width, unit = float(number), length_unit(name)
    except (AttributeError, ValueError) as error:
        raise SlamError(f"the continuum {text!r} needs a width with a unit of length, as in {kind}:50nm") from error
    if kind == "spline":
        return SplineContinuum(width, str(unit))
    return GaussianContinuum(width, str(unit), order=4)
