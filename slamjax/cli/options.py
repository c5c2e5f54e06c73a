"""Arguments and options that commands share, and the values that options may take, as --help shows them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from slamjax.errors import SlamError
from slamjax.forward.nuisances import Free, Gaussian


class Medium(StrEnum):
    vacuum = "vacuum"
    air = "air"


class Frame(StrEnum):
    rest = "rest"
    observed = "observed"


SpectraFile = Annotated[Path, typer.Argument(metavar="SPECTRA.fits", help="slamjax FITS table of spectra.")]


def _matched(given: list[Path]) -> list[Path]:
    """Files that patterns match, for a shell takes only so many names."""
    from slamjax.io import matched

    return [Path(path) for one in given for path in matched(str(one))]


SpectraFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="SPECTRA...",
        help="A slamjax FITS table of spectra, or survey files as they come; quoted patterns are expanded.",
        callback=_matched,
    ),
]
MediumOf = Annotated[
    Medium | None, typer.Option("--medium", help="Where wavelengths are measured, if the file does not say.")
]
FrameOf = Annotated[Frame | None, typer.Option("--frame", help="Frame of the wavelengths, if the file does not say.")]
FwhmOf = Annotated[
    float | None, typer.Option("--fwhm", help="Line spread (FWHM, unit of wavelength), if the file does not say.")
]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL.h5", help="Model file written by `slamjax train`.")]
Select = Annotated[
    str | None, typer.Option(metavar="EXPR", help='Rows to use, e.g. "logg < 3.6 & teff > 3600"; & and | bind loosest.')
]
LabelWindow = Annotated[
    list[str] | None,
    typer.Option(metavar="LABEL:LO-HI,...", help="The only wavelengths at which a label may act; may be given again."),
]
WaveRange = Annotated[
    tuple[float, float] | None, typer.Option(metavar="A B", help="Wavelengths to keep, in the file's unit.")
]
Continuum = Annotated[str, typer.Option(help="gaussian:50nm, spline:60nm, chebyshev:4 or none.")]
FluxRange = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LO HI", help="Pixels outside are bad (after division by the continuum)."),
]
PixelSnr = Annotated[float | None, typer.Option(help="Pixels with a smaller flux over error are bad.")]
RecipeFile = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="RECIPE.toml", help="Steps of preparation, instead of the options for them."),
]
Resolution = Annotated[
    float | None, typer.Option("--resolution", help="Blur to this line spread (FWHM), in the unit of wavelength.")
]
Starts = Annotated[int, typer.Option(help="Starting points a star, far apart.")]

Velocity = Annotated[
    str | None,
    typer.Option(
        metavar="KM/S", help='"free", LOW:HIGH to search between, MEAN+-SD as known, or a number to hold it at; km/s.'
    ),
]


Polynomial = Annotated[
    int | None, typer.Option(metavar="DEGREE", help="Multiply the model by a polynomial in wavelength, solved for.")
]


def velocity(option: str, text: str | None) -> Free | Gaussian | Literal["free"] | float | None:
    """What ``text`` says of a velocity."""
    if text is None:
        return None
    try:
        if text == "free":
            return "free"
        if "+-" in text:
            return Gaussian(*(float(part) for part in text.split("+-")))
        if ":" in text:
            return Free(*(float(part) for part in text.split(":")))
        return float(text)
    except (TypeError, ValueError):
        raise SlamError(
            f'{option} is {text!r}; give "free", a range such as -300:300, a known value such as 20+-5, or a number, '
            "in km/s"
        ) from None


class EmulatorKind(StrEnum):
    svr = "svr"
    polynomial = "polynomial"


class Kernel(StrEnum):
    rbf = "rbf"
    linear = "linear"
    poly = "poly"
    sigmoid = "sigmoid"


class SearchKind(StrEnum):
    grid = "grid"
    random = "random"
    joint = "joint"


class NoiseModel(StrEnum):
    auto = "auto"
    lowrank = "lowrank"
    diagonal = "diagonal"


class WeightKind(StrEnum):
    ivar = "ivar"
    uniform = "uniform"


class Solver(StrEnum):
    auto = "auto"
    batched = "batched"
    sklearn = "sklearn"


class Scaling(StrEnum):
    standard = "standard"
    robust = "robust"


class Method(StrEnum):
    lm = "lm"
    adam = "adam"
    lbfgs = "lbfgs"


class Sampler(StrEnum):
    auto = "auto"
    importance = "importance"
    nuts = "nuts"
    hmc = "hmc"


class PriorKind(StrEnum):
    uniform = "uniform"
    density = "density"


class Figure(StrEnum):
    spectra = "spectra"
    labels = "labels"
    errors = "errors"
    training = "training"
    corner = "corner"
    trace = "trace"
