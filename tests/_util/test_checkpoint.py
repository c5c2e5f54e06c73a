"""Finished parts of a run in a folder."""

import contextlib
import os
import subprocess
import sys

import numpy as np
import pytest

from slamjax._util.checkpoint import Checkpoint, digest
from slamjax._util.files import atomic_path
from slamjax.errors import SlamError, SlamWarning

RUN = {"model": "a", "seed": "1"}
PART = {"x": np.arange(6.0).reshape(2, 3), "name": np.array(["Betelgeuse", "ζ"])}


class Stop(BaseException):
    pass


def begin(folder, run):
    with Checkpoint(folder) as kept:
        kept.begin(run)


def stopped(folder, run=RUN, parts=(0, 4)):
    """A folder as a stopped run leaves it."""
    with contextlib.suppress(Stop), Checkpoint(folder) as kept:
        kept.begin(run)
        for number in parts:
            kept.write(number, PART)
        raise Stop


def test_parts_stay_when_a_run_is_stopped_and_go_when_it_is_done(tmp_path):
    stopped(tmp_path / "parts")
    with Checkpoint(tmp_path / "parts") as kept:
        kept.begin(RUN)
        assert kept.n_parts == 2
        part = kept.read(4)
        assert part.keys() == PART.keys()
        for name, values in PART.items():
            np.testing.assert_array_equal(part[name], values)
        assert kept.read(8) is None
    assert os.listdir(tmp_path) == []


def test_a_run_without_finished_parts_leaves_nothing(tmp_path):
    stopped(tmp_path / "parts", parts=())
    assert os.listdir(tmp_path) == []


def test_a_part_that_is_being_written_is_not_finished(tmp_path):
    with Checkpoint(tmp_path / "parts") as kept:
        kept.begin(RUN)
        with atomic_path(kept.folder / "00000000.part"):
            assert kept.n_parts == 0
        assert kept.n_parts == 1


def test_another_run_is_refused_and_named(tmp_path):
    stopped(tmp_path / "parts")
    with (
        pytest.raises(SlamError, match=r"parts of another run \(different seed\)"),
        Checkpoint(tmp_path / "parts") as kept,
    ):
        kept.begin(RUN | {"seed": "2"})
    (tmp_path / "parts" / "run.json").write_text("[")
    with (
        pytest.raises(SlamError, match=r"run.json is damaged .*delete the folder"),
        Checkpoint(tmp_path / "parts") as kept,
    ):
        kept.begin(RUN)
    assert len(list((tmp_path / "parts").glob("*.part"))) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "edited", "exchanged", "of another run", "empty"])
def test_a_damaged_part_is_told_and_done_again(damage, tmp_path):
    stopped(tmp_path / "parts")
    path = tmp_path / "parts" / "00000004.part"
    data = path.read_bytes()
    stopped(tmp_path / "other", RUN | {"seed": "2"})
    path.write_bytes(
        {
            "cut": data[:-20],
            "flipped": data[:-50] + bytes([data[-50] ^ 1]) + data[-49:],
            "edited": data.replace(np.float64(3).tobytes(), np.float64(4).tobytes()),
            "exchanged": (tmp_path / "parts" / "00000000.part").read_bytes(),
            "of another run": (tmp_path / "other" / "00000004.part").read_bytes(),
            "empty": b"",
        }[damage]
    )
    assert path.read_bytes() != data
    with Checkpoint(tmp_path / "parts") as kept:
        kept.begin(RUN)
        assert kept.read(0) is not None
        with pytest.warns(SlamWarning, match=r"00000004.part is damaged; its spectra are done again"):
            assert kept.read(4) is None
        assert not path.exists()


def test_a_folder_in_use_is_refused_until_its_process_ends(tmp_path):
    code = f"""
from slamjax._util.checkpoint import Checkpoint
kept = Checkpoint({str(tmp_path / "parts")!r}).__enter__()
kept.begin({RUN!r})
kept.write(0, {{}})
print("begun", flush=True)
input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    with (
        pytest.raises(SlamError, match=f"in use by another run .process {process.pid}"),
        Checkpoint(tmp_path / "parts"),
    ):
        pass
    process.kill()
    process.communicate()
    with Checkpoint(tmp_path / "parts") as kept:
        kept.begin(RUN)
        assert kept.n_parts == 1
    assert os.listdir(tmp_path) == []


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SlamError, match=r"other files in it \(notes.txt\)"):
        begin(tmp_path, RUN)
    with pytest.raises(SlamError, match="cannot make the folder"):
        begin(tmp_path / "notes.txt", RUN)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_it_is_used_in_a_block(tmp_path):
    with pytest.raises(SlamError, match=r"begin with: with slamjax.Checkpoint"):
        Checkpoint(tmp_path / "parts").begin(RUN)


def test_a_digest_tells_values_types_and_names_apart():
    values = [1, 1.0, "1", {"a": 1}, {"b": 1}, [1, 1], np.array([1]), np.array([1.0]), None]
    digests = [digest(value) for value in values]
    assert len(set(digests)) == len(values)
    assert digests == [digest(value) for value in values]


def test_a_full_disk_ends_the_wait_for_the_lock(tmp_path):
    """The name of the process cannot be written into the lock; waiting for that would never end."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with Checkpoint(tmp_path / "parts") as kept, pytest.raises(SlamError, match="File too large"):
            kept.begin({"model": "a"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
