"""Model files: exact round trips, and a clear word on files that are not sound."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
from helpers import in_precision
from models import LABELS, giants_model, held_out, searched_model

from slamjax._util.seal import BLOCK, seal
from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.model import Model
from slamjax.model.storage import _digest
from slamjax.noise.intervals import LocalIntervals
from slamjax.noise.label_means import LabelMeans
from slamjax.noise.likeness import Likeness


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.h5"
    giants_model().write(path)
    return path


@pytest.mark.parametrize("make", [giants_model, searched_model])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_prediction_is_bit_identical_after_save_and_load(make, precision, tmp_path):
    make().write(tmp_path / "model.h5")
    labels = held_out().values(LABELS)
    with in_precision(precision):
        np.testing.assert_array_equal(np.asarray(Model.read(tmp_path / "model.h5")(labels)), np.asarray(make()(labels)))


def test_all_metadata_survive(saved):
    model, back = giants_model(), Model.read(saved)
    assert back.label_names == model.label_names
    assert back.info.label_units == ("K", "", "", "")
    assert back.recipe == model.recipe
    assert back.info.provenance == model.info.provenance
    assert back.info.calibration == model.info.calibration
    np.testing.assert_array_equal(back.wave, model.wave)
    np.testing.assert_array_equal(back.noise.model_variance, model.noise.model_variance)
    np.testing.assert_array_equal(back.info.cv_scores, model.info.cv_scores)
    for name in model.info.pixels.colnames:
        np.testing.assert_array_equal(back.info.pixels[name], model.info.pixels[name])
    np.testing.assert_array_equal(back.info.record.contains(held_out()), False)
    assert set(back.info.record.identifiers) == {"apogee_id", "source_id"}
    table, again = fit(model, held_out()[:5]), fit(back, held_out()[:5])
    for name in table.colnames:
        np.testing.assert_array_equal(table[name], again[name])


def test_a_second_save_writes_the_same_arrays(saved, tmp_path):
    Model.read(saved).write(tmp_path / "again.h5")
    with h5py.File(saved) as first, h5py.File(tmp_path / "again.h5") as second:
        names = []
        first.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            np.testing.assert_array_equal(first[name][()], second[name][()])


def test_no_pickle_is_in_the_file(saved):
    """Only numbers and text: nothing of HDF5's opaque or object kinds."""
    kinds = set()
    with h5py.File(saved) as file:
        file.visititems(lambda _, item: kinds.add(item.dtype.kind) if isinstance(item, h5py.Dataset) else None)
    assert kinds <= set("fiSb")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_an_error(saved, part):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(SlamError, match=r"model\.h5"):
        Model.read(saved)


def test_changed_numbers_are_an_error(saved):
    with h5py.File(saved, "r+") as file:
        file["emulator/intercept"][3] += 1e-12
    with pytest.raises(SlamError, match=r"model\.h5 is damaged: the checksum of the file"):
        Model.read(saved)


def test_a_file_of_an_older_slamjax_has_no_seal_and_checks_each_array(saved, tmp_path):
    with h5py.File(saved, "r+") as file:
        datasets = []
        file.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        for dataset in datasets:
            dataset.attrs["sha256"] = _digest(dataset[()])
    whole = saved.read_bytes()
    older = tmp_path / "older.h5"
    older.write_bytes(whole[BLOCK:])
    labels = held_out().values(LABELS)[:2]
    np.testing.assert_array_equal(np.asarray(Model.read(older)(labels)), np.asarray(giants_model()(labels)))
    with h5py.File(older, "r+") as file:
        file["emulator/intercept"][3] += 1e-12
    with pytest.raises(SlamError, match=r"checksum of 'emulator/intercept'"):
        Model.read(older)


def test_a_flipped_byte_anywhere_is_an_error(saved):
    """Before HDF5 sees it: its library can crash the process on a damaged file."""
    whole = saved.read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole), 200)
    for at in [0, 7, 40, BLOCK - 1, BLOCK, len(whole) - 1, *places]:
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        saved.write_bytes(damaged)
        with pytest.raises(SlamError, match=r"model\.h5 is damaged"):
            Model.read(saved)


def test_a_model_of_schema_3_without_kinds_and_masks_is_read(saved):
    with h5py.File(saved, "r+") as file:
        header = json.loads(bytes(file["header"][()]).decode())
        del header["emulator"]
        for block in header["blocks"]:
            del block["labels"]
        text = np.bytes_(json.dumps(header).encode())
        del file["header"]
        file.create_dataset("header", data=text).attrs["sha256"] = _digest(np.asarray(text)[()])
        file.attrs["schema"] = 3
    seal(saved)
    labels = held_out().values(LABELS)
    np.testing.assert_array_equal(Model.read(saved)(labels), giants_model()(labels))


def test_a_newer_schema_asks_for_an_upgrade(saved):
    with h5py.File(saved, "r+") as file:
        file.attrs["schema"] = 99
    seal(saved)
    with pytest.raises(SlamError, match="schema 99; this slamjax reads up to 7: upgrade"):
        Model.read(saved)


def test_other_files_are_no_models(tmp_path):
    with pytest.raises(SlamError, match="no such file"):
        Model.read(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(SlamError, match=r"text\.h5 cannot be read"):
        Model.read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1]
    with pytest.raises(SlamError, match="not a slamjax model"):
        Model.read(tmp_path / "other.h5")


def test_a_folder_that_is_not_there_leaves_nothing_behind(tmp_path):
    with pytest.raises(SlamError, match="does not exist"):
        giants_model().write(tmp_path / "absent" / "model.h5")
    assert list(tmp_path.iterdir()) == []


def crafted(path, change):
    """The file changed by someone who seals it again."""
    with h5py.File(path, "r+") as file:
        change(file)
    seal(path)
    return path


def replaced(name, values):
    def change(file):
        del file[name]
        file.create_dataset(name, data=values)

    return change


def header_with(key, value):
    def change(file):
        header = json.loads(bytes(file["header"][()]).decode())
        header[key] = value
        del file["header"]
        file.create_dataset("header", data=np.bytes_(json.dumps(header).encode()))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("scaling/width", np.zeros(4)), "scaling/width has values that are not positive"),
        (replaced("scaling/center", [np.nan, 0, 0, 0]), "scaling/center has values that are not finite"),
        (replaced("noise/model_variance", np.full(61, -1.0)), "noise/model_variance has negative values"),
        (replaced("noise/model_variance", 1.0), r"noise/model_variance has shape \(\), not \(61\)"),
        (replaced("emulator/flux_scale", np.ones(60)), r"emulator/flux_scale has shape \(60,\), not \(61\)"),
        (replaced("emulator/block0/gamma", [0.0]), "gamma has values that are not positive"),
        (replaced("domain/low", np.full(4, -9.0)), "are not the range of its training stars"),
        (replaced("info/wave", np.arange(61.0)[::-1]), "its wavelengths do not increase"),
        (header_with("label_names", ["teff", "teff", "fe_h", "alpha_m"]), "two of its labels have the same name"),
        (header_with("recipe", {}), "its recipe is no list of steps"),
        (header_with("calibration", {"chi2_limit": -1}), "chi2_limit of its calibration is -1"),
    ],
)
def test_a_sealed_file_with_what_no_training_makes_is_named(saved, change, message):
    """The seal holds, and labels would be wrong without a word."""
    with pytest.raises(SlamError, match=rf"model\.h5 is no sound model: .*{message}"):
        Model.read(crafted(saved, change))


def terabytes(file):
    del file["info/wave"]
    file.create_dataset("info/wave", (10**12,), "f8", chunks=(1000,))


def outside(file):
    del file["info/wave"]
    file.create_dataset("info/wave", (61,), "f8", external=[("other.bin", 0, 488)])


def elsewhere(file):
    del file["info/wave"]
    file["info/wave"] = h5py.ExternalLink("other.h5", "/wave")


def in_circles(file):
    file["info/again"] = file["/"]


def objects(file):
    del file["info/wave"]
    file.create_dataset("info/wave", (61,), h5py.string_dtype())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (terabytes, "declares arrays of .* GiB, more than a file of its size can hold"),
        (outside, "array 'info/wave' is kept in another file"),
        (elsewhere, "has a link at 'info/wave' that may lead elsewhere"),
        (in_circles, "in itself or too many arrays"),
        (objects, "holds values of another kind than numbers and text"),
    ],
)
def test_what_a_sealed_file_declares_is_checked_before_it_is_read(saved, change, message):
    with pytest.raises(SlamError, match=rf"model\.h5.* {message}"):
        Model.read(crafted(saved, change))


def test_a_full_disk_is_one_sentence_and_leaves_the_old_model(saved):
    """HDF5 writes while it closes a file: if that fails, its library ends the process later."""
    resource = pytest.importorskip("resource")
    before, old = resource.getrlimit(resource.RLIMIT_FSIZE), saved.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 1024, before[1]))
    try:
        with pytest.raises(SlamError, match=r"cannot write .*model\.h5: File too large; nothing was written"):
            giants_model().write(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert saved.read_bytes() == old
    assert [path.name for path in saved.parent.iterdir()] == ["model.h5"]


def taught(likeness=None, intervals=None, means=None):
    """A model whose calibration has ranks of held-out stars, two measures for its independent pixels."""
    model = giants_model()
    calibration = dataclasses.replace(model.info.calibration, likeness=likeness, intervals=intervals, means=means)
    return dataclasses.replace(model, info=dataclasses.replace(model.info, calibration=calibration))


def ranks(**changed):
    rising = np.sort(np.random.default_rng(0).normal(size=(2, 60)), axis=1)
    fields = {
        "whitener": np.zeros((0, 0)),
        "photon_weight": 1.0,
        "photon_range": np.array([-1.0, 1.0]),
        "trend": np.zeros((2, 3)),
        "spread": np.ones(2),
        "n_pix": 61.0,
        "measures": rising,
        "combined": rising[0],
    }
    return Likeness(**(fields | changed))


def label_means(**changed):
    rng = np.random.default_rng(0)
    fields = {
        "label_width": np.ones(4),
        "factor_width": np.zeros(0),
        "features": rng.normal(size=(9, 8)),
        "weights": rng.normal(size=(9, 4)),
        "stretch": np.zeros((4, 2)),
        "error_range": np.array([[-1.0, 1.0]] * 4),
        "nearness": 0.5,
    }
    return LabelMeans(**(fields | changed))


def test_what_held_out_stars_taught_is_read_as_written(tmp_path):
    intervals = LocalIntervals.everywhere(np.array([[1.0, 2.0]] * 4))
    taught(ranks(), intervals, label_means()).write(tmp_path / "model.h5")
    calibration = Model.read(tmp_path / "model.h5").info.calibration
    assert calibration.likeness == ranks()
    assert calibration.intervals == intervals
    assert calibration.means == label_means() != label_means(nearness=0.6)


@pytest.mark.parametrize(
    ("made", "what"),
    [
        ({"likeness": ranks(combined=ranks().combined[::-1])}, "not sorted"),
        ({"likeness": ranks(spread=np.array([1.0, 0.0]))}, "spread is not positive"),
        ({"likeness": ranks(photon_weight=float("nan"))}, "photon_weight"),
        ({"likeness": ranks(whitener=np.eye(3))}, "whitener"),
        ({"intervals": LocalIntervals.everywhere(np.array([[1.0, 2.0]] * 3))}, "marginal"),
        (
            {"intervals": LocalIntervals(np.zeros((4, 2)), -np.ones((4, 2, 2)).cumsum(2), np.zeros((4, 2, 2, 2)))},
            "rise",
        ),
        ({"means": label_means(label_width=np.zeros(4))}, "label_width has values that are not positive"),
        ({"means": label_means(factor_width=np.ones(2))}, "factor_width has shape"),
        ({"means": label_means(weights=np.full((9, 4), np.nan))}, "weights has values that are not finite"),
        ({"means": label_means(features=np.ones((8, 8)))}, "weights has shape"),
        ({"means": label_means(error_range=np.array([[1.0, -1.0]] * 4))}, "rise"),
        ({"means": label_means(nearness=0.0)}, "nearness"),
    ],
)
def test_what_no_training_makes_is_an_error(made, what, tmp_path):
    taught(**made).write(tmp_path / "model.h5")
    with pytest.raises(SlamError, match=what):
        Model.read(tmp_path / "model.h5")
