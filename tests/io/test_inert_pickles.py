"""Pickles are read as data: nothing in them runs, and what is no honest dump is told in one sentence."""

import bz2
import contextlib
import gzip
import lzma
import os
import pickle
import zlib

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slamjax.errors import SlamError
from slamjax.io.inert_pickles import Inert, read_inert


class Thing:
    def __init__(self, **values):
        self.__dict__.update(values)


HERE = (Thing.__module__, "Thing")


def written(folder, value, **options):
    path = folder / "thing.dump"
    joblib.dump(value, path, **options)
    return path


def read(path, allowed=(HERE,)):
    return read_inert(path, allowed, "a dump")


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_objects_become_inert_and_arrays_arrays(tmp_path, compress, protocol):
    arrays = {
        "c": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "bool": np.array([True, False]),
        "nothing": np.zeros((0, 3)),
    }
    value = Thing(**arrays, number=np.float64(0.1), plain={"a": [1, 2.5, None, "b"]}, many=(1, 2, 3, 4))
    found = read(written(tmp_path, value, compress=compress, protocol=protocol))
    assert isinstance(found, Inert)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.attributes[name], array)
        assert found.attributes[name].dtype == array.dtype.newbyteorder("=")
    assert found.attributes["number"] == 0.1
    assert found.attributes["plain"] == {"a": [1, 2.5, None, "b"]}
    assert found.attributes["many"] == (1, 2, 3, 4)


def test_arrays_of_objects_and_texts_stay_inert_and_what_follows_is_read(tmp_path):
    arrays = {"objects": np.array([None, "a"], object), "texts": np.array(["a", "βγ"]), "bytes": np.array([b"abc"])}
    found = read(written(tmp_path, Thing(**arrays, text=np.str_("a"), after=np.arange(3))))
    for name in (*arrays, "text"):
        assert isinstance(found.attributes[name], Inert)
    np.testing.assert_array_equal(found.attributes["after"], np.arange(3))


class Calls:
    """A pickle that calls a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def hostile():
    touch = "touch {}"
    yield "os.system", lambda mark: Calls(os.system, touch.format(mark))
    yield "eval", lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')")
    yield "in an array of objects", lambda mark: np.array([Calls(os.system, touch.format(mark)), None], object)
    yield "in a state", lambda mark: Thing(x=[{"y": Calls(os.system, touch.format(mark))}])
    yield "getattr", lambda mark: Calls(getattr, "text", "upper")
    yield "numpy.load", lambda mark: Calls(np.load, str(mark))
    yield "joblib.load", lambda mark: Calls(joblib.load, str(mark))
    yield "a record", lambda mark: np.zeros(2, [("a", "f8"), ("b", "O")])
    yield "dates", lambda mark: np.zeros(2, "M8[s]")


@pytest.mark.parametrize(("name", "make"), list(hostile()), ids=lambda value: value if isinstance(value, str) else "")
def test_what_would_run_is_refused_and_does_not_run(tmp_path, name, make):
    mark = tmp_path / "mark"
    path = written(tmp_path, make(mark))
    with pytest.raises(SlamError, match=r"is refused: it .*; nothing in it was executed") as told:
        read(path)
    assert str(path) in str(told.value)
    assert not mark.exists()


def opcodes(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


NAMED = pickle.SHORT_BINUNICODE + bytes([len(HERE[0])]) + HERE[0].encode()
NAMED += pickle.SHORT_BINUNICODE + bytes([len(HERE[1])]) + HERE[1].encode() + pickle.STACK_GLOBAL
MADE = NAMED + pickle.EMPTY_TUPLE + pickle.REDUCE
DTYPE = b"cnumpy\ndtype\n\x8c\x02f8\x85R"


def array_of(shape):
    """The description of an array as joblib's, without the array."""
    described = b"}(\x8c\x05shape" + shape + b"\x8c\x05order\x8c\x01C\x8c\x05dtype" + DTYPE + b"u"
    return b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)R" + described + b"b"


@pytest.mark.parametrize(
    "crafted",
    [
        opcodes(NAMED, b"}\x8c\x01a\x8c\x01bsb"),  # the state of a class
        opcodes(NAMED, b"N}\x8c\x08__init__Ns\x86b"),  # its attributes
        opcodes(b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R"),
        opcodes(b"\x8c\x08builtins\x8c\x0d__import__.os\x93\x8c\x02os\x85R"),
        opcodes(b"cposix\nsystem\n\x8c\x04true\x85R"),
        opcodes(b"(\x8c\x04trueios\nsystem\n"),  # INST
        opcodes(b"(cos\nsystem\n\x8c\x04trueo"),  # OBJ
        opcodes(b"\x82\x01"),  # EXT1
        opcodes(b"\x8c\x01aQ"),  # BINPERSID
        opcodes(b"\x96" + (2**40).to_bytes(8, "little")),  # BYTEARRAY8 of a terabyte
        opcodes(b"\x8e" + (2**40).to_bytes(8, "little")),  # BINBYTES8
        opcodes(b"\x95" + (2**50).to_bytes(8, "little")),  # FRAME
        opcodes(b"}K\x01\x85Ns"),  # a tuple as a name: hashing deep ones ends the process
        opcodes(b"K\x01", MADE, b"a"),
        opcodes(b"K\x01\x8c\x01a\x85R"),
        opcodes(b"h\x07"),
        opcodes(array_of(b"K\x05\x85")),  # five numbers that are not there
        opcodes(array_of(b"\x8a\x08" + (2**50).to_bytes(8, "little") + b"\x85")),
        opcodes(array_of(b"J\xff\xff\xff\xff\x85")),  # a negative length
        opcodes(array_of(b"N")),
        b"",
        b"\x80\x04",
        b"SIMPLE  =                    T",
        b"\x04\x22\x4d\x18lz4",
        zlib.compress(opcodes(b"N")[:-1]),
        zlib.compress(opcodes(b"N"))[:-3],
        opcodes(b"N") + b"more",
        gzip.compress(opcodes(b"K\x01"))[:-9],
        bz2.compress(opcodes(b"K\x01"))[:-9],
        lzma.compress(opcodes(b"K\x01"))[:-20],
    ],
)
def test_crafted_files_are_told_in_one_sentence(tmp_path, crafted):
    path = tmp_path / "crafted.dump"
    path.write_bytes(crafted)
    with pytest.raises(SlamError, match=r"crafted\.dump (is refused|cannot be read)"):
        read(path)


def test_a_small_file_is_not_unpacked_to_a_large_one(tmp_path):
    path = tmp_path / "bomb.dump"
    body = opcodes(b"\x8e" + (10**8).to_bytes(8, "little"), bytes(10**8))
    path.write_bytes(lzma.compress(body, preset=1))
    assert path.stat().st_size < 50_000
    with pytest.raises(SlamError, match="it ends too early"):
        read(path)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    value = Thing(a=np.arange(20.0), b=[Thing(c=np.array([None], object), d={"e": np.float64(2)})] * 2)
    return written(tmp_path_factory.mktemp("honest"), value).read_bytes()


@given(data=st.data())
def test_damage_is_told_or_harmless(honest, tmp_path_factory, data):
    """Truncated at any place, or with a byte changed, a dump is read as data or refused: no other exception."""
    at = data.draw(st.integers(0, len(honest) - 1))
    cut = data.draw(st.booleans())
    changed = honest[:at] if cut else honest[:at] + bytes([data.draw(st.integers(0, 255))]) + honest[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "damaged.dump"
    path.write_bytes(changed)
    with pytest.raises(SlamError, match=r"damaged\.dump") if cut else contextlib.suppress(SlamError):
        read(path)
