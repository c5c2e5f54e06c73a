"""Dumps of the original SLAM become models; the oracle is astroslam itself, whose predictions lie beside its dumps."""

import contextlib
import os

import joblib
import numpy as np
import pytest
from commands import refused, run
from helpers import DATA, in_precision
from hypothesis import given
from hypothesis import strategies as st

import slamjax
from slamjax.emulators import LabelScaling
from slamjax.errors import SlamError

DUMPS = DATA / "astroslam"
FULL = ("grid", "robust", "sigmoid", "absolute")
NAMES = ["teff", "logg", "fe_h"]
#: The pixel that was bad in all training spectra.
BAD = 5


@pytest.fixture(scope="module")
def predictions():
    with np.load(DUMPS / "predictions.npz") as stored:
        return dict(stored)


def imported(name, **options):
    return slamjax.from_astroslam(DUMPS / f"{name}.dump", **options)


def agrees(flux, expected, pixels):
    """Equal within 1e-10 of the flux scale, and NaN at the bad pixel only."""
    flux = np.asarray(flux)
    assert flux.dtype == np.float64
    assert np.max(np.abs(flux - expected)[:, pixels]) < 1e-10 * np.std(expected)
    assert np.all(np.isnan(np.delete(flux, np.flatnonzero(pixels), axis=1)))


@pytest.mark.parametrize("name", FULL)
def test_a_full_dump_predicts_what_astroslam_predicted(predictions, name):
    with in_precision("float64"):
        model = imported(name, labels=NAMES, units=["K", "", ""])
        agrees(model.emulator(predictions["labels"]), predictions[name], np.arange(12) != BAD)
    assert model.label_names == tuple(NAMES)
    assert model.info.label_units == ("K", "", "")
    np.testing.assert_allclose(model.wave, np.linspace(500, 522, 12))
    assert len(model.training_labels.stars) == 40


def test_a_model_has_a_gamma_for_each_pixel_and_several_of_them():
    model = imported("grid")
    gammas = np.asarray(model.info.pixels["gamma"])[model.trained]
    assert set(gammas) == {0.03, 0.1}


def test_a_dump_of_pixels_alone_is_of_scaled_labels_and_flux(predictions):
    with in_precision("float64"):
        model = imported("sms")
        agrees(model.emulator(predictions["scaled_labels"]), predictions["sms"], np.ones(12, bool))
    assert model.label_names == ("label_1", "label_2", "label_3")


def test_a_dump_of_pixels_alone_with_scalers_is_the_full_one(predictions):
    scaling = LabelScaling(predictions["label_center"], predictions["label_width"], (False,) * 3)
    flux = {name: predictions[name] for name in ("flux_mean", "flux_scale")}
    with in_precision("float64"):
        model = imported("sms", scaling=scaling, **flux)
        agrees(model.emulator(predictions["labels"]), predictions["grid"], np.ones(12, bool))
    with pytest.raises(SlamError, match="scalers of its own"):
        imported("grid", scaling=scaling)


def test_the_noise_is_the_squared_error_of_held_out_stars(predictions):
    model, good = imported("grid"), np.arange(12) != BAD
    expected = np.sqrt(-predictions["scores"]) * predictions["flux_scale"]
    np.testing.assert_allclose(np.asarray(model.info.pixels["model_error"])[good], expected[good])
    np.testing.assert_allclose(np.asarray(model.noise.model_variance)[good], np.square(expected[good]))


def test_other_scores_are_replaced_by_the_errors_of_the_training_stars():
    """Of other scores nothing is known but their order; the stars of a full dump tell how large errors are."""
    errors = np.asarray(imported("absolute").info.pixels["model_error"])[:BAD]
    assert np.all((errors > 0.001) & (errors < 0.02))  # noise of 0.003 was added to the flux


def test_an_imported_model_is_written_described_and_fits(predictions, tmp_path):
    path = tmp_path / "model.h5"
    shown = run(
        "import-astroslam", DUMPS / "grid.dump", "-o", path, "--labels", "teff,logg,fe_h", "--units", "K,,", "--medium",
        "vacuum",
    )  # fmt: skip
    assert "11 of 12 pixels trained, 40 stars" in shown
    assert "scikit-learn 1.2.0" in shown
    model = slamjax.Model.read(path)
    assert model.info.medium == "vacuum"
    slamjax.plots.plot_training(model)
    truth = predictions["labels"]
    spectra = slamjax.Spectra(
        model.wave, predictions["grid"], error=np.full((5, 12), 0.003), wave_unit="Angstrom", medium="vacuum",
        frame="rest",
    )  # fmt: skip
    table = slamjax.fit(model, spectra)
    for number, name in enumerate(NAMES):
        fitted, error = (np.asarray(table[column]) for column in (name, f"{name}_err"))
        assert np.all(np.abs(fitted - truth[:, number]) < 4 * error)
    assert not np.any(table["flags"] & slamjax.Flag.NOT_CONVERGED)


def test_other_pickles_are_refused(tmp_path):
    path = tmp_path / "x.dump"
    for value, message in (
        ({"a": 1}, "is no dump of Slam3"),
        ((np.arange(3.0), []), "0 trained pixels for 3 wavelengths; train it first"),
        ((np.arange(2.0), [None, None]), "pixel 0 holds a NoneType, no fitted SVR"),
        (os.path.join, "names posixpath.join"),
    ):
        joblib.dump(value, path)
        with pytest.raises(SlamError, match=message) as told:
            slamjax.from_astroslam(path)
        assert "x.dump" in str(told.value)
    with pytest.raises(SlamError, match="give as many names"):
        imported("grid", labels=["teff"])


def test_a_truncated_dump_is_told(tmp_path):
    whole = (DUMPS / "robust.dump").read_bytes()
    path = tmp_path / "part.dump"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SlamError, match=r"part\.dump cannot be read as a dump of astroslam"):
        slamjax.from_astroslam(path)


@given(at=st.integers(0, 68_000), byte=st.integers(0, 255))
@pytest.mark.filterwarnings("ignore::slamjax.SlamWarning", "ignore::RuntimeWarning")
def test_a_dump_with_a_changed_byte_is_told_or_read(tmp_path_factory, at, byte):
    """Not every change can be noticed, for a pickle has no checksum; none may end in anything but a sentence."""
    content = bytearray((DUMPS / "grid.dump").read_bytes())
    content[at % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "changed.dump"
    path.write_bytes(content)
    with contextlib.suppress(SlamError):
        slamjax.from_astroslam(path)


def test_the_command_refuses_what_would_run(tmp_path, monkeypatch, capsys):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    joblib.dump((np.arange(2.0), [Hostile(), None]), tmp_path / "hostile.dump")
    told = refused(monkeypatch, capsys, "import-astroslam", tmp_path / "hostile.dump", "-o", tmp_path / "m.h5")
    assert "hostile.dump is refused: it names posix.system" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hostile.dump"]
