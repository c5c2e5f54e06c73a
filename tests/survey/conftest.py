"""Surveys of a few hundred real giants, some of them twice."""

import numpy as np
import pytest
from helpers import xp_giants
from models import tiny_model

import slamjax

#: Spectra of the table: pieces of 40 have one shape, of which 5 make it.
N, SIZE = 200, 40


@pytest.fixture(scope="module")
def fitter():
    return slamjax.Fitter(tiny_model(), n_starts=1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A slamjax table."""
    path = tmp_path_factory.mktemp("table") / "stars.fits"
    slamjax.write_table(xp_giants()[np.arange(N) % 150], path)
    return path


@pytest.fixture(scope="module")
def expected(fitter, table, tmp_path_factory):
    """What an undisturbed run writes."""
    path = tmp_path_factory.mktemp("expected") / "labels.fits"
    slamjax.fit_survey(fitter, table, path, piece_size=SIZE)
    return slamjax.read_labels(path)
