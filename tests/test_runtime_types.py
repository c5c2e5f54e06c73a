"""Annotations are checked while the package runs: shapes by jaxtyping, types by beartype.

In a process of its own: the hook has to be installed before slamjax is imported, and slows down what it checks.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_shapes_and_types_hold_in_a_walk_through_the_package():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, str(TESTS / "typed_walk.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("walked\n"), done.stderr[-3000:]
