import pickle

import pytest
from helpers import DATA
from models import tiny_model

import slamjax
from slamjax import SlamError
from slamjax.survey.pieces import MOST_FILES, MOST_SPECTRA, paths_of, pieces_of

FILES = [str(DATA / "surveys" / name) for name in ("3709013.fits", "3703110.fits")]
TABLE = str(DATA / "xp_giants.fits")


@pytest.fixture
def fitter():
    return slamjax.Fitter(tiny_model())


def test_every_row_and_file_is_in_one_piece_in_order(fitter):
    pieces = pieces_of([*FILES, TABLE, FILES[0]], fitter, 60)
    assert [piece.number for piece in pieces] == [0, 1, 2, 3, 4]
    assert [piece.kind for piece in pieces] == ["files", "table", "table", "table", "files"]
    assert pieces[0].paths == tuple(FILES)
    assert [(piece.start, piece.stop) for piece in pieces[1:4]] == [(0, 50), (50, 100), (100, 150)]
    assert str(pieces[2]) == f"rows 50 to 99 of {TABLE}"
    assert pickle.loads(pickle.dumps(pieces)) == pieces


def test_pieces_are_nearly_equal_and_within_memory(fitter):
    many = [f"{k}.fits" for k in range(3 * MOST_FILES + 2)]
    sizes = [piece.n for piece in pieces_of(many, fitter)]
    assert sum(sizes) == len(many)
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= MOST_FILES <= MOST_SPECTRA
    assert [piece.n for piece in pieces_of([TABLE], fitter)] == [150]
    with pytest.raises(SlamError, match="a piece of 0 spectra is none"):
        pieces_of([TABLE], fitter, 0)


def test_a_list_of_paths_stands_for_its_files(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(FILES) + "\n\n")
    assert paths_of([f"@{tmp_path}/list.txt", TABLE]) == [*FILES, TABLE]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(SlamError, match=r"empty\.txt lists no file"):
        paths_of(f"@{tmp_path}/empty.txt")
    with pytest.raises(SlamError, match=r"none\.txt: no such file"):
        paths_of(f"@{tmp_path}/none.txt")
    with pytest.raises(SlamError, match="no input to fit"):
        paths_of([])


def test_a_table_without_rows_is_an_error(fitter, tmp_path):
    slamjax.write_table(slamjax.read_table(TABLE)[:0], tmp_path / "none.fits")
    with pytest.raises(SlamError, match=r"none\.fits holds no spectra to fit"):
        pieces_of([str(tmp_path / "none.fits")], fitter)
