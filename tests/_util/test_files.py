import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from slamjax._util.files import atomic_path, check_writable, existing_file, existing_text
from slamjax.errors import SlamError


def write_half(target, error):
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error


def test_a_file_appears_when_the_block_succeeds(tmp_path):
    target = tmp_path / "out.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_a_failing_block_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError, match="half-way"):
        write_half(tmp_path / "out.txt", RuntimeError("half-way"))
    assert os.listdir(tmp_path) == []


def test_a_failing_block_keeps_the_old_file(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(target, KeyboardInterrupt())
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_the_temporary_file_stands_beside_its_target_with_its_suffix(tmp_path):
    """Renaming is atomic within one file system only; writers go by the suffix."""
    with atomic_path(tmp_path / "out.fits") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".fits"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_files_get_the_permissions_of_the_umask(tmp_path):
    """Temporary files are private; the result must not be."""
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "out.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o640


def test_a_missing_folder_is_named_before_anything_is_written(tmp_path):
    target = tmp_path / "nowhere" / "out.txt"
    with pytest.raises(SlamError, match=r"nowhere does not exist; create it first"):
        check_writable(target)
    entered = []
    with pytest.raises(SlamError, match="does not exist"), atomic_path(target):
        entered.append(True)
    assert not entered
    assert os.listdir(tmp_path) == []


def test_a_folder_is_no_output_file(tmp_path):
    with pytest.raises(SlamError, match="it is a folder; give a file name"):
        check_writable(tmp_path)


def test_a_file_is_no_output_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SlamError, match="cannot write"):
        check_writable(tmp_path / "file" / "out.txt")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux's /proc, where nobody can create files")
def test_a_folder_that_takes_no_files_is_named():
    with pytest.raises(SlamError, match=r"cannot write /proc/out.txt: .*; choose another folder"):
        check_writable("/proc/out.txt")


def test_the_check_leaves_no_trace_and_accepts_strings(tmp_path):
    assert check_writable(str(tmp_path / "out.txt")) == tmp_path / "out.txt"
    assert os.listdir(tmp_path) == []


def test_the_check_does_not_touch_an_existing_file(tmp_path):
    (tmp_path / "out.txt").write_text("old")
    check_writable(tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == "old"


def test_the_path_of_an_existing_file_is_returned(tmp_path):
    (tmp_path / "in.txt").write_text("x")
    assert existing_file(str(tmp_path / "in.txt")) == tmp_path / "in.txt"


def test_a_missing_file_and_a_folder_have_different_messages(tmp_path):
    with pytest.raises(SlamError, match=r"in.txt: no such file; check the path"):
        existing_file(tmp_path / "in.txt")
    with pytest.raises(SlamError, match="is a folder; give a file name"):
        existing_file(tmp_path)


needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@needs_pipes
def test_a_pipe_is_neither_read_nor_replaced(tmp_path):
    """Opening one waits for a writer, for ever; renaming over one would end another program's pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SlamError, match=r"pipe is a named pipe; copy what it gives to a file"):
        existing_file(pipe)
    with pytest.raises(SlamError, match=r"cannot write .*pipe: it is a named pipe; give the name of a file"):
        check_writable(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="POSIX symbolic links")
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_its_file_is_written(tmp_path, exists):
    goal, link = tmp_path / "goal.txt", tmp_path / "link.txt"
    if exists:
        goal.write_text("old")
    link.symlink_to(goal)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert goal.read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="POSIX symbolic links")
def test_a_link_to_itself_is_named(tmp_path):
    link = tmp_path / "loop"
    link.symlink_to(link)
    with pytest.raises(SlamError, match="loop"):
        check_writable(link)
    with pytest.raises(SlamError, match="loop"):
        existing_file(link)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits of file sizes")
def test_a_disk_that_is_full_is_named_and_the_old_file_stays(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SlamError, match=r"cannot write .*out.txt: File too large; nothing was written"):
            write_much(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def write_much(target):
    with atomic_path(target) as temporary:
        temporary.write_bytes(bytes(2000))


@pytest.mark.skipif(os.name == "nt", reason="process numbers")
def test_temporary_files_of_killed_processes_are_removed(tmp_path):
    code = f"""
import os, signal
from slamjax._util.files import atomic_path
with atomic_path({str(tmp_path / "out.txt")!r}) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code])
    (left,) = os.listdir(tmp_path)
    (tmp_path / ".slamjax-other").write_text("of an unknown process")
    with atomic_path(tmp_path / "mine.txt") as temporary:
        assert sorted(os.listdir(tmp_path)) == sorted([".slamjax-other", temporary.name])
    assert sorted(os.listdir(tmp_path)) == [".slamjax-other", "mine.txt"]
    assert left.startswith(".slamjax-")


def test_a_file_of_zeros_is_no_text(tmp_path):
    """Four gigabytes that take no place on the disk would take four gigabytes of memory."""
    path = tmp_path / "labels.csv"
    path.write_text("teff\n4500\n")
    assert existing_text(path) == path
    with path.open("r+b") as file:
        file.truncate(2**32)
    with pytest.raises(SlamError, match=r"labels.csv is no text in UTF-8: it has zeros in it"):
        existing_text(path)


def test_a_read_only_file_is_kept(tmp_path, monkeypatch):
    """A new file could be renamed to it, for that needs permission in the folder only."""
    path = tmp_path / "labels.fits"
    path.write_text("mine")
    path.chmod(0o444)
    if os.access(path, os.W_OK):  # root may write everywhere
        monkeypatch.setattr(os, "access", lambda path, mode: os.stat(path).st_mode & 0o222 > 0)
    with pytest.raises(SlamError, match=r"labels.fits: the file is read-only; choose another name, or make it"):
        write_half(path, AssertionError)
    assert path.read_text() == "mine"
