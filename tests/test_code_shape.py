"""Limits on the size of functions and of the package's root: what is larger has to be listed here with a reason."""

import ast
from pathlib import Path

import pytest

import slamjax

ROOT = Path(slamjax.__file__).parent
MAX_PARAMETERS, MAX_RETURNED, MAX_BODY, MAX_ROOT_FILES = 10, 3, 60, 8

#: Functions ("file: name") that may exceed a limit, and why.
MANY_PARAMETERS: dict[str, str] = {
    "fitting/one_call.py: fit": "those of a fitter, all by name, and a file for its spectra",
    "survey/run.py: sample_survey": "those of a survey and those of a sampler's call, all by name",
    "training/pipeline.py: train": "options of a training are objects already; who works on it is not one of them",
}
MANY_RETURNED: dict[str, str] = {}
LONG_BODIES: dict[str, str] = {}


def functions():
    """(name, node) of every function of the package outside the command line, whose options are parameters."""
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).parts[0] != "cli":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{path.relative_to(ROOT)}: {node.name}", node


def parameters(node):
    given = node.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return sum(one is not None and one.arg not in ("self", "cls") for one in every)


def returned(node):
    """Length of the bare tuple that a function is annotated to return; 0 where it returns something else."""
    hint = node.returns
    if isinstance(hint, ast.Subscript) and isinstance(hint.value, ast.Name) and hint.value.id == "tuple":
        if isinstance(hint.slice, ast.Tuple):
            return sum(not (isinstance(one, ast.Constant) and one.value is Ellipsis) for one in hint.slice.elts)
        return 1
    return 0


def body(node):
    """Lines of a function without its signature and docstring."""
    first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
    return node.end_lineno - first.lineno + 1


@pytest.mark.parametrize(
    ("size", "limit", "excused"),
    [
        (parameters, MAX_PARAMETERS, MANY_PARAMETERS),
        (returned, MAX_RETURNED, MANY_RETURNED),
        (body, MAX_BODY, LONG_BODIES),
    ],
    ids=["parameters", "returned", "lines"],
)
def test_functions_stay_small(size, limit, excused):
    above = {name: size(node) for name, node in functions() if size(node) > limit}
    new = {name: count for name, count in above.items() if name not in excused}
    assert not new, f"{size.__name__} above {limit}; make them smaller, or list them above with the reason: {new}"
    assert not set(excused) - set(above), f"no longer above the limit, take off the list: {set(excused) - set(above)}"


def test_the_root_of_the_package_holds_few_files():
    files = sorted(path.name for path in ROOT.iterdir() if path.is_file())
    assert len(files) <= MAX_ROOT_FILES, files


def test_the_version_stands_in_one_place():
    assert f"\nversion: {slamjax.__version__}\n" in (ROOT.parent / "CITATION.cff").read_text()
