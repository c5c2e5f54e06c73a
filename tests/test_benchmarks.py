"""Benchmarks run for hours and seldom: what they take from slamjax must still be there."""

import ast
import importlib.util
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def taken_from_slamjax(script):
    """(module, name) of every import from slamjax, at any depth of the script."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "slamjax":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "slamjax":
            yield "slamjax", node.attr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_takes_nothing_that_is_gone(script):
    for module, name in taken_from_slamjax(script):
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}"), f"{module} has no {name}"


def defined_in(script):
    """Names at the top of a script, imported ones included."""
    for node in ast.parse(script.read_text()).body:
        for target in getattr(node, "targets", [getattr(node, "target", node)]):
            yield from (leaf.id for leaf in ast.walk(target) if isinstance(leaf, ast.Name))
        yield getattr(node, "name", "")
        yield from (alias.asname or alias.name for alias in getattr(node, "names", []))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_takes_nothing_that_is_gone_from_another(script):
    siblings = {path.stem: path for path in SCRIPTS}
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module in siblings:
            absent = {alias.name for alias in node.names} - set(defined_in(siblings[node.module]))
            assert not absent, f"{node.module} has no {', '.join(absent)}"


def test_there_are_benchmarks_to_look_at():
    assert len(SCRIPTS) > 10
    assert any(list(taken_from_slamjax(script)) for script in SCRIPTS)
