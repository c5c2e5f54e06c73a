"""Benchmarks run for hours and seldom: each must at least still start, and use nothing of slamjax that is gone."""

import ast
import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(FOLDER.rglob("*.py"))
#: Scripts that run in the environment of another code.
WORKERS = {"astroslam_worker", "gaiaxpy_worker", "pollux_worker", "thecannon_worker"}
STARTED = [path for path in SCRIPTS if "def main() -> None" in path.read_text()]


def name_of(script):
    return ".".join(["benchmarks", *script.relative_to(FOLDER).with_suffix("").parts])


def imports(script, package):
    """(module, name) of every import from ``package``, at any depth of the script."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == package:
            yield package, node.attr


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_every_name_that_a_benchmark_imports_exists(script):
    """Lazy imports too, which starting a script does not reach."""
    if script.stem == "parity":
        pytest.skip("also runs with older versions of slamjax, whose names it asks for")
    for package in ("slamjax", "benchmarks"):
        for module, name in imports(script, package):
            there = hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}")
            assert there, f"{module} has no {name}"


@pytest.mark.parametrize("script", STARTED, ids=name_of)
def test_every_benchmark_starts(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name_of(script)).main()
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_benchmarks_lie_in_the_folder_of_their_question():
    assert {path.parent.name for path in STARTED} == {
        "benchmarks",
        "training",
        "fitting",
        "accuracy",
        "calibration",
        "io",
        "survey",
    }
    readme = (FOLDER / "README.md").read_text()
    for path in STARTED:
        assert path.stem in readme, f"benchmarks/README.md does not say what {path.name} answers"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fitting.kernel_sum"])
def test_a_benchmark_runs_on_the_embedded_sample(name, tmp_path, monkeypatch):
    options = [
        "--n-train",
        "60",
        "--n-test",
        "8",
        "--n-stars",
        "20",
        "--out",
        str(tmp_path),
        "--cache",
        str(tmp_path / "cache"),
    ]
    monkeypatch.setattr(sys, "argv", [name, *options])
    importlib.import_module(f"benchmarks.{name}").main()
    stem = name.rpartition(".")[2]
    assert json.loads((tmp_path / f"{stem}.json").read_text())["results"]
    assert "|" in (tmp_path / f"{stem}.md").read_text()
