"""Temporary float64, whatever precision JAX runs in."""

from __future__ import annotations

from typing import Any

import jax

#: A context manager; older JAX has it in ``jax.experimental``.
enable_x64: Any = getattr(jax, "enable_x64", getattr(jax.experimental, "enable_x64", None))
