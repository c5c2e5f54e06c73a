"""`Posterior`: indexing, tables, files and predicted spectra, from made draws; no sampler runs here."""

import dataclasses
import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from models import LABELS, giants_model, held_out

from slamjax.errors import SlamError
from slamjax.sampling import Diagnostics, Posterior, arviz_io, check_posterior_path

N = 4


def made(attrs=None):
    """Gaussian draws about the labels of four stars; the last star has none."""
    rng = np.random.default_rng(0)
    labels = held_out()[:N].values(LABELS) + rng.normal(size=(2, 60, N, 4)) * [50, 0.1, 0.05, 0.02]
    labels[:, :, -1] = np.nan
    ess = np.full((N, 4), 500.0)
    stars = {
        "row": np.arange(10, 10 + N),
        "source_id": np.array(["a", "b", "c", "d"]),
        "teff_ref": np.full(N, 4500.0),
        "noise_scale": np.array([1.0, 1.2, 0.9, np.nan]),
    }
    return Posterior(
        LABELS, ("K", "dex", "dex", "dex"), labels, rng.normal(size=labels.shape[:3]), np.zeros(labels.shape[:3], bool),
        Diagnostics(np.ones((N, 4)), ess, ess), np.array([0.1, 0.2, 0.3, np.nan]), np.array(["nuts"] * 3 + [""]),
        np.array([0, 0, 1, 2], np.int32), stars, attrs or {},
    )  # fmt: skip


def test_a_label_is_taken_by_its_name():
    posterior = made()
    np.testing.assert_array_equal(posterior["logg"], posterior.labels[..., 1])
    with pytest.raises(KeyError, match=r"'vsini'; the labels are teff, logg, fe_h, alpha_m"):
        posterior["vsini"]


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (1, [1]),
        (np.int64(-1), [3]),
        (slice(1, 3), [1, 2]),
        ([3, 0], [3, 0]),
        (np.array([2, 2]), [2, 2]),
        (np.array([True, False, False, True]), [0, 3]),
        ([False, True, False, False], [1]),
        ([], []),
    ],
    ids=str,
)
def test_stars_are_taken_by_position_slice_list_or_mask(index, rows):
    posterior = made()
    chosen = posterior[index]
    assert len(chosen) == len(rows)
    np.testing.assert_array_equal(chosen.labels, posterior.labels[:, :, rows])
    np.testing.assert_array_equal(chosen.diagnostics.ess_bulk, posterior.diagnostics.ess_bulk[rows])
    np.testing.assert_array_equal(chosen.flags, posterior.flags[rows])
    assert list(chosen.stars["source_id"]) == [posterior.stars["source_id"][row] for row in rows]


def test_iteration_goes_over_stars():
    assert [star.stars["row"][0] for star in made()] == [10, 11, 12, 13]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (4, IndexError, "star 4; the posterior has 4 stars, 0 to 3"),
        ([0, -5], IndexError, "star -5; the posterior has 4 stars"),
        ([True, False], IndexError, "the mask has 2 elements; the posterior has 4 stars"),
        (1.5, TypeError, "index 1.5; give a label's name, or positions of stars"),
        ((0, "teff"), TypeError, "give a label's name, or positions of stars"),
        (["teff", "logg"], TypeError, "give a label's name, or positions of stars"),
    ],
    ids=str,
)
def test_a_wrong_index_is_refused_in_one_sentence(index, error, message):
    with pytest.raises(error, match=message):
        made()[index]


def test_the_table_has_means_errors_and_quantiles_as_quantities():
    posterior = made()
    table = posterior.table()
    mean, covariance = posterior.moments()
    np.testing.assert_allclose(table["teff"].to_value(u.K), mean[:, 0])
    np.testing.assert_allclose(table["logg_err"].value, np.sqrt(covariance[:, 1, 1]))
    np.testing.assert_allclose(table["teff_q50"].value, np.median(posterior["teff"], axis=(0, 1)))
    assert table["teff_ref"].unit == u.K
    for name in LABELS:
        for suffix in ("", "_err", "_q16"):
            assert isinstance(table[f"{name}{suffix}"], u.Quantity)
    np.testing.assert_allclose(np.diagonal(table["corr"][:3], axis1=1, axis2=2), 1)
    assert np.isnan(table["teff_err"].value[3])
    assert "teff_err95" not in table.colnames  # the fit's errors are not the posterior's
    assert "noise_scale" in table.colnames


def test_the_card_names_stars_and_says_how_they_were_drawn():
    posterior = made({"prior": "uniform", "nuisances": "none", "source": "<new>.fits"})
    card = posterior._repr_html_()
    assert "Posterior of 4 stars, 2 chains of 60 draws" in card
    assert "nuts (3 stars)" in card
    assert "bulk ESS at least 500" in card
    assert "&lt;new&gt;.fits" in card
    assert "nuisances" not in card
    brief = posterior.brief()
    assert list(brief["source_id"]) == ["a", "b", "c", "d"]
    mean, error = posterior.moments()[0][0, 0], np.sqrt(posterior.moments()[1][0, 0, 0])
    assert brief["teff"][0] == f"{mean:.0f} ± {error:.0f}"
    assert list(brief["teff"])[3] == "-"


def test_a_netcdf_file_gives_the_same_posterior_back(tmp_path):
    posterior = made({"source": "{night}/stars.fits", "seed": 3, "likelihood": "χ²", "list": [1, 2]})
    path = tmp_path / "p.nc"
    posterior.write(path)
    back = Posterior.read(path)
    for name in ("labels", "log_density", "diverging", "khat", "sampler", "flags"):
        np.testing.assert_array_equal(getattr(back, name), getattr(posterior, name))
    np.testing.assert_array_equal(back.diagnostics.rhat, posterior.diagnostics.rhat)
    assert (back.label_names, back.label_units) == (posterior.label_names, posterior.label_units)
    assert list(back.stars["source_id"]) == list(posterior.stars["source_id"])
    assert back.attrs == posterior.attrs
    back.write(path)  # what was read can be written again
    assert Posterior.read(path).attrs == posterior.attrs
    assert back.table().colnames == posterior.table().colnames


def test_inference_data_has_the_rows_of_the_input():
    data = made().arviz
    assert data.posterior["teff"].dims == ("chain", "draw", "star")
    assert list(data.posterior["star"].values) == [10, 11, 12, 13]
    assert data.posterior["teff"].attrs["unit"] == "K"


def test_files_that_are_no_posteriors_are_refused(tmp_path):
    with pytest.raises(SlamError, match="no such file"):
        Posterior.read(tmp_path / "none.nc")
    damaged = tmp_path / "damaged.nc"
    damaged.write_bytes(b"half")
    with pytest.raises(SlamError, match="cannot be read"):
        Posterior.read(damaged)


def test_an_arviz_whose_functions_differ_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "arviz", types.SimpleNamespace(__version__="1.0.0"))
    with pytest.raises(SlamError, match=r"need ArviZ below 1, not 1\.0\.0; pip install 'slamjax\[posteriors\]'"):
        check_posterior_path(tmp_path / "p.nc")


def test_a_damaged_file_is_told_before_hdf5_opens_it(tmp_path):
    """HDF5 could hang on one. Cut off, it has lost its seal, but not the mark that there was one."""
    path = tmp_path / "p.nc"
    made().write(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(whole), size=60):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(SlamError, match=r"p\.nc is damaged: the checksum of the file does not match"):
            Posterior.read(path)
    for size in (len(whole) - 1, len(whole) - 120, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(SlamError, match=r"p\.nc"):
            Posterior.read(path)
    path.write_bytes(whole)
    assert len(Posterior.read(path)) == len(made())


def test_other_programs_read_the_file(tmp_path):
    """What stands behind the data does not disturb them."""
    xarray = pytest.importorskip("xarray")
    posterior = made()
    posterior.write(tmp_path / "p.nc")
    with xarray.open_dataset(tmp_path / "p.nc", group="posterior") as dataset:
        np.testing.assert_array_equal(dataset["teff"].values, posterior["teff"])


def test_a_file_that_arviz_wrote_has_no_seal_and_is_read(tmp_path):
    posterior = made()
    posterior.to_arviz().to_netcdf(str(tmp_path / "p.nc"), engine="h5netcdf")
    np.testing.assert_array_equal(Posterior.read(tmp_path / "p.nc").labels, posterior.labels)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(SlamError, match=r"cannot write .*p\.nc: File too large; nothing was written"):
            made().write(tmp_path / "p.nc")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_arviz_is_imported_without_its_daily_warning(tmp_path):
    """In a process of its own with an empty cache, as on the first run of a day."""
    code = "from slamjax.sampling import check_posterior_path; check_posterior_path('p.nc')"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-W", "error::FutureWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_sampling_is_imported_in_a_notebook_without_a_warning():
    """NumPyro's tqdm misses ipywidgets there."""
    pytest.importorskip("ipykernel")
    code = "import IPython, ipykernel.zmqshell, slamjax.sampling"  # by the second tqdm knows a notebook
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_predicted_spectra_spread_as_posterior_and_noise():
    model, posterior = giants_model(), made()[:3]
    clean = posterior.predictive(model, 50)
    noisy = posterior.predictive(model, 50, with_noise=True, ivar=model.prepare(held_out()[:3]).ivar)
    assert clean.shape == noisy.shape == (50, 3, model.wave.size)
    assert np.median(noisy.std(axis=0)) > np.median(clean.std(axis=0))
    with pytest.raises(SlamError, match="one row per prepared spectrum"):
        posterior.predictive(model, 5, with_noise=True, ivar=np.ones(model.wave.size))


def test_predicted_noise_is_right_in_tiny_flux_units():
    """Errors of 1e-20 have an ivar beyond the range of float32."""
    model, posterior, unit = giants_model(), made()[:2], 1e-18
    emulator = model.host_emulator
    tiny = dataclasses.replace(
        model,
        host_emulator=dataclasses.replace(
            emulator, flux_mean=emulator.flux_mean * unit, flux_scale=emulator.flux_scale * unit
        ),
        noise=model.noise.in_unit(1 / unit),
    )
    ivar = model.prepare(held_out()[:2]).ivar.astype(float)
    plain = posterior.predictive(model, 60, with_noise=True, ivar=ivar)
    small = posterior.predictive(tiny, 60, with_noise=True, ivar=ivar / unit**2)
    good = np.isfinite(plain)
    np.testing.assert_allclose(small[good] / unit, plain[good], rtol=1e-3, atol=1e-3)


def test_a_home_folder_that_cannot_be_written_is_no_obstacle(monkeypatch):
    """ArviZ makes a folder in the user's cache folder as it is imported."""
    pytest.importorskip("arviz")
    given = importlib.import_module

    def arviz_of(name):
        if name == "arviz":
            (Path(os.environ["XDG_CACHE_HOME"]) / "arviz").mkdir()
        return given(name)

    monkeypatch.setattr(arviz_io.importlib, "import_module", arviz_of)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nobody")
    assert arviz_io._arviz() is sys.modules["arviz"]
    assert os.environ["XDG_CACHE_HOME"] == "/proc/nobody"
