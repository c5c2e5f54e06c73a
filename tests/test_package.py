"""What importing slamjax does and does not do, and which module may know of which."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import slamjax

ROOT = Path(slamjax.__file__).parent
HEAVY = ("sklearn", "jax", "matplotlib", "astropy", "h5py", "scipy", "numpyro", "optax")


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
        "describe",
        "validate",
        "read_table",
        "write_table",
        "from_sklearn",
        "flag_names",
    } <= functions
    assert {name for name, kind in kinds.items() if kind == "module"} == {
        "datasets",
        "emulators",
        "forward",
        "noise",
        "plots",
        "preprocessing",
        "sampling",
        "survey",
        "validation",
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


def test_specutils_is_read_without_being_needed():
    assert fresh("import slamjax.io, sys; result = 'specutils' in sys.modules") is False
