"""``slamjax sample``: posterior file, label table, figures, and a stopped run that is continued."""

import sys

import numpy as np
import pytest
from commands import GIANTS, run
from typer.testing import CliRunner

import slamjax
from slamjax.cli.app import app
from slamjax.sampling import sampler as sampler_module

#: Without NUTS, which takes long to compile and is tested by itself.
SHORT = ["--sampler", "importance", "--draws", "60", "--chains", "2", "--seed", "3"]
#: A few of the 150 giants.
SELECT = ["--select", "teff < 4300"]


@pytest.mark.slow
def test_posterior_table_and_figures_are_written(trained, tmp_path):
    out, table = tmp_path / "p.nc", tmp_path / "p.fits"
    printed = run("sample", trained[0], GIANTS, "-o", out, "--table", table, *SELECT, *SHORT)
    assert "without flags" in printed
    assert f"written: {out}" in printed
    posterior = slamjax.Posterior.read(out)
    labels = slamjax.read_labels(table)
    assert len(labels) == len(posterior) > 3
    assert posterior.label_names == ("teff", "logg", "fe_h")
    np.testing.assert_allclose(labels["teff"].value, posterior.moments()[0][:, 0], rtol=1e-6)
    assert not (tmp_path / ".p.nc.parts").exists()
    for what in ("corner", "trace"):
        run("plot", out, "--what", what, "-o", tmp_path / f"{what}.png", "--row", posterior.stars["row"][1])
        assert (tmp_path / f"{what}.png").stat().st_size > 10_000


def test_options_reach_the_sampler(trained, refused, tmp_path, monkeypatch):
    class Sampled(Exception):
        pass

    def sample(model, spectra, **options):
        given.update(options)
        raise Sampled

    given = {}
    command = ["sample", trained[0], GIANTS, "-o", tmp_path / "p.nc"]
    assert "--rv is 'fast'" in refused(*command, "--rv", "fast")
    monkeypatch.setattr(slamjax, "sample", sample)
    with pytest.raises(Sampled):
        run(*command, "--rv", "free", "--vsini", "20+-5", "--polynomial", 1, "--prior", "training", "--warmup", 40)
    assert given["nuisances"] == slamjax.Nuisances(rv="free", vsini=slamjax.Gaussian(20, 5), polynomial=1)
    assert given["sampler"] == slamjax.SamplerSpec(warmup=40)
    assert given["prior"] == "training"
    assert given["checkpoint"].folder == tmp_path / ".p.nc.parts"


def test_a_table_is_a_survey(trained, refused, tmp_path, monkeypatch):
    def sample_survey(sampler, inputs, output, **options):
        given.update(options, sampler=sampler, inputs=inputs, output=output)
        raise Sampled

    class Sampled(Exception):
        pass

    given = {}
    monkeypatch.setattr(slamjax, "sample_survey", sample_survey)
    command = ["sample", trained[0], GIANTS, "-o", tmp_path / "p.fits", "--piece-size", 40, "--shard", "2/3"]
    with pytest.raises(Sampled):
        run(*command, "--draws-folder", tmp_path / "draws", *SELECT, *SHORT)
    assert given["sampler"].spec == slamjax.SamplerSpec("importance", draws=60)
    assert (given["piece_size"], given["shard"], given["seed"], given["prior"]) == (40, (2, 3), 3, "uniform")
    assert (given["draws"], given["output"]) == (tmp_path / "draws", tmp_path / "p.fits")
    assert given["reading"].select == "teff < 4300"
    assert "leave --table out" in refused(*command, "--table", tmp_path / "t.fits")
    command[4] = tmp_path / "p.nc"
    assert refused(*command).startswith("--piece-size goes with a table, and ")
    assert "--workers goes with a table" in refused(*command[:5], "--workers", 2)


@pytest.mark.parametrize("missing", ["arviz", "h5netcdf"])
def test_what_posterior_files_need_is_asked_for_before_anything_is_read(missing, refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    message = refused("sample", GIANTS, GIANTS, "-o", tmp_path / "p.nc")  # GIANTS is no model
    assert message.startswith("posterior files need ArviZ and h5netcdf")
    assert message.endswith("install them with: pip install 'slamjax[posteriors]'")


@pytest.mark.slow
def test_a_stopped_run_is_continued_and_a_changed_one_is_refused(trained, refused, tmp_path, monkeypatch):
    out = tmp_path / "q.nc"
    command = ["sample", trained[0], GIANTS, "-o", out, *SELECT, *SHORT]
    monkeypatch.setattr(sampler_module, "_LARGEST_BATCH", 4)
    sample_batch = sampler_module.sample_batch
    batches = []

    def stops_at_the_second(*arguments):
        if batches:
            raise KeyboardInterrupt
        batches.append(sample_batch(*arguments))
        return batches[0]

    monkeypatch.setattr(sampler_module, "sample_batch", stops_at_the_second)
    stopped = CliRunner().invoke(app, [str(argument) for argument in command])
    assert stopped.exit_code != 0
    assert not out.exists()
    assert len(list((tmp_path / ".q.nc.parts").glob("*.part"))) == 1
    monkeypatch.setattr(sampler_module, "sample_batch", sample_batch)
    assert "another run" in refused(*command, "--prior", "training")
    run(*command)
    assert out.exists()
    assert not (tmp_path / ".q.nc.parts").exists()
