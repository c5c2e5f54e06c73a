"""Compiled programs that are kept between processes."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from slamjax._util import jit, programs
from slamjax.errors import SlamError

#: What a new process does: compile a function with a Cholesky factor, and say so.
USE = """
import sys, jax.numpy as jnp, numpy as np
from slamjax._util.jit import compiled
from slamjax._util.programs import watch_compilation

@compiled
def solve(a, b):
    return {"x": jnp.linalg.solve(a @ a.T + jnp.eye(3), b), "factor": jnp.linalg.cholesky(a @ a.T + jnp.eye(3))}

with watch_compilation(lambda name: name and print("compiled", name)):
    out = solve(np.arange(9.0).reshape(3, 3), np.ones(3))
print(out["x"].tolist(), out["factor"].tolist())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in use, as for users who have not configured JAX's own cache; no program is in memory."""
    monkeypatch.setattr(programs, "_chosen", [])
    monkeypatch.setattr(jit, "_programs", type(jit._programs)())
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    programs.keep_programs(tmp_path / "programs")
    yield tmp_path / "programs"
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


def in_new_process(cache, **environment):
    """What `USE` prints in a process whose user has not configured JAX's own cache."""
    kept = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", USE],
        env={**kept, "SLAMJAX_CACHE": str(cache), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_a_new_process_does_not_compile_what_another_compiled(tmp_path):
    first, second = (in_new_process(tmp_path / "programs", PYTHONHASHSEED=str(k)) for k in (1, 2))
    assert first == "compiled solve\n" + second
    (file,) = (tmp_path / "programs").iterdir()
    assert file.name.startswith("solve-")
    # not with other flags of XLA, nor when damaged
    assert in_new_process(tmp_path / "programs", XLA_FLAGS="--xla_cpu_enable_fast_math=false") == first
    for path in (tmp_path / "programs").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert in_new_process(tmp_path / "programs") == first
    assert in_new_process(tmp_path / "programs") == second
    assert in_new_process("off") == first
    assert not [path for path in (tmp_path / "programs").iterdir() if path.suffix != ".program"]


def test_arguments_of_other_kinds_are_other_programs(folder):
    seen = []

    @jit.compiled
    def double(x):
        return 2 * x

    with programs.watch_compilation(seen.append):
        for x in (np.ones(3), np.ones(3), np.ones(4), np.ones(3, int), 1.0, jnp.ones(3)):
            out = double(x)
            np.testing.assert_array_equal(out, 2 * np.asarray(x))
        with jax.enable_x64(True):
            assert double(np.ones(3)).dtype == np.float64
        assert double(np.ones(3)).dtype == np.float32
    assert seen == ["double", None] * 5  # jnp.ones(3) is the same program as np.ones(3), which JAX rounds to float32
    assert len(list(folder.iterdir())) == 5


def test_programs_that_were_not_used_for_longest_are_deleted(folder, monkeypatch):
    @jit.compiled
    def double(x):
        return 2 * x

    for n in range(1, 4):
        double(np.ones(n))
        for path in folder.iterdir():
            os.utime(path, (path.stat().st_mtime - 100,) * 2)
    oldest, *_, newest = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    monkeypatch.setattr(programs, "LARGEST", sum(path.stat().st_size for path in folder.iterdir()))
    double(np.ones(4))
    assert not oldest.exists()
    assert newest.exists()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= programs.LARGEST


def test_a_program_that_cannot_run_is_compiled_again(folder, monkeypatch):
    """XLA finds some faults of a loaded program only when it runs."""

    @jit.compiled
    def double(x):
        return 2 * x

    def broken(*arguments):
        raise jax.errors.JaxRuntimeError("NOT_FOUND: Function not found")

    monkeypatch.setattr(jit, "load", lambda *arguments: broken)
    assert double(1.0) == 2


def test_memory_holds_the_programs_that_were_used_last(folder, monkeypatch):
    monkeypatch.setattr(jit, "MOST_PROGRAMS", 2)

    @jit.compiled
    def double(x):
        return 2 * x

    for n in (1, 2, 1, 3):
        double(np.ones(n))
    assert [key[2][0][0] for key in jit._programs] == [(1,), (3,)]


def test_a_folder_that_others_may_write_to_is_not_used(folder):
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(SlamError, match="a folder of your own that only you can write to"):
        programs.keep_programs(shared)
    with pytest.raises(SlamError, match="cannot keep compiled programs"):
        programs.keep_programs("/proc/none")
    programs._chosen[:] = [shared]
    assert jit.compiled(lambda x: x + 1)(1.0) == 2
    assert not list(shared.iterdir())


def test_the_folder_is_the_platforms_own_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "_chosen", [])
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.delenv("SLAMJAX_CACHE", raising=False)
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert programs.programs_folder() == tmp_path / "slamjax" / "programs"
        for word in ("off", "0", "", "None"):
            monkeypatch.setenv("SLAMJAX_CACHE", word)
            assert programs.programs_folder() is None
        monkeypatch.setenv("SLAMJAX_CACHE", str(tmp_path / "mine"))
        assert programs.programs_folder() == tmp_path / "mine"
        # a user's choice of JAX's own cache comes first
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        assert programs.programs_folder() is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
