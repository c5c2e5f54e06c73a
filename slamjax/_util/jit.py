"""``jax.jit`` for batches that slamjax runs itself."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import jax
import numpy as np

from slamjax._util.programs import compile_and_keep, load

F = TypeVar("F", bound=Callable[..., Any])

#: LAPACK calls (Cholesky, triangular solves, QR, eigenvectors) that XLA runs concurrently on a CPU can deadlock in a
#: pool of two threads (jaxlib 0.10). In the order of least memory they rarely coincide; code here is also written so
#: that each depends on the one before.
_IN_ORDER = {"xla_cpu_enable_concurrency_optimized_scheduler": False}
_ONE_THREAD = {"xla_cpu_multi_thread_eigen": False}
_MAPS = Path("/proc/self/maps")
#: JAX's settings that a program depends on beside its arguments.
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)
#: How a program's text names LAPACK's routines.
_LAPACK = 'custom_call_target="lapack'
#: Whether programs that were asked about call LAPACK.
_calls_lapack: WeakKeyDictionary[jax.stages.Compiled, bool] = WeakKeyDictionary()
#: Programs that are in memory; those not used for longest are given up.
_programs: OrderedDict[Any, jax.stages.Compiled] = OrderedDict()
MOST_PROGRAMS = 256
#: Memory maps of a process at which all compiled programs are given up. Each holds dozens, LLVM aborts a process that
#: has no more, and Linux allows 65,530.
MOST_MAPS = 16_000


def compiled(
    function: F,
    *,
    static_argnums: int | None = None,
    static_argnames: str | Sequence[str] = (),
    one_thread: bool = False,
) -> F:
    """``jax.jit(function)`` that does not deadlock on few cores and does not compile what another process compiled.

    Inside another jit it is the function itself. Programs are kept, see `slamjax.keep_programs`. With ``one_thread``
    its products are not divided between cores: the last digit of a sum does not depend on how many there are.
    """
    names = list(inspect.signature(function).parameters)
    static = {static_argnames} if isinstance(static_argnames, str) else set(static_argnames)
    static |= set() if static_argnums is None else {names[static_argnums]}
    places = {place for place, name in enumerate(names) if name in static}

    @cache
    def jitted() -> Any:
        return jax.jit(function, static_argnames=tuple(static))

    def bind(*args: Any, **kwargs: Any) -> Bound | None:
        given = tuple(arg for place, arg in enumerate(args) if place not in places)
        named = {name: arg for name, arg in kwargs.items() if name not in static}
        leaves, tree = jax.tree_util.tree_flatten((given, named))
        # XLA accepts options for whole programs only
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return None
        fixed = tuple(arg for place, arg in enumerate(args) if place in places)
        fixed_named = tuple(sorted((name, arg) for name, arg in kwargs.items() if name in static))
        settings = tuple(getattr(jax.config, name, None) for name in _SETTINGS)
        key = (function, tree, tuple(map(_kind, leaves)), fixed, fixed_named, settings)
        program = _programs.get(key)
        if program is None:
            give_up_programs(MOST_MAPS)
            program = _program(jitted().lower(*args, **kwargs), function.__name__, given, named, one_thread)
            _programs[key] = program
            while len(_programs) > MOST_PROGRAMS:
                _programs.popitem(last=False)
        else:
            _programs.move_to_end(key)
        return Bound(program, given, named)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        program = bind(*args, **kwargs)
        return function(*args, **kwargs) if program is None else program()

    call.bind = bind  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Bound:
    """A compiled program with its arguments."""

    program: jax.stages.Compiled
    given: tuple[Any, ...]
    named: dict[str, Any]

    def __call__(self) -> Any:
        return self.program(*self.given, **self.named)

    @property
    def calls_lapack(self) -> bool:
        known = _calls_lapack.get(self.program)
        if known is None:
            known = _calls_lapack[self.program] = _LAPACK in (self.program.as_text() or _LAPACK)
        return known


def bound(function: Any, *args: Any, **kwargs: Any) -> Bound:
    """The program of a `compiled` function for these arguments, which are values."""
    program = function.bind(*args, **kwargs)
    assert isinstance(program, Bound)
    return program


def give_up_programs(most: int) -> bool:
    """Give up every compiled program, JAX's own included, if the process has more memory maps than ``most``.

    Programs that are dropped here stay in JAX's caches; only clearing those returns their memory. What is still used
    is compiled, or loaded, again.
    """
    if not _MAPS.exists() or _MAPS.read_bytes().count(b"\n") <= most:
        return False
    _programs.clear()
    jax.clear_caches()
    return True


def _program(
    lowered: Any, name: str, given: tuple[Any, ...], named: dict[str, Any], one_thread: bool
) -> jax.stages.Compiled:
    """A program that runs: one that was kept is tried first, for XLA finds some faults only then."""
    options = _options(one_thread)
    program = load(lowered, options, name)
    if program is not None:
        try:
            jax.block_until_ready(program(*given, **named))
        except Exception:  # whatever it is, compiling helps
            program = None
    return compile_and_keep(lowered, options, name) if program is None else program


def _kind(leaf: Any) -> Any:
    """What a program depends on of an argument: not its values."""
    if isinstance(leaf, jax.Array):
        return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False), leaf.sharding
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.shape, leaf.dtype
    return type(leaf)


@cache
def _options(one_thread: bool) -> dict[str, Any] | None:
    """The options that this version of XLA knows."""
    known: dict[str, Any] = {}
    for option in (_IN_ORDER, _ONE_THREAD if one_thread else {}):
        try:
            jax.jit(lambda x: x, compiler_options=option)(np.float32(0))
        except (RuntimeError, ValueError):  # XlaRuntimeError is a RuntimeError
            continue
        known |= option
    return known or None
