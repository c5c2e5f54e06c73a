"""Arguments and options that several commands share, and how their texts are parsed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from slamjax.errors import SlamError

if TYPE_CHECKING:
    from slamjax.preprocessing import Recipe
    from slamjax.spectra import Spectra


def expanded(patterns: list[Path] | None) -> list[Path]:
    """The files that patterns match: a shell passes on only so many names."""
    from slamjax.io import expand_pattern

    return [Path(path) for pattern in patterns or [] for path in expand_pattern(str(pattern))]


ModelFile = Annotated[Path, typer.Argument(metavar="MODEL.h5", help="Model file written by `slamjax train`.")]
_SPECTRA = typer.Argument(
    metavar="SPECTRA...",
    help="A slamjax table of spectra, or survey files as downloaded, XP coefficients included; quoted patterns are "
    "expanded.",
    callback=expanded,
)
SpectraFiles = Annotated[list[Path], _SPECTRA]
OptionalSpectraFiles = Annotated[list[Path] | None, _SPECTRA]
TestFiles = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="SPECTRA.fits",
        help="Other stars to test on, or a quoted pattern; default: the same stars, by --folds.",
        callback=expanded,
    ),
]
Select = Annotated[
    str | None,
    typer.Option(metavar="EXPR", help='Use only these rows, e.g. "logg < 3.6 & teff > 3600".'),
]
Starts = Annotated[int, typer.Option(help="Starting points per star, far apart in label space.")]
Memory = Annotated[float, typer.Option(help="GiB that one batch of stars may use on the device.")]
Jobs = Annotated[int, typer.Option(help="Processes that read files; -1: one per core.")]
Survey = Annotated[
    str | None, typer.Option(help="Survey of the files if it cannot be recognised: lamost, sdss, apogee-star, ...")
]
By = Annotated[str, typer.Option(help="Bin by this column of the table, or by snr, the median S/N per pixel.")]
Bins = Annotated[str | None, typer.Option(help="Bin edges, e.g. 20,60,100,200,300; default: quartiles.")]
IncludeTraining = Annotated[bool, typer.Option("--include-training", help="Keep the training stars.")]
PriorName = Annotated[
    Literal["uniform", "training"],
    typer.Option(help="Uniform over the region of the training stars (with soft edges), or their density."),
]

FitPriors = Annotated[
    list[str] | None,
    typer.Option(
        "--prior",
        metavar="PRIOR",
        help='"training", the density of the training stars; or a label known from elsewhere, LABEL:VALUE,ERROR, each '
        "a number or a column, as logg:logg_seismo,0.1; may be repeated.",
    ),
]

_SUPPLIED = "Missing metadata"


@dataclass(frozen=True)
class Metadata:
    """What a file of spectra may leave unsaid."""

    medium: Annotated[
        Literal["vacuum", "air"] | None,
        typer.Option(help="Medium of the wavelengths, if the file does not state it.", rich_help_panel=_SUPPLIED),
    ] = None
    frame: Annotated[
        Literal["rest", "observed"] | None,
        typer.Option(help="Frame of the wavelengths, if the file does not state it.", rich_help_panel=_SUPPLIED),
    ] = None
    fwhm: Annotated[
        float | None,
        typer.Option(
            help="FWHM of the line spread in the unit of wavelength, if the file does not state it.",
            rich_help_panel=_SUPPLIED,
        ),
    ] = None


_PREPARATION = "Preparation"


@dataclass(frozen=True)
class Preparation:
    """How spectra are prepared: by options, or by a recipe file."""

    wave_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LO HI", help="Wavelengths to keep, in the file's unit.", rich_help_panel=_PREPARATION),
    ] = None
    continuum: Annotated[
        str,
        typer.Option(
            help="Continuum to divide by: gaussian:50nm, spline:60nm, chebyshev:4 or none.",
            rich_help_panel=_PREPARATION,
        ),
    ] = "none"
    flux_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LO HI",
            help="Mask pixels whose flux (after division by the continuum) is outside.",
            rich_help_panel=_PREPARATION,
        ),
    ] = None
    min_pixel_snr: Annotated[
        float | None, typer.Option(help="Mask pixels with a smaller S/N.", rich_help_panel=_PREPARATION)
    ] = None
    resolution: Annotated[
        float | None,
        typer.Option(
            metavar="FWHM", help="Blur to this line spread, in the unit of wavelength.", rich_help_panel=_PREPARATION
        ),
    ] = None
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE.toml",
            help="Preparation from a file, instead of these options.",
            rich_help_panel=_PREPARATION,
        ),
    ] = None

    def recipe_for(self, spectra: Spectra) -> Recipe:
        """The recipe, with wavelengths in the unit of these spectra."""
        from slamjax.preprocessing import BadPixels, Recipe

        if self.recipe is not None:
            if self != Preparation(recipe=self.recipe):
                raise SlamError(
                    "--recipe states the whole preparation; leave out --wave-range, --resolution, --continuum, "
                    "--flux-range and --min-pixel-snr, or write them into the recipe"
                )
            return Recipe.read(self.recipe)
        rules = None
        if self.flux_range is not None or self.min_pixel_snr is not None:
            low, high = self.flux_range or (None, None)
            rules = BadPixels(min_flux=low, max_flux=high, min_snr=self.min_pixel_snr)
        return Recipe.make(
            wave_range=self.wave_range,
            wave_unit=str(spectra.wave_unit),
            continuum=self.continuum,
            bad_pixels=rules,
            fwhm=self.resolution,
        )


def words(text: str) -> list[str]:
    """The names in ``teff,logg,fe_h``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str, flag: str) -> Any:
    """The number in ``10``, or the list in ``1,10,100``; for --gamma also ``scale`` and ``auto``."""
    values = [_number(part, flag) for part in words(text)]
    if not values:
        raise SlamError(f"{flag} is empty; give a number, or several separated by commas, such as 0.1,1,10")
    return values if len(values) > 1 else values[0]


def _number(text: str, flag: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        if flag == "--gamma" and text in ("scale", "auto"):
            return text
        raise SlamError(f"{flag} has {text!r}, which is not a number; give numbers separated by commas") from None


def metric(text: str, flag: str) -> Any:
    """``learned`` or ``isotropic``, or the length scales in ``300,0.8,0.4``."""
    if text in ("learned", "isotropic"):
        return text
    values = numbers(text, flag)
    return tuple(values) if isinstance(values, list) else (values,)


def priors(texts: list[str] | None) -> list[Any] | None:
    """Priors of a fit, from texts such as ``training`` and ``logg:logg_seismo,0.1``."""
    given: list[Any] = []
    for text in texts or []:
        name, colon, pair = text.partition(":")
        if not colon:
            given.append(text)
            continue
        parts = words(pair)
        if len(parts) != 2:
            raise SlamError(f"--prior is {text!r}; give training, or LABEL:VALUE,ERROR, as in logg:logg_seismo,0.1")
        given.append({name.strip(): tuple(_number_or_column(part) for part in parts)})
    return given or None


def _number_or_column(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def bin_edges(text: str | None) -> list[float] | None:
    """The edges in ``20,60,100``; one number alone is an edge as well."""
    if text is None:
        return None
    values = numbers(text, "--bins")
    return values if isinstance(values, list) else [values]


def label_windows(texts: list[str], flag: str) -> dict[str, list[tuple[float, float]]]:
    """Windows by label, from texts such as ``alpha_m:500-520,600-620``."""
    windows: dict[str, list[tuple[float, float]]] = {}
    for text in texts:
        name, _, ranges = text.partition(":")
        try:
            pairs = [(float(low), float(high)) for low, high in (part.split("-") for part in words(ranges))]
        except ValueError:
            pairs = []
        if not (name.strip() and pairs):
            raise SlamError(f"{flag} is {text!r}; give a label and its windows, as in alpha_m:500-520,600-620")
        windows.setdefault(name.strip(), []).extend(pairs)
    return windows
