"""``slamjax validate``, ``slamjax calibrate`` and ``slamjax plot``."""

import os

import numpy as np
import pytest
from astropy.table import Table
from commands import GIANTS, run
from helpers import xp_giants

import slamjax


def test_training_stars_are_left_out_and_the_report_is_written(trained, tmp_path):
    snr = xp_giants().values(["apogee_snr"])[:, 0]
    in_training = np.isin(np.arange(150), slamjax.Model.read(trained[0]).info.record.rows)
    others = (snr > 200) & ~in_training
    options = ("--select", "apogee_snr > 200", "--by", "apogee_snr", "--bins", "200,230,400", "--n-starts", 1)
    printed = run("validate", trained[0], GIANTS, "-o", tmp_path / "report.csv", *options)
    excluded = np.sum((snr > 200) & in_training)
    assert printed.startswith(f"fit - known, {others.sum()} stars; {excluded} training stars left out\n|")
    report = Table.read(tmp_path / "report.csv")
    assert list(report["label"]) == ["teff", "logg", "fe_h", "jointly"] * 3
    assert list(report["n"][::4]) == [others.sum(), np.sum(others & (snr < 230)), np.sum(others & (snr >= 230))]
    assert f" {report['std'][0]:.1f} " in printed


def test_errors_are_compared_with_the_scatter(trained):
    options = ("--select", "apogee_snr > 220", "--n-starts", 1)
    without, added = (run("validate", trained[0], GIANTS, *options, *more) for more in ([], ["--reference-errors"]))
    assert "pull width" in without
    assert without.count("| jointly |") == 5  # all stars, and the quartiles
    scatter, errors = (printed.split("\n\n")[::2] for printed in (without, added))
    assert scatter[0] == errors[0]
    assert scatter[1] != errors[1]


def test_simulated_stars_have_the_errors_of_the_given_ones(trained, tmp_path, monkeypatch):
    given = {}

    def sbc(model, ivar, *, on_progress, **options):
        given.update(options, ivar=ivar)
        rng = np.random.default_rng(0)
        n, names = options["n_stars"], model.label_names
        truth, draws = rng.normal(size=(n, len(names))), rng.normal(size=(n, 99, len(names)))
        return slamjax.validation.SimulatedCalibration.from_draws(truth, draws, names)

    monkeypatch.setattr(slamjax.validation, "sbc", sbc)
    options = ("--n-stars", 60, "--seed", 3, "--draws", 99, "--select", "apogee_snr > 220")
    printed = run("calibrate", trained[0], GIANTS, "-o", tmp_path / "ranks.png", *options)
    stars = xp_giants().select("apogee_snr > 220")
    np.testing.assert_array_equal(given.pop("ivar"), slamjax.Model.read(trained[0]).prepare(stars).ivar)
    assert given == {"n_stars": 60, "seed": 3, "sampler": slamjax.SamplerSpec(draws=99), "prior": "uniform"}
    assert printed.startswith("ranks of 60 truths among 99 draws in 10 bins: ")
    assert "| teff |" in printed.replace("  ", " ")
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("what", ["spectra", "labels", "errors", "training"])
def test_each_kind_of_figure_is_written(what, trained, tmp_path):
    spectra = [] if what == "training" else [GIANTS]
    select = ["--select", "apogee_snr > 220"] if what in ("labels", "errors") else []
    run("plot", trained[0], *spectra, "-o", tmp_path / "plot.png", "--what", what, *select)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path) == ["plot.png"]


def test_figures_are_refused_before_any_fit(refused, trained, tmp_path):
    assert "the suffix gives the format" in refused("plot", "no.h5", "-o", tmp_path / "plot")
    assert "--what labels needs spectra" in refused("plot", trained[0], "-o", tmp_path / "a.png", "--what", "labels")
    assert os.listdir(tmp_path) == []
