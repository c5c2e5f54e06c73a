"""Workers keep freed memory; other processes are left as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import slamjax

#: Page faults of twenty times 8 MB that are taken and freed.
_SCRIPT = """
import resource
import numpy as np
from slamjax._util.freed_memory import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(1_000_000)
before = faults()
for _ in range(20):
    np.ones(1_000_000)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_worker_of_dask_does_not_take_the_same_memory_again_and_again():
    def faults(call):
        environment = os.environ | {
            "MALLOC_TRIM_THRESHOLD_": "65536",
            "PYTHONPATH": str(Path(slamjax.__file__).parents[1]),
        }
        found = subprocess.run(
            [sys.executable, "-c", _SCRIPT.format(call=call)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(found.stdout)

    assert faults("keep_freed_memory()") < 0.2 * faults("")
