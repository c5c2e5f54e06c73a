"""What is wrong with a row of results, as bits."""

from __future__ import annotations

import enum


class Flag(enum.IntFlag):
    """What is wrong with a row; 0 is good. ``Flag(row["flags"])`` prints the names."""

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


#: What each flag says, for tables and documents.
FLAG_MEANINGS: dict[Flag, str] = {
    Flag.NO_DATA: "no good pixel: labels are NaN and errors infinite",
    Flag.NOT_CONVERGED: "out of iterations before the steps became small",
    Flag.AT_BOUND: "a label ended at the edge of the training range; its error does not hold",
    Flag.OUTSIDE_TRAINING: "too few training stars near these labels: the emulator extrapolates",
    Flag.FEW_PIXELS: "fewer than half of the model's pixels were good",
    Flag.HIGH_CHI2: "chi2 a pixel far above that of stars the training had not seen: unlike any training star",
    Flag.MULTIPLE_MINIMA: "another start ended at other labels, beyond the errors of both, with nearly the same chi2",
    Flag.UNCONSTRAINED: "the spectrum does not constrain a label within the training range; its error is infinite",
    Flag.NO_ERRORS: "the spectrum states no errors though the training spectra did: label errors are too small",
    Flag.LOW_ESS: "the posterior's draws are worth fewer than 400 independent ones for a label; take more draws",
    Flag.HIGH_RHAT: "the posterior's chains disagree (R-hat above 1.03): its draws do not stand for it yet",
    Flag.DIVERGENCES: "more than one draw in a hundred of the posterior ended a diverging trajectory: it may be biased",
    Flag.NOT_SAMPLED: "no posterior: the fit that it starts from failed; draws are NaN",
    Flag.NUISANCE_AT_BOUND: "a velocity or a width ended at its bound; labels and errors may not hold",
    Flag.UNSURE_VELOCITY: "no radial velocity fits clearly better than all others: the labels may be of another shift",
}


def flag_names(flags: int) -> str:
    """Names of the flags that are set, such as ``"AT_BOUND, HIGH_CHI2"``; empty for a good row."""
    return ", ".join(str(flag.name) for flag in Flag if flags & flag)
