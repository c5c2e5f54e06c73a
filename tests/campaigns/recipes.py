"""Recipe files: options of wrong types and sizes, deep nesting, random damage. What is read must prepare spectra."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
from helpers import xp_giants

from campaigns.frame import Campaign, Outcome, Report, judged
from campaigns.mutations import damaged
from slamjax.errors import SlamError
from slamjax.preprocessing import Recipe

_SOUND = """[[steps]]
step = "wave_range"
low = 500.0
high = 620.0
unit = "nm"

[[steps]]
step = "gaussian_continuum"
sigma = 50.0
unit = "nm"

[[steps]]
step = "bad_pixels"
max_flux = 3.0
min_snr = 1.0
grow = 1

[[steps]]
step = "mask_wavelengths"
ranges = [[510.0, 512.0]]
unit = "nm"
"""
_STEPS = {
    "wave_range": ("low", "high", "unit"),
    "rest_frame": ("velocity",),
    "resample": ("low", "high", "spacing", "unit", "log", "medium", "velocity"),
    "match_resolution": ("fwhm", "unit"),
    "gaussian_continuum": ("sigma", "unit", "arms"),
    "spline_continuum": ("scale", "unit", "iterations", "percentile", "bin_width", "arms"),
    "chebyshev_continuum": ("degree", "share", "n_bins", "unit", "arms", "pixels"),
    "bad_pixels": ("min_flux", "max_flux", "min_snr", "grow"),
    "mask_wavelengths": ("ranges", "unit"),
}
_VALUES = [
    '"nm"', "[1]", "[]", "{}", "{a = 1}", "nan", "inf", "-inf", "-1", "0", "1e308", "1e-308", "99999999999999999999999",
    "true", "1979-05-27", '""', '"\\u0000"', '"kg"', "[[1, 2], [3]]", '[["a", "b"]]', "[[nan, nan]]", "[[2, 1]]",
    "[1, nan]", "1.5", "1000000000", '"' + "x" * 10_000 + '"',
]  # fmt: skip
_WHOLE = [
    b"step = " + b"[" * 100_000,
    b"steps = " + b"[" * 100_000 + b"]" * 100_000,
    b"[[steps]]\nstep = [1]\n",
    b"[[steps]]\nstep = {a = 1}\n",
    b"[[steps]]\nstep = nan\n",
    b"steps = 1\n",
    b"steps = [1, 2]\n",
    b"[steps]\nstep = 1\n",
    b"",
    b"\xff\xfe\x00",
    b"steps = []\n",
    b"a." * 50_000 + b"b = 1\n",
    b"[" + b"a." * 50_000 + b"b]\n",
    b"x = " + b"{a = " * 50_000 + b"\n",
    b"[[steps]]\n" * 100_000,
    b"[[steps]]\nstep = \"bad_pixels\"\n" * 20_000,
    b"x = " + b"9" * 100_000 + b"\n",
    b'[[steps]]\nstep = "\\ud800"\n',
]  # fmt: skip


@cache
def _stars():
    return xp_giants()[:3]


def attempt(number: int, folder: Path) -> Report:
    path = folder / "recipe.toml"
    path.write_bytes(_written(number))
    recipe: list[Recipe] = []

    def read() -> Report:
        recipe.append(Recipe.read(path))
        return Report(Outcome.SAME)

    report = judged(read, named=path.name)
    return judged(lambda: _prepared(recipe[0])) if recipe else report


def _written(number: int) -> bytes:
    rng = np.random.default_rng(number)
    if number < len(_WHOLE):
        return _WHOLE[number]
    if number % 2:
        name = str(rng.choice(list(_STEPS)))
        options = rng.permutation(_STEPS[name])[: rng.integers(1, 4)]
        lines = [f"{option} = {rng.choice(_VALUES)}" for option in options]
        return f'[[steps]]\nstep = "{name}"\n{chr(10).join(lines)}\n'.encode()
    return damaged(_SOUND.encode(), rng)


def _prepared(recipe: Recipe) -> Report:
    """What was read must say what it is and either prepare spectra or refuse them."""
    str(recipe)
    if Recipe.from_list(recipe.to_list()) != recipe:
        return Report(Outcome.WRONG, f"is not what it writes: {recipe}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            prepared = recipe.learn(_stars())(_stars())
        except SlamError as error:
            return Report(Outcome.TOLD, str(error))
    if not np.isfinite(prepared.flux).all() or np.isnan(prepared.ivar).any():
        return Report(Outcome.WRONG, f"{recipe} makes values that are not finite")
    return Report(Outcome.SAME, str(recipe))


CAMPAIGN = Campaign("recipes", attempt, tried=1000, short=40)
