"""Figures are saved whole, in the format of the suffix."""

import sys
import warnings

import pytest
from matplotlib.figure import Figure
from models import searched_model

from slamjax.errors import SlamError
from slamjax.plots import check_figure_path, plot_training, title_of, write_figure


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_figures_are_saved_without_a_warning(suffix, magic, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_figure(plot_training(searched_model()), tmp_path / f"figure.{suffix}")
    assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(magic)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["figure", "figure.xyz"])
def test_an_unknown_suffix_is_refused(name, tmp_path):
    """Without a suffix matplotlib would add one, and the figure would have another name."""
    with pytest.raises(SlamError, match=r"the suffix gives the format of a figure; use one of .*pdf, .*png"):
        write_figure(Figure(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(SlamError, match="does not exist; create it first"):
        check_figure_path(tmp_path / "nowhere" / "figure.png")


def test_a_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SlamError, match=r"figures need matplotlib .*; install it with: pip install matplotlib"):
        check_figure_path("figure.png")


def test_titles_are_in_the_notation_of_the_field_where_there_is_one():
    assert title_of("logg") == r"$\log g$"
    assert title_of("vmic", "km/s") == "vmic [km/s]"


def test_a_matplotlib_without_a_cache_folder_is_told(monkeypatch):
    class NoPlace:
        def find_spec(self, name, path, target=None):
            if name == "matplotlib.figure":
                raise OSError("Matplotlib requires access to a writable cache directory")

    monkeypatch.delitem(sys.modules, "matplotlib.figure")
    monkeypatch.setattr(sys, "meta_path", [NoPlace(), *sys.meta_path])
    with pytest.raises(SlamError, match="matplotlib cannot be loaded: Matplotlib requires access to a writable cache"):
        check_figure_path("figure.png")
