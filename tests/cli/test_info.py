"""``slamjax info``: every file of slamjax."""

from commands import GIANTS, run

import slamjax


def test_models_spectra_and_recipes_are_described(trained, tmp_path):
    assert run("info", trained[0]) == f"{slamjax.describe(trained[0])}\n"
    assert run("info", GIANTS) == f"{slamjax.describe(GIANTS)}\n"
    (tmp_path / "r.toml").write_text(run("info", trained[0], "--recipe"))
    assert run("info", tmp_path / "r.toml") == "Recipe of 1 step\n  1.           wavelengths 500 to 540 nm\n"


def test_options_of_models_are_refused_for_other_files(refused):
    assert "cannot be read as a slamjax model" in refused("info", GIANTS, "--pixels")
    assert "cannot be read as a slamjax model" in refused("info", GIANTS, "--recipe")
