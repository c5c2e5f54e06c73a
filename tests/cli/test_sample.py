"""``slamjax sample``: a posterior file and a table from the command line, and a run that was stopped."""

import numpy as np
import pytest
from commands import run
from helpers import DATA
from models import LABELS, giants_model, miles_model
from typer.testing import CliRunner

import slamjax
from slamjax.cli.app import app
from slamjax.errors import SlamError
from slamjax.sampling import sampler as run_module

SHORT = ["--draws", "60", "--warmup", "40", "--chains", "2", "--seed", "3"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    giants_model().write(folder / "giants.h5")
    return folder, DATA / "xp_giants.fits"


def test_sample_writes_a_posterior_and_a_table_and_draws_them(files):
    folder, spectra = files
    out, table = folder / "p.nc", folder / "p.fits"
    select = ["--select", "teff < 4300"]
    said = run("sample", folder / "giants.h5", spectra, "-o", out, "--table", table, *select, *SHORT)
    assert "without flags" in said
    assert f"written: {out}" in said
    posterior = slamjax.Posterior.read(out)
    labels = slamjax.read_labels(table)
    assert len(labels) == len(posterior) > 3
    assert posterior.label_names == LABELS
    np.testing.assert_allclose(labels["teff"].value, posterior.moments()[0][:, 0], rtol=1e-6)
    assert not (folder / ".p.nc.parts").exists()
    for what in ("corner", "trace"):
        run("plot", out, "--what", what, "-o", folder / f"{what}.png", "--row", posterior.stars["row"][1])
        assert (folder / f"{what}.png").stat().st_size > 10_000


def test_velocities_are_sampled_beside_the_labels(files, tmp_path):
    miles_model().write(tmp_path / "miles.h5")
    star = DATA / "surveys" / "3709013.fits"
    out = tmp_path / "p.nc"
    run("sample", tmp_path / "miles.h5", star, "-o", out, "--rv", "free", "--polynomial", "1", *SHORT)
    posterior = slamjax.Posterior.read(out)
    drawn = np.asarray(posterior.arviz.posterior["rv"])
    assert abs(np.median(drawn) - 46.2) < 20  # LASP's
    assert 1 < np.std(drawn) < 30
    refused = CliRunner().invoke(app, ["sample", str(tmp_path / "miles.h5"), str(star), "-o", str(out), "--rv", "fast"])
    assert "--rv is 'fast'" in str(refused.exception)


def test_a_stopped_command_goes_on_and_a_changed_one_is_refused(files, monkeypatch):
    folder, spectra = files
    out = folder / "q.nc"
    command = ["sample", folder / "giants.h5", spectra, "-o", out, "--select", "teff < 4300", *SHORT]
    monkeypatch.setattr(run_module, "_LARGEST_BATCH", 4)
    whole = run_module.sample_batch
    done = []

    def stops(*arguments):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(1)
        return whole(*arguments)

    monkeypatch.setattr(run_module, "sample_batch", stops)
    stopped = CliRunner().invoke(app, [str(argument) for argument in command])
    assert stopped.exit_code != 0
    assert not out.exists()
    parts = list((folder / ".q.nc.parts").glob("*.npz"))
    assert len(parts) == 1
    monkeypatch.setattr(run_module, "sample_batch", whole)
    with pytest.raises(SlamError, match="another run"):
        CliRunner().invoke(app, [*map(str, command), "--prior", "density"], catch_exceptions=False)
    run(*command)
    assert out.exists()
    assert not (folder / ".q.nc.parts").exists()
