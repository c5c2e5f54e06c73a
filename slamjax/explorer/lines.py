"""Names of spectral lines, for what is under the pointer."""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np
from astropy import units as u

from slamjax.model.model import Model
from slamjax.spectra.wavelengths import to_air, to_vacuum


def named_lines(model: Model) -> list[tuple[str, float]]:
    """Lines within the model's wavelengths: their names, and where they are in its unit and medium.

    Hydrogen is from Rydberg's formula, the others are laboratory wavelengths as stellar spectroscopists quote them;
    band heads and diffuse interstellar bands are rounded.
    """
    text = resources.files("slamjax.explorer").joinpath("lines.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    wave = np.array([float(row["wavelength"]) for row in rows])
    in_air = np.array([row["medium"] == "air" for row in rows])
    if model.info.medium == "air":
        wave = np.where(in_air, wave, to_air(wave))
    else:
        wave = np.where(in_air, to_vacuum(wave), wave)
    wave = wave * u.AA.to(model.info.wave_unit)
    inside = (wave >= model.wave[0]) & (wave <= model.wave[-1])
    return [(row["name"], float(each)) for row, each, shown in zip(rows, wave, inside, strict=True) if shown]
