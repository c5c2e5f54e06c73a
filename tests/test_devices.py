"""The same code across several devices: two CPU devices, made by a flag, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import slamjax

SCRIPT = """
import jax, numpy as np
from functools import partial
from jax.sharding import Mesh, PartitionSpec as P
from models import LABELS, giants_model, held_out
from slamjax.fitting import Fitter, fit

assert len(jax.devices()) == 2
model, spectra = giants_model(), held_out()
labels = np.asarray(spectra.values(LABELS)[:8], dtype=np.float32)
mesh = Mesh(np.array(jax.devices()), ("star",))
mapped = jax.shard_map(lambda e, x: e(x), mesh=mesh, in_specs=(P(), P("star")), out_specs=P("star"))
np.testing.assert_allclose(mapped(model.emulator, labels), model(labels), rtol=1e-4, atol=1e-5)
table = fit(model, spectra, n_starts=2)
parts = list(Fitter(model, n_starts=2).fit_parts([spectra[:15], spectra[15:]]))
assert [len(part) for part in parts] == [15, 25]
teff = np.concatenate([np.asarray(part["teff"]) for part in parts])
assert np.nanmedian(np.abs(teff - np.asarray(table["teff"])) / np.asarray(table["teff_err"])) < 0.05
np.save("labels.npy", np.stack([np.asarray(table[name]) for name in LABELS]))
"""


@pytest.mark.slow
def test_emulator_and_fit_run_on_two_devices(tmp_path):
    import numpy as np
    from models import LABELS, giants_model, held_out

    from slamjax.fitting import fit

    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = dict(os.environ, XLA_FLAGS=flags)
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(Path(slamjax.__file__).parents[1])])
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, check=True)
    table = fit(giants_model(), held_out(), n_starts=2)
    here = np.stack([np.asarray(table[name]) for name in LABELS])
    errors = np.stack([np.asarray(table[f"{name}_err"]) for name in LABELS])
    apart = np.abs(np.load(tmp_path / "labels.npy") - here) / errors
    assert np.nanmax(apart) < 0.1
