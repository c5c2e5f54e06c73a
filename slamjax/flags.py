"""Flags of label tables: problems of a row, as bits."""

from __future__ import annotations

import enum


class Flag(enum.IntFlag):
    """Problems of a row in a label table; 0 is a good row. `FLAG_MEANINGS` explains each of
    them, `FLAG_ADVICE` says what to do.

    Examples
    --------
    >>> from slamjax import Flag
    >>> bool(Flag.HIGH_CHI2 & 36)
    True
    >>> int(Flag.AT_BOUND | Flag.HIGH_CHI2)
    36
    """

    NO_DATA = 1
    NOT_CONVERGED = 2
    AT_BOUND = 4
    OUTSIDE_TRAINING = 8
    FEW_PIXELS = 16
    HIGH_CHI2 = 32
    MULTIPLE_MINIMA = 64
    UNCONSTRAINED = 128
    NO_ERRORS = 256
    LOW_ESS = 512
    HIGH_RHAT = 1024
    DIVERGENCES = 2048
    NOT_SAMPLED = 4096
    NUISANCE_AT_BOUND = 8192
    UNSURE_VELOCITY = 16384
    VARIABLE_VELOCITY = 32768
    TWO_STARS = 65536


#: The meaning of each flag, for tables and documentation.
FLAG_MEANINGS: dict[Flag, str] = {
    Flag.NO_DATA: "no good pixel: labels are NaN and errors infinite",
    Flag.NOT_CONVERGED: "the fit reached the maximum number of iterations before it converged",
    Flag.AT_BOUND: "a label ended at the edge of the training range; its error is not valid",
    Flag.OUTSIDE_TRAINING: "too few training stars near these labels: the emulator extrapolates",
    Flag.FEW_PIXELS: "fewer than half of the model's pixels were good",
    Flag.HIGH_CHI2: "chi2 per pixel far above that of held-out training stars: unlike any training star",
    Flag.MULTIPLE_MINIMA: "another start ended at significantly different labels with nearly the same chi2",
    Flag.UNCONSTRAINED: "the spectrum does not constrain a label within the training range; its error is infinite",
    Flag.NO_ERRORS: "the spectrum has no errors although the training spectra had: label errors are too small",
    Flag.LOW_ESS: "effective sample size below 400 for a label; take more draws",
    Flag.HIGH_RHAT: "R-hat above 1.03: the chains have not converged to the same distribution",
    Flag.DIVERGENCES: "more than 1 % of the draws ended a divergent trajectory: the posterior may be biased",
    Flag.NOT_SAMPLED: "no posterior, because the fit that it starts from failed; draws are NaN",
    Flag.NUISANCE_AT_BOUND: "a velocity, width or extinction ended at its bound; labels and errors may not be valid",
    Flag.UNSURE_VELOCITY: "ambiguous radial velocity: no velocity fits clearly better; labels may be biased",
    Flag.VARIABLE_VELOCITY: "the velocities of the star's spectra differ by more than their errors: a binary, perhaps",
    Flag.TWO_STARS: "two stars fit the spectrum much better than one; see delta_bic",
}


#: What to do about each flag, for tables, documentation and pages.
FLAG_ADVICE: dict[Flag, str] = {
    Flag.NO_DATA: "look at the column problem, at ivar, and at the recipe's masks: a broken file, everything masked, "
    "or no velocity",
    Flag.NOT_CONVERGED: "allow more iterations, OptimiserSpec(max_iter=200), and check that flux is prepared as in "
    "training",
    Flag.AT_BOUND: "do not use it, for the star may be outside the training range; or train on a wider range",
    Flag.OUTSIDE_TRAINING: "do not use it, or add such stars to the training set",
    Flag.FEW_PIXELS: "look at wavelength coverage and masks; the errors are right but large",
    Flag.HIGH_CHI2: "plot the spectrum with its fit: a binary, emission, a bad continuum, cosmic rays or another "
    "resolution; mask, or fit with a robust loss",
    Flag.MULTIPLE_MINIMA: "sample the posterior, or give a prior",
    Flag.UNCONSTRAINED: "give a prior or a fixed value, and use the other labels",
    Flag.NO_ERRORS: "supply ivar",
    Flag.LOW_ESS: "take more draws",
    Flag.HIGH_RHAT: "look at plot_trace, often there are two modes; more warmup and chains",
    Flag.DIVERGENCES: 'use method="importance", or another prior: curvature is sharp, often at the edge of the '
    "training range",
    Flag.NOT_SAMPLED: "see the other flags, which are those of the fit",
    Flag.NUISANCE_AT_BOUND: "give wider bounds, or fewer nuisances",
    Flag.UNSURE_VELOCITY: "supply a velocity: S/N is low or lines are few (contrast of measure_rv below 20)",
    Flag.VARIABLE_VELOCITY: "look at the velocities of its spectra (rv_p of a joint fit is below 0.001): a binary, or "
    "wavelengths that drift (velocity_floor); labels hold if each velocity does",
    Flag.TWO_STARS: "use the labels of both stars; those of one star are biased",
}


def flag_names(flags: int) -> str:
    """Names of the flags that are set.

    Parameters
    ----------
    flags : int
        A value of the column ``flags``.

    Returns
    -------
    str
        Comma-separated; empty for a good row.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.flag_names(36)
    'AT_BOUND, HIGH_CHI2'
    """
    return ", ".join(str(flag.name) for flag in Flag if flags & flag)
