"""Names of lines are where the lines are."""

import csv
from importlib import resources

import numpy as np
import pytest
from models import miles_model, searched_model

from slamjax.explorer.lines import named_lines
from slamjax.plots.pixels import LINES
from slamjax.spectra.wavelengths import to_air, to_vacuum

#: Rydberg's constant of hydrogen in 1/Å, and the lower levels of the series.
RYDBERG, LOWER = 1.0967758e-3, {"H": 2, "Pa": 3, "Br": 4}
BALMER = {"Hα": 3, "Hβ": 4, "Hγ": 5, "Hδ": 6, "Hε": 7}


def listed():
    text = resources.files("slamjax.explorer").joinpath("lines.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        wave = float(row["wavelength"])
        yield row["name"], wave if row["medium"] == "vacuum" else float(to_vacuum(np.array([wave]))[0])


def test_hydrogen_follows_rydberg():
    found = 0
    for name, wave in listed():
        series = name.rstrip("0123456789")
        upper = BALMER.get(name) or (int(name[len(series) :]) if series in LOWER and name != series else None)
        if upper:
            lower = 2 if name in BALMER else LOWER[series]
            assert 1 / wave == pytest.approx(RYDBERG * (1 / lower**2 - 1 / upper**2), rel=2e-6), name
            found += 1
    assert found > 20


def test_lines_of_figures_have_the_same_wavelengths():
    for name, wave in LINES.items():
        same = [at for title, at in listed() if title.split()[0] == name.split()[0]]
        assert min(abs(at - wave) for at in same) < 0.2


def test_lines_are_in_the_models_medium_and_unit():
    in_air, in_vacuum = (dict(named_lines(model())) for model in (miles_model, searched_model))
    assert in_air["Mg I b"] == pytest.approx(5183.60, abs=0.01)
    assert in_vacuum["Na I D"] == pytest.approx(to_vacuum(np.array([5895.92]))[0] / 10, abs=0.001)
    assert min(in_air.values()) >= miles_model().wave[0]
    assert max(in_vacuum.values()) <= searched_model().wave[-1]
    assert to_air(np.array([6564.61]))[0] == pytest.approx(6562.8, abs=0.01)
