"""The documentation holds what it shows: its code runs, and its reference is complete."""

import re
import shutil
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import DATA, xp_giants
from models import SVR_10, THREE_FOLDS, miles_model

import slamjax
from slamjax.datasets import LABELS
from slamjax.flags import FLAG_ADVICE, FLAG_MEANINGS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "guide").glob("*.md"))]
PAGES = [page for page in PAGES if "```python" in page.read_text()]
#: Packages that pages show slamjax with, and that it does not need.
OTHERS = ("equinox", "flax", "blackjax", "pandas")


def small_giants():
    """Every sixth pixel of the giants: what a page needs, in little time."""
    spectra = xp_giants()
    return spectra.on_pixels(np.arange(0, spectra.n_pix, 6))


@cache
def small_model():
    """The model that pages find as giants.h5."""
    recipe = slamjax.Recipe.make(wave_range=(376, 1010), wave_unit="nm", continuum="gaussian:50nm")
    return slamjax.train(
        small_giants()[:110], LABELS, recipe=recipe, emulator=SVR_10, search=THREE_FOLDS, noise="diagonal"
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that pages speak of, and the embedded giants thinned."""
    giants = small_giants()
    slamjax.write_table(giants[:110], tmp_path / "giants.fits")
    slamjax.write_table(giants[110:134], tmp_path / "new.fits")
    shutil.copy(DATA / "miles.fits", tmp_path)
    (tmp_path / "spectra").mkdir()
    for name in ("3703110.fits", "3709013.fits"):
        shutil.copy(DATA / "surveys" / name, tmp_path / "spectra")
    shutil.copy(DATA / "surveys" / "lasp.csv", tmp_path / "catalog.csv")
    shutil.copy(DATA / "astroslam" / "grid.dump", tmp_path / "slam.dump")
    small_model().write(tmp_path / "giants.h5")
    miles_model().write(tmp_path / "miles.h5")
    monkeypatch.setattr(slamjax.datasets, "load_xp_giants", lambda: (giants[:110], giants[110:134]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(page):
    """(line, code) of every python block."""
    text = page.read_text()
    for found in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text[: found.start()].count("\n") + 2, found.group(1)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.filterwarnings("ignore::slamjax.SlamWarning")
@pytest.mark.filterwarnings("error::RuntimeWarning")  # a stranger would take it for a fault
@pytest.mark.filterwarnings("error::FutureWarning")
def test_the_code_of_a_page_runs(page, folder):
    names = {"__name__": "page"}
    for line, code in blocks(page):
        if any(f"import {other}" in code or f"from {other}" in code for other in OTHERS if find_spec(other) is None):
            continue
        # numbered as in the page, so that a traceback points there
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)


def generated_pages():
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    try:
        import generated_pages
    finally:
        sys.path.pop(0)
    return generated_pages


def test_every_public_name_is_in_the_reference():
    reference = generated_pages().reference()
    listed = {id(generated_pages().resolve(name)) for names in reference.values() for name in names}
    for name in slamjax.__all__:
        value = getattr(slamjax, name)
        if name != "__version__" and not generated_pages().is_module(value):
            assert id(value) in listed, name


def test_every_flag_has_a_meaning_and_advice():
    for texts in (FLAG_MEANINGS, FLAG_ADVICE):
        assert list(texts) == list(slamjax.Flag)
    assert "_generated/flag_advice.md" in (ROOT / "docs" / "troubleshooting.md").read_text()


def test_every_public_name_has_an_example():
    protocols = {"slamjax.emulators.Emulator", "slamjax.noise.Noise"}  # what others implement
    names = {name for group in generated_pages().reference().values() for name in group} - protocols
    values = {name: generated_pages().resolve(name) for name in names}
    assert [name for name, value in values.items() if callable(value) and ">>> " not in (value.__doc__ or "")] == []
