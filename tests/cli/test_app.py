"""The command line as a whole: help, version, warnings, errors."""

import dataclasses
import os
import subprocess
import sys

import pytest
from commands import GIANTS, run
from helpers import xp_giants
from typer.testing import CliRunner

import slamjax
from slamjax.cli.app import COMMANDS, app, load_command
from slamjax.cli.groups import offered_fields


def flat(text):
    """Help without the lines and boxes of the terminal."""
    return " ".join(text.replace("│", " ").split())


def test_help_lists_every_command_without_importing_them():
    code = (
        "import sys\nfrom slamjax.cli import main\nsys.argv = ['slamjax', '--help']\n"
        "try: main()\nexcept SystemExit: pass\nprint([name for name in ('jax', 'astropy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name, line in COMMANDS.items():
        assert f"{name} {line}" in flat(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_opens_with_its_line_and_has_an_example(command):
    text = flat(run(command, "--help"))
    assert COMMANDS[command] in text
    assert f": slamjax {command} " in text


def test_version_is_printed():
    assert run("--version") == f"{slamjax.__version__}\n"


def test_every_field_of_an_option_object_is_offered_or_left_to_python():
    """A new field of the library is not forgotten on the command line."""
    for command in COMMANDS:
        load_command(command)
    left_out = {
        slamjax.SVR: {"degree", "tol", "max_iter"},  # --degree is of both emulators
        slamjax.Polynomial: {"degree"},
        slamjax.SearchSpec: set(),
        slamjax.NoiseSpec: {"ranks", "floors", "photons"},
        slamjax.DataSpec: {"label_masks"},
        slamjax.OptimiserSpec: set(),
        slamjax.SamplerSpec: set(),
    }
    for kind, names in left_out.items():
        assert {field.name for field in dataclasses.fields(kind)} - set(offered_fields(kind)) == names


def test_defaults_in_help_are_those_of_the_library():
    options = {option.name: option.default for option in load_command("train").params}
    assert options["C"] == f"{slamjax.SVR().C:g}"
    assert options["solver"] == slamjax.SVR().solver
    assert options["ridge"] == ",".join(f"{value:g}" for value in slamjax.Polynomial().ridge)
    assert options["search"] == slamjax.SearchSpec().kind
    assert options["folds"] == slamjax.SearchSpec().folds


def test_choices_and_ranges_are_refused_with_usage():
    result = CliRunner().invoke(app, ["train", GIANTS, "-o", "m.h5", "--labels", "teff", "--kernel", "cubic"])
    assert result.exit_code == 2
    assert "cubic" in result.stderr
    assert CliRunner().invoke(app, ["plot", "m.h5", "--count", "0"]).exit_code == 2
    assert CliRunner().invoke(app, ["plot", "m.h5", "--count", "200"]).exit_code == 2
    unknown = CliRunner().invoke(app, ["trian"])
    assert unknown.exit_code == 2
    assert "No such command 'trian'" in unknown.stderr


def test_missing_and_damaged_files_are_named(trained, refused, tmp_path):
    out = tmp_path / "out.fits"
    nowhere = tmp_path / "nowhere.fits"
    assert f"{nowhere}: no such file" in refused("fit", trained[0], nowhere, "-o", out)
    assert f"{nowhere}: no such file" in refused("info", nowhere)
    assert "cannot be read as a slamjax model" in refused("fit", GIANTS, GIANTS, "-o", out)
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(trained[0].read_bytes()[:5000])
    assert f"{damaged} is damaged: the checksum of the file" in refused("validate", damaged, GIANTS)
    assert os.listdir(tmp_path) == ["damaged.h5"]


@pytest.mark.parametrize("command", ["train", "fit", "validate", "plot"])
def test_outputs_are_checked_before_inputs(command, refused, tmp_path):
    output = ["-o", tmp_path / "nowhere" / "out.png"]
    inputs = ["no.fits", "--labels", "teff"] if command == "train" else ["no.h5", "no.fits"]
    assert f"the folder {tmp_path / 'nowhere'} does not exist" in refused(command, *inputs, *output)


def test_a_missing_input_is_named_where_the_output_exists(refused, tmp_path):
    (tmp_path / "labels.fits").write_text("old")
    message = refused("fit", "absent.h5", "absent.fits", "-o", tmp_path / "labels.fits")
    assert "absent.h5: no such file" in message
    assert (tmp_path / "labels.fits").read_text() == "old"


def test_warnings_and_errors_of_a_real_process_are_one_line(trained, tmp_path):
    """In a process of its own, as astropy and pytest both put themselves before Python's warnings."""
    stars = xp_giants()[:3]
    silent = slamjax.Spectra(stars.wave, stars.flux, None, stars.table, wave_unit="nm", medium="vacuum")
    slamjax.write_table(silent, tmp_path / "silent.fits")
    command = [sys.executable, "-m", "slamjax", "fit", str(trained[0])]
    output = ["-o", str(tmp_path / "out.fits")]
    done = subprocess.run([*command, str(tmp_path / "silent.fits"), *output], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 NO_ERRORS" in done.stdout
    warned = [line for line in done.stderr.splitlines() if "warning" in line.lower()]
    assert len(warned) == 1
    assert warned[0].startswith("slamjax: warning: ")
    assert "states no flux errors" in warned[0]
    assert len(slamjax.read_labels(tmp_path / "out.fits")) == 3

    absent = str(tmp_path / "no.fits")
    done = subprocess.run([*command, absent, *output], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"slamjax: error: {absent}: no such file; check the path\n"
