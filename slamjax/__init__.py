"""slamjax: the Stellar LAbel Machine in JAX.

Names are imported when they are first used, so that ``import slamjax`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from slamjax import datasets as datasets
    from slamjax import demo as demo
    from slamjax import plots as plots
    from slamjax import sampling as sampling
    from slamjax import validate as validate
    from slamjax.comparison import compare as compare
    from slamjax.description import describe as describe
    from slamjax.emulator import KernelEmulator as KernelEmulator
    from slamjax.errors import SlamError as SlamError
    from slamjax.errors import SlamWarning as SlamWarning
    from slamjax.fitting import fit as fit
    from slamjax.forward import ForwardEmulator as ForwardEmulator
    from slamjax.likelihood import log_likelihood as log_likelihood
    from slamjax.model import Model as Model
    from slamjax.modelfile import load as load
    from slamjax.noise import DiagonalNoise as DiagonalNoise
    from slamjax.noise import LowRankNoise as LowRankNoise
    from slamjax.nuisances import Free as Free
    from slamjax.nuisances import Known as Known
    from slamjax.nuisances import Nuisances as Nuisances
    from slamjax.polynomial import PolynomialEmulator as PolynomialEmulator
    from slamjax.prepare import Recipe as Recipe
    from slamjax.readers import join_labels as join_labels
    from slamjax.readers import read as read
    from slamjax.readers import read_table as read_table
    from slamjax.readers import register_specutils as register_specutils
    from slamjax.readers import write_table as write_table
    from slamjax.results import Flag as Flag
    from slamjax.results import flag_names as flag_names
    from slamjax.results import read_labels as read_labels
    from slamjax.results import write_labels as write_labels
    from slamjax.sampling import Posterior as Posterior
    from slamjax.sampling import load_posterior as load_posterior
    from slamjax.sampling import sample as sample
    from slamjax.scaling import LabelScaling as LabelScaling
    from slamjax.spectra import Spectra as Spectra
    from slamjax.streaming import fit_files as fit_files
    from slamjax.streaming import fit_table as fit_table
    from slamjax.training import from_sklearn as from_sklearn
    from slamjax.training import recalibrate_noise as recalibrate_noise
    from slamjax.training import train as train
    from slamjax.validate import crlb as crlb
    from slamjax.velocity import measure_rv as measure_rv

_HOMES = {
    "DiagonalNoise": "noise",
    "Flag": "results",
    "ForwardEmulator": "forward",
    "Free": "nuisances",
    "KernelEmulator": "emulator",
    "Known": "nuisances",
    "LabelScaling": "scaling",
    "LowRankNoise": "noise",
    "Model": "model",
    "Nuisances": "nuisances",
    "PolynomialEmulator": "polynomial",
    "Posterior": "sampling",
    "Recipe": "prepare",
    "SlamError": "errors",
    "SlamWarning": "errors",
    "Spectra": "spectra",
    "compare": "comparison",
    "crlb": "validate",
    "describe": "description",
    "fit": "fitting",
    "fit_files": "streaming",
    "fit_table": "streaming",
    "flag_names": "results",
    "from_sklearn": "training",
    "join_labels": "readers",
    "register_specutils": "readers",
    "load": "modelfile",
    "load_posterior": "sampling",
    "log_likelihood": "likelihood",
    "measure_rv": "velocity",
    "read": "readers",
    "read_labels": "results",
    "read_table": "readers",
    "recalibrate_noise": "training",
    "sample": "sampling",
    "train": "training",
    "write_labels": "results",
    "write_table": "readers",
}
_MODULES = ("datasets", "demo", "plots", "sampling", "validate")
__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"slamjax.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"slamjax.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'slamjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
