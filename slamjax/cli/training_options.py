"""Options of training, which `train` and `compare` share, made from the library's option objects."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from slamjax.cli.groups import Offered, default, offer
from slamjax.cli.options import label_windows, metric, numbers
from slamjax.emulators.kernels import KERNELS
from slamjax.training import SVR, DataSpec, NoiseSpec, Polynomial, SearchSpec, train

Labels = Annotated[str, typer.Option(help="Label columns to train on, e.g. teff,logg,fe_h,alpha_m.")]
LogLabels = Annotated[str, typer.Option(help="Labels that enter as log10, e.g. teff.")]

offer(
    DataSpec,
    "Training stars",
    {
        "n_train": Offered("Draw this many of the selected stars at random."),
        "weights": Offered("Weight of a star in each pixel: its inverse variance, or the same for all."),
        "min_stars": Offered("Train only pixels with at least this many good stars; default: by labels and folds."),
        "label_scaling": Offered("Standardise labels by mean and deviation, or by percentiles."),
        "flux_scaling": Offered("Standardise flux by mean and deviation, or by percentiles."),
        "screen": Offered(
            "Leave out outliers: absurd labels, and spectra unlike those of stars with such labels.",
            flag="screen/--no-screen",
        ),
        "missing": Offered("Stars that lack some labels: infer what is missing from their spectra, or drop them."),
        "label_errors": Offered(
            "Labels with stated errors, LABEL_err, teach as they are (fixed) or as inferred from table and spectrum "
            "(latent); auto: latent where held-out stars' labels clearly gain by it."
        ),
        "label_windows": Offered(
            "Only wavelengths at which a label may act, e.g. alpha_m:500-520,600-620; repeat per label.",
            flag="label-window",
            metavar="LABEL:LO-HI,...",
            type=list[str],
            parse=label_windows,
        ),
    },
)
offer(
    SVR,
    "Support vector regression (SLAM)",
    {
        "C": Offered("Penalty C; several, as in 1,10,100, are searched.", flag="C", type=str, parse=numbers),
        "epsilon": Offered("Tube width ε in scaled flux; several are searched.", type=str, parse=numbers),
        "gamma": Offered("Kernel's γ, scale or auto; several are searched.", type=str, parse=numbers),
        "kernel": Offered("As in scikit-learn.", type=Literal[KERNELS]),
        "coef0": Offered("Constant of the poly and sigmoid kernels."),
        "metric": Offered(
            "How wide the kernel is in each label: learned, isotropic, or length scales, as in 300,0.8,0.4.",
            type=str,
            parse=metric,
        ),
        "solver": Offered(
            "All pixels on one kernel matrix (batched), on few stars that span all (inducing), or sklearn."
        ),
        "n_inducing": Offered("Inducing stars, at most."),
        "n_jobs": Offered("Parallel workers; -1: one per core."),
    },
)
offer(
    Polynomial,
    "Polynomial (The Cannon)",
    {"ridge": Offered("Penalty of the coefficients; several are searched.", type=str, parse=numbers)},
)
offer(
    SearchSpec,
    "Hyper-parameter search",
    {
        "kind": Offered(
            "Per pixel over all combinations (grid) or --n-iter random ones; joint: one combination for all pixels.",
            flag="search",
        ),
        "n_iter": Offered("Combinations that a random search draws."),
        "folds": Offered("Cross-validation folds."),
    },
)
offer(
    NoiseSpec,
    "Noise model",
    {
        "kind": Offered(
            "Residuals correlated between pixels (lowrank) or independent (diagonal); auto: the better one.",
            flag="noise",
        )
    },
)

SEED = default(train, "seed")
DEGREES = f"default {default(Polynomial, 'degree')} for the polynomial, {default(SVR, 'degree')} for the poly kernel"
