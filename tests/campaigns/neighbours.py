"""A star's labels beside other stars: alone, in sevens, permuted, in small batches, in float64.

They must be within 1 % of an error of those in one batch, in float64 within a millionth. Between the precisions lies
the rounding of float32. Each attempt draws stars and a model.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from helpers import in_precision, xp_giants
from models import LABELS, giants_model, quadratic_model

import slamjax
from campaigns.frame import Campaign, Outcome, Report, judged
from slamjax.fitting.fitter import stack_tables

#: Largest difference, in errors.
WITHIN = 0.01
#: Float32's own rounding moves about one star in a thousand further than that.
ROUNDING = 0.03
WAYS = ("permuted", "sevens", "alone", "small batches", "float64", "permuted in float64", "sevens in float64")
#: Largest difference, in errors, between fits in float64.
EXACT = 1e-6


@cache
def _fitter(number: int) -> slamjax.Fitter:
    return slamjax.Fitter((giants_model, quadratic_model)[number]())


def stars(number: int, n: int) -> slamjax.Spectra:
    """Giants with noise of their own, a few pixels of some of them bad."""
    rng = np.random.default_rng(number)
    drawn = xp_giants()[rng.integers(0, 150, n)]
    error = np.where(drawn.ivar > 0, 1 / np.sqrt(np.where(drawn.ivar > 0, drawn.ivar, 1)), 0)
    flux = drawn.flux + rng.uniform(0, 3, (n, 1)) * error * rng.normal(size=error.shape)
    bad = (rng.random(error.shape) < 0.1) & (rng.random((n, 1)) < 0.2)
    return slamjax.Spectra(drawn.wave, flux, np.where(bad, 0, drawn.ivar), wave_unit=drawn.wave_unit)


def fitted(fitter: slamjax.Fitter, given: slamjax.Spectra, way: str) -> slamjax.LabelTable:
    """Label tables of the same stars in the same order, fitted in another way."""
    n = len(given)
    if way == "permuted":
        order = np.random.default_rng(0).permutation(n)
        return fitter.fit(given[order])[np.argsort(order)]
    if way in ("sevens", "alone"):
        step = 7 if way == "sevens" else 1
        return stack_tables([fitter.fit(given[np.arange(i, min(n, i + step))]) for i in range(0, n, step)])
    if way == "small batches":
        return slamjax.fit(fitter.model, given, memory=0.001)
    with in_precision("float64"):
        return slamjax.fit(fitter.model, given)


def differences(one: slamjax.LabelTable, other: slamjax.LabelTable) -> np.ndarray:
    """(N,) largest difference of a label, in errors; infinite where only one fit succeeded.

    Two minima that fit equally well within rounding are no difference: both rows are flagged.
    """
    labels, errors = (
        np.stack([np.asarray(getattr(one[name], "value", one[name]), float) for name in names], axis=1)
        for names in (LABELS, [f"{name}_err" for name in LABELS])
    )
    others = np.stack([np.asarray(getattr(other[name], "value", other[name]), float) for name in LABELS], axis=1)
    apart = np.abs(labels - others) / errors
    failed = np.isnan(labels).any(axis=1), np.isnan(others).any(axis=1)
    apart = np.where(
        failed[0] & failed[1], 0, np.where(failed[0] | failed[1], np.inf, np.nan_to_num(apart).max(axis=1))
    )
    flags = np.asarray(one["flags"]) & np.asarray(other["flags"])
    equal = np.abs(np.asarray(one["chi2"]) - np.asarray(other["chi2"])) < 0.02
    return np.where(equal & (flags & slamjax.Flag.MULTIPLE_MINIMA > 0), 0, apart)


def attempt(number: int, folder: Path) -> Report:
    way, fitter = WAYS[number % len(WAYS)], _fitter(number // len(WAYS) % 2)
    given = stars(number, 70 if way == "alone" else 1000 if number >= 2 * len(WAYS) else 140)

    def fit() -> Report:
        if way.endswith("in float64"):
            with in_precision("float64"):
                exact = slamjax.Fitter(fitter.model)
                apart = differences(exact.fit(given), fitted(exact, given, way.split()[0]))
        else:
            apart = differences(fitter.fit(given), fitted(fitter, given, way))
        within = EXACT if way.endswith("in float64") else WITHIN
        beyond, largest = int(np.sum(apart > within)), float(apart.max())
        detail = f"{way}: {beyond} of {len(apart)} beyond {within:.6g} of an error, largest {largest:.2g}"
        wrong = beyond > len(apart) // 100 or largest > ROUNDING if way == "float64" else beyond > 0
        return Report(Outcome.WRONG if wrong else Outcome.SAME, detail)

    return judged(fit)


CAMPAIGN = Campaign("stars and their neighbours", attempt, tried=200, short=5, seconds=240)
