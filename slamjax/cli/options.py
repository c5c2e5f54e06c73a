"""Arguments and options that commands share, and the values that options may take, as --help shows them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from slamjax.errors import SlamError
from slamjax.nuisances import Free, Known

SpectraFile = Annotated[Path, typer.Argument(metavar="SPECTRA.fits", help="slamjax FITS table of spectra.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL.h5", help="Model file written by `slamjax train`.")]
Select = Annotated[
    str | None, typer.Option(metavar="EXPR", help='Rows to use, e.g. "logg < 3.6 & teff > 3600"; & and | bind loosest.')
]
Starts = Annotated[int, typer.Option(help="Starting points a star, far apart.")]

Velocity = Annotated[
    str | None,
    typer.Option(
        metavar="KM/S", help='"free", LOW:HIGH to search between, MEAN+-SD as known, or a number to hold it at; km/s.'
    ),
]


def velocity(option: str, text: str | None) -> Free | Known | Literal["free"] | float | None:
    """What ``text`` says of a velocity."""
    if text is None:
        return None
    try:
        if text == "free":
            return "free"
        if "+-" in text:
            return Known(*(float(part) for part in text.split("+-")))
        if ":" in text:
            return Free(*(float(part) for part in text.split(":")))
        return float(text)
    except (TypeError, ValueError):
        raise SlamError(
            f'{option} is {text!r}; give "free", a range such as -300:300, a known value such as 20+-5, or a number, '
            "in km/s"
        ) from None


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
