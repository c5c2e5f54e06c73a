"""slamjax: the Stellar LAbel Machine in JAX.

A model of stellar spectra is trained on stars with known labels (Teff, log g, [Fe/H], ...); it then gives the labels of
other stars, with errors, flags and posteriors. This file is the table of contents: every public name, by task. Names
are imported when they are first used, so that ``import slamjax`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from slamjax._version import __version__ as __version__

#: Where each public name comes from.
_HOMES = {
    # Data: spectra and catalogues, read and written
    "Spectra": "spectra",
    "Observations": "spectra",
    "channels": "spectra",
    "read": "io",
    "read_xp_coefficients": "io",
    "read_table": "io",
    "write_table": "io",
    "read_labels": "io",
    "write_labels": "io",
    "LabelTable": "io",
    "join_labels": "io",
    "register_specutils": "io",
    # Preparation: what is done to spectra before a model sees them
    "Recipe": "preprocessing",
    "stack": "preprocessing",
    # Training: from stars with known labels to a model, and its options
    "train": "training",
    "SVR": "training",
    "Polynomial": "training",
    "SearchSpec": "training",
    "NoiseSpec": "training",
    "DataSpec": "training",
    "TrainingSpec": "training",
    "from_sklearn": "training",
    "from_astroslam": "training",
    "recalibrate_noise": "training",
    # Model: spectra, and their noise, as functions of labels
    "Model": "model",
    "JointModel": "model",
    "measure_rv": "model",
    "KernelEmulator": "emulators",
    "PolynomialEmulator": "emulators",
    "LabelScaling": "emulators",
    "DiagonalNoise": "noise",
    "LowRankNoise": "noise",
    "ForwardEmulator": "forward",
    "Nuisances": "forward",
    "Free": "forward",
    "Gaussian": "forward",
    "log_likelihood": "forward",
    # Fitting: labels, errors and flags of stars
    "fit": "fitting",
    "Fitter": "fitting",
    "JointFitter": "fitting",
    "JointFit": "fitting",
    "OptimiserSpec": "fitting",
    "fit_table": "fitting",
    "fit_pairs": "fitting",
    "fit_visits": "fitting",
    "write_best_fits": "fitting",
    "fit_files": "survey",
    "fit_survey": "survey",
    "fit_catalog": "survey",
    "Flag": "flags",
    "flag_names": "flags",
    # Sampling: posteriors of labels
    "sample": "sampling",
    "Sampler": "sampling",
    "SamplerSpec": "sampling",
    "Posterior": "sampling",
    "sample_survey": "survey",
    # Validation: how far labels and errors can be trusted
    "validate": "validation",
    "compare": "validation",
    "crlb": "validation",
    # In words: what an object or a file is
    "describe": "views",
    "facts": "views",
    # In a browser: a model, its stars and their fits as one page
    "explore": "explorer",
    "Explorer": "explorer",
    "report": "reports",
    "Report": "reports",
    # Kept between processes: compiled programs, and finished parts of a run
    "keep_programs": "_util.programs",
    "Checkpoint": "_util.checkpoint",
    # Errors and warnings
    "SlamError": "errors",
    "SlamWarning": "errors",
}
#: Public modules, for what has no name of its own above.
_MODULES = (
    "datasets",  # the sample that ships with slamjax
    "preprocessing",  # steps of a recipe
    "emulators",  # flux as a function of labels, and compression
    "noise",  # covariances of residuals
    "forward",  # velocities, broadening and continuum on top of an emulator
    "sampling",  # priors, projections and diagnostics
    "survey",  # runs of any size: how input is read, reports, shards
    "validation",  # comparisons, simulations and calibration tests
    "plots",  # figures
)
__all__ = ["__version__", *_HOMES, *_MODULES]


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:  # the same names for type checkers and editors; a test compares the two
    from slamjax import datasets as datasets
    from slamjax import emulators as emulators
    from slamjax import forward as forward
    from slamjax import noise as noise
    from slamjax import plots as plots
    from slamjax import preprocessing as preprocessing
    from slamjax import sampling as sampling
    from slamjax import survey as survey
    from slamjax import validation as validation
    from slamjax._util.checkpoint import Checkpoint as Checkpoint
    from slamjax._util.programs import keep_programs as keep_programs
    from slamjax.emulators import KernelEmulator as KernelEmulator
    from slamjax.emulators import LabelScaling as LabelScaling
    from slamjax.emulators import PolynomialEmulator as PolynomialEmulator
    from slamjax.errors import SlamError as SlamError
    from slamjax.errors import SlamWarning as SlamWarning
    from slamjax.explorer import Explorer as Explorer
    from slamjax.explorer import explore as explore
    from slamjax.fitting import Fitter as Fitter
    from slamjax.fitting import JointFit as JointFit
    from slamjax.fitting import JointFitter as JointFitter
    from slamjax.fitting import OptimiserSpec as OptimiserSpec
    from slamjax.fitting import fit as fit
    from slamjax.fitting import fit_pairs as fit_pairs
    from slamjax.fitting import fit_table as fit_table
    from slamjax.fitting import fit_visits as fit_visits
    from slamjax.fitting import write_best_fits as write_best_fits
    from slamjax.flags import Flag as Flag
    from slamjax.flags import flag_names as flag_names
    from slamjax.forward import ForwardEmulator as ForwardEmulator
    from slamjax.forward import Free as Free
    from slamjax.forward import Gaussian as Gaussian
    from slamjax.forward import Nuisances as Nuisances
    from slamjax.forward import log_likelihood as log_likelihood
    from slamjax.io import LabelTable as LabelTable
    from slamjax.io import join_labels as join_labels
    from slamjax.io import read as read
    from slamjax.io import read_labels as read_labels
    from slamjax.io import read_table as read_table
    from slamjax.io import read_xp_coefficients as read_xp_coefficients
    from slamjax.io import register_specutils as register_specutils
    from slamjax.io import write_labels as write_labels
    from slamjax.io import write_table as write_table
    from slamjax.model import JointModel as JointModel
    from slamjax.model import Model as Model
    from slamjax.model import measure_rv as measure_rv
    from slamjax.noise import DiagonalNoise as DiagonalNoise
    from slamjax.noise import LowRankNoise as LowRankNoise
    from slamjax.preprocessing import Recipe as Recipe
    from slamjax.preprocessing import stack as stack
    from slamjax.reports import Report as Report
    from slamjax.reports import report as report
    from slamjax.sampling import Posterior as Posterior
    from slamjax.sampling import Sampler as Sampler
    from slamjax.sampling import SamplerSpec as SamplerSpec
    from slamjax.sampling import sample as sample
    from slamjax.spectra import Observations as Observations
    from slamjax.spectra import Spectra as Spectra
    from slamjax.spectra import channels as channels
    from slamjax.survey import fit_catalog as fit_catalog
    from slamjax.survey import fit_files as fit_files
    from slamjax.survey import fit_survey as fit_survey
    from slamjax.survey import sample_survey as sample_survey
    from slamjax.training import SVR as SVR
    from slamjax.training import DataSpec as DataSpec
    from slamjax.training import NoiseSpec as NoiseSpec
    from slamjax.training import Polynomial as Polynomial
    from slamjax.training import SearchSpec as SearchSpec
    from slamjax.training import TrainingSpec as TrainingSpec
    from slamjax.training import from_astroslam as from_astroslam
    from slamjax.training import from_sklearn as from_sklearn
    from slamjax.training import recalibrate_noise as recalibrate_noise
    from slamjax.training import train as train
    from slamjax.validation import compare as compare
    from slamjax.validation import crlb as crlb
    from slamjax.validation import validate as validate
    from slamjax.views import describe as describe
    from slamjax.views import facts as facts

else:  # hidden from type checkers, which would take any name to exist

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f"slamjax.{name}")
        if name in _HOMES:
            return getattr(importlib.import_module(f"slamjax.{_HOMES[name]}"), name)
        raise AttributeError(f"module 'slamjax' has no attribute {name!r}")
