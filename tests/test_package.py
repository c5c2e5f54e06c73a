"""What importing slamjax does and does not do, and which module may know of which."""

import ast
import inspect
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import slamjax

ROOT = Path(slamjax.__file__).parent
HEAVY = ("sklearn", "jax", "matplotlib", "astropy", "h5py", "scipy", "numpyro", "optax")
CORE = (
    *("kernels", "scaling", "emulator", "noise", "domain", "likelihood", "typing"),
    *("fitting.levenberg", "fitting.gradient", "fitting.starts", "fitting.rounds", "fitting.problem"),
)


def fresh(code):
    """What ``code`` leaves in ``result``, in an interpreter that has imported nothing."""
    done = subprocess.run(
        [sys.executable, "-c", f"import json\n{code}\nprint(json.dumps(result))"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_import_is_quick():
    code = "import slamjax, sys; dir(slamjax); result = [name for name in sys.modules if '.' not in name]"
    imported = fresh(code)
    assert "slamjax" in imported
    assert not set(HEAVY) & set(imported)


def test_everything_can_be_imported_in_a_fresh_interpreter():
    """Names stay what they are once submodules of like names are imported, and JAX keeps the user's precision."""
    result = fresh(
        "import jax, pkgutil, importlib, slamjax\n"
        "before = jax.config.jax_enable_x64\n"
        "names = [m.name for m in pkgutil.walk_packages(slamjax.__path__, 'slamjax.') if '__main__' not in m.name]\n"
        "for name in names: importlib.import_module(name)\n"
        "kinds = {n: type(getattr(slamjax, n)).__name__ for n in slamjax.__all__}\n"
        "result = [before, jax.config.jax_enable_x64, len(names), kinds]"
    )
    before, after, n_modules, kinds = result
    assert before is False
    assert after is False
    assert n_modules > 30
    functions = {name for name, kind in kinds.items() if kind == "function"}
    assert {
        "fit",
        "train",
        "sample",
        "load",
        "describe",
        "read_table",
        "write_table",
        "from_sklearn",
        "flag_names",
    } <= functions
    assert {name for name, kind in kinds.items() if kind == "module"} == {
        "datasets",
        "demo",
        "plots",
        "sampling",
        "validate",
    }


def test_every_public_name_is_documented():
    for name in slamjax.__all__:
        value = getattr(slamjax, name)
        assert isinstance(value, str) or inspect.getdoc(value), name
    assert set(dir(slamjax)) == set(slamjax.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'slamjax' has no attribute 'trian'"):
        _ = slamjax.trian


def test_the_version_is_the_packages():
    from importlib.metadata import version

    assert slamjax.__version__ == version("slamjax")


# --- layers: a module is known by its dotted name below slamjax


@cache
def imports():
    """Module: the set of absolute names that it imports anywhere, apart from under TYPE_CHECKING."""
    found = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = set(_imported(ast.parse(path.read_text())))
    return found


def _imported(node):
    if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports would escape this test"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)


def who_imports(package):
    return {
        module
        for module, names in imports().items()
        if any(name == package or name.startswith(f"{package}.") for name in names)
    }


@pytest.mark.parametrize("package", ["slamjax.readers", "h5py", "astropy", "sklearn", "typer", "slamjax.spectra"])
def test_the_jax_core_knows_nothing_of_files(package):
    assert set(CORE) <= set(imports())
    assert not set(CORE) & who_imports(package)


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("typer", ["cli"]),
        ("rich", ["cli"]),
        ("matplotlib", ["plots"]),
        ("h5py", ["modelfile"]),
        ("sklearn", ["training"]),
        ("joblib", ["training", "readers.archive"]),
        ("optax", ["fitting.gradient"]),
        ("numpyro", ["sampling"]),
        ("arviz", ["sampling"]),
    ],
)
def test_the_glue_to_another_library_has_its_place(package, homes):
    """matplotlib's is the import within `plots`; who has no home has no glue, which would pass unseen."""
    found = who_imports(package)
    assert found
    assert all(any(module == home or module.startswith(f"{home}.") for home in homes) for module in found), found


def test_specutils_is_read_without_being_needed():
    assert who_imports("specutils") == {"readers.registry"}  # within the function that somebody asked for it
    code = "import sys, slamjax.readers; sys.exit('specutils' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_stands_above_the_command_line():
    assert {name for name in who_imports("slamjax.cli") if name.split(".")[0] != "cli"} == {"__main__"}


def test_fitting_and_training_do_not_know_of_each_other():
    assert not {name for name in who_imports("slamjax.training") if name.startswith("fitting")}
    assert not {name for name in who_imports("slamjax.fitting") if name.startswith("training")}


def test_nothing_that_makes_labels_knows_of_their_validation():
    above = {name.split(".")[0] for name in who_imports("slamjax.validate")}
    assert above <= {"validate", "comparison", "plots", "demo", "cli"}
