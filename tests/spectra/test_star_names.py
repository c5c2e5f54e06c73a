"""What stars are called."""

import numpy as np

from slamjax.spectra.star_names import naming_column, star_name


def test_texts_among_the_identifiers_come_first_then_files_then_numbers():
    text, file, number = np.array(["2M01", "2M02"]), np.array(["a.fits", "b.fits"]), np.array([7, 2**62 + 1])
    columns = {"row": np.arange(2), "source_id": number, "file": file, "apogee_id": text}
    assert star_name(columns, 1) == "2M02"
    del columns["apogee_id"]
    assert star_name(columns, 1) == "b.fits"
    del columns["file"]
    assert star_name(columns, 1) == str(2**62 + 1)
    del columns["source_id"]
    assert star_name({**columns, "row": np.array([30, 31])}, 1) == "row 31"
    assert star_name({}, 1) == "row 1"


def test_problems_and_samplers_are_no_names():
    assert naming_column({"problem": np.array(["no HDU"]), "sampler": np.array(["nuts"])}) is None
    assert star_name({"row": np.array([4]), "problem": np.array(["no HDU"])}, 0) == "row 4"


def test_a_star_without_a_name_has_its_row():
    assert star_name({"row": np.array([4, 5, 6]), "name": np.array(["a", "b", ""])}, 2) == "row 6"
