"""Write ``docs/benchmarks.md`` from ``results/*.md``, so that no figure in it is typed by hand."""

from __future__ import annotations

import argparse
from pathlib import Path

HERE = Path(__file__).parent

OPENING = """\
<!-- Written by benchmarks/make_docs.py from the results of a run; change the text there. -->

# Benchmarks

How fast and how accurate slamjax is, beside what it replaces. Every table below was written by a script in
`benchmarks/`, which also says how to run it; under each table stand the stars it used and the machine that it
ran on. Times are medians of repeated calls after a first one that compiles. slamjax uses all cores, as its
users do; the rivals run as their authors wrote them, which is on one core wherever a Python loop leads. "Load
before" tells how busy the machine was with other work when the script began: it slows both sides.

The stars are red giants with Gaia DR3 XP spectra and labels (Teff, log g, [Fe/H], [α/M]) of APOGEE DR17. Each
spectrum is divided by its continuum, a Gaussian of σ = 50 nm, between 376 and 1010 nm. SVRs have an RBF
kernel with C = 10, ε = 0.05, γ = 0.1, and weigh stars by the inverse variance of their flux."""

SECTIONS = {
    "emulator_speed": """\
## The emulator

The original SLAM holds one `sklearn.svm.SVR` a pixel and predicts a spectrum by calling `predict` on each in
turn, for one star. slamjax evaluates the same sums for all pixels and stars as one matrix product. Handing
the loop all stars at once saves most of scikit-learn's overhead for each call; that comparison is the harder
one.

Both predict the same flux: what is left in the last two rows of the last table is the rounding of float32, JAX's
default, and goes when JAX runs in float64. The first row also holds libsvm's own stopping tolerance, for there
the SVRs were trained twice, once by each side.""",
    "kernel_sum": """\
## Digits of the kernel sum

A pixel's dual coefficients reach C while their sum is near 1, so a float32 sum over all stars loses digits.
slamjax sums in sixteen slices, for more than 2,048 pixels in eight. Errors are against float64.""",
    "fit_speed": """\
## Fitting labels

The rival fits each star as the original does: `scipy.optimize.least_squares`, whose residual loops over the
pixels' `SVR.predict`, within the training range, from the training star with the least χ², weights 1/√(1/ivar
+ s²). It is given prepared spectra and predicted templates for nothing; slamjax's time includes preparing the
spectra and choosing starts, three for each star by default, of which it keeps the best.""",
    "training_speed": """\
## Training

All pixels share their training stars, hence the kernel matrix. The batched solver (docs/architecture.md) makes
it once for each γ and fold and solves every pixel, C and ε on it, compiled, by the steps that libsvm takes; the
rival is scikit-learn's GridSearchCV, or SVR.fit where settings are fixed, parallel by joblib. What both find is
compared with libsvm at a hundredth of the tolerance.""",
    "training_scaling": """\
![Cost of training](../benchmarks/results/training_scaling.png)

How the cost grows. JAX's solver is for accelerators: on a CPU it is no match for the compiled one, and is shown so
that nobody need wonder.""",
    "large_spectra": """\
## Spectra as large as APOGEE's

Where most time goes into matrix products, nothing else should matter. The network stands for emulators of The
Payne's kind; its weights are random, for only its cost is shown. Exact fits use `exact=True`; by default `fit`
compresses a model of this size by itself.""",
    "fit_scaling": """\
![Cost of fitting](../benchmarks/results/fit_scaling.png)

How the cost of a fit grows. The rival is `least_squares` at its quickest, given model and Jacobian of all pixels as
NumPy matrix products. A fit of large spectra stays below the matrix products of its own evaluations, for `fit`
compresses such a model.""",
    "memory": """\
## Tables larger than memory""",
    "versus_cannon": """\
## The Cannon

The Cannon (Ness et al. 2015) models each pixel's flux as a quadratic in the labels. PyPI's `thecannon`, and
`pollux`, a Cannon in JAX, are run as published in environments of their own, on the very spectra that slamjax's
recipe prepares. `thecannon`'s test step starts every star from scaled labels of 1, and fits of stars unlike
that can end in other minima; it is therefore shown a second time, started at the median training star, an
option it offers; `pollux` starts there. The last rival is the same quadratic model written out in
`benchmarks/quadratic.py`, which needs SciPy alone. slamjax's training time includes five-fold cross-validation,
from which its model error comes; its test time includes preparing the spectra.""",
    "calibration": """\
## Honest errors, and what else there is

Low-rank noise (`noise="lowrank"`), its rank, floor and factors learnt from the training stars alone: each is
fitted by the emulator of the cross-validation fold that had not seen it. No test star has a part in training or
in these choices. The method itself was worked out by the same cross-validation on the training stars of seed
0. Its outcome on test stars was looked at three times on the way, once on seed 0 and twice on all five; what was
changed afterwards (errors that grow where training stars are few, one factor a label, stricter rules for two
flags, a 95 % interval of its own) was fitted to held-out training stars. Test stars of all seeds are from the same
4,257 giants. Stars
without flags are counted; flags know nothing of reference labels. Pull width is 1.4826 MAD of (difference /
error), pull sd its standard deviation; reference labels' errors are part of the noise that is learnt, and are
not added again.

Rivals learn labels from flux, on the same prepared spectra, and are judged on the same stars. They know what
kinds of stars there are, a prior that the likelihood does not have: a support vector regression of all
pixels with C and γ chosen by cross-validation can come closer to the reference labels than any fit of the
spectrum. It gives neither errors nor a way to see that a spectrum is unlike all training stars. Extinction,
which reddens an XP spectrum as a cooler star would, is part of the noise here unless it is a label; the table with it
as a fifth label is the fairer one against rivals that can learn to look past it.""",
    "outliers": """\
## Stars that are further off than their errors say

The same models and test stars as above, three stated errors and more off. Compare each line with the last one, all
unflagged stars. What stands out, for [α/M] above all, are giants of one sequence of [α/M] that are fitted on the
other: the likelihood has more than one maximum there, or a long ridge, and errors of a fit, which are Gaussian,
do not tell. A posterior does: above, the intervals of its draws cover.""",
    "posterior_speed": """\
## Posteriors

`slamjax.sample` from spectra as read to diagnosed draws, two chains of 500 draws a star by default. "auto" is
importance sampling about the mode, and NUTS for stars whose weights are worth fewer than 400 draws. Rivals
are emcee over a loop of `SVR.predict`, which is how the original samples, and NumPyro's NUTS as one would
write it down first. emcee's cost is its own autocorrelation time on the same posterior times the measured
cost of an evaluation by the loop.""",
    "sampler_agreement": """\
## All samplers draw from the same posterior

The reference is repeated with another seed: what it differs from itself is chance.""",
    "crlb": """\
## The Cramér-Rao bound

Simulated stars inside the training range and three bounds from its edge, with the photon errors of real test
stars, fitted by the model that made them. No unbiased fit scatters less than the bound; the robust scatter
shows how close typical stars come to it, the standard deviation also counts the few whose likelihood has a
second minimum. The bound holds for a likelihood that is a parabola: with XP's errors the emulator bends within
them, with smaller ones it does not.""",
    "calibration_simulated": """\
## Posteriors of simulated stars

Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788) and TARP (Lemos et al. 2023, PMLR 202, 19256):
labels drawn from the prior, spectra from the likelihood, posteriors from `slamjax.sample`. A test that cannot
fail shows nothing, so the same posteriors are also tested with their errors inflated and shrunk by a fifth.""",
    "lamost": """\
## From MILES to LAMOST

A model of one library, put on another survey's files as they are: observed frame, vacuum, other pixels, errors. The
velocity is measured; the header's is not used. LASP is LAMOST's own pipeline. Preparation and settings were chosen
with these 13 stars in view, among some twenty, so this table is not blind. The errors say where labels of the MILES
catalogue would lie, whose own errors are in the pulls that widen Σ and are not known apart: differences to LASP are
smaller than they say.""",
    "slam_vs_quadratic": """\
## SLAM and a quadratic

The same stars, preparation, weights and noise models for both (`slamjax.compare`); only the emulator differs. Flux
errors are of stars held out, at their known labels, and contain photon noise and the labels' errors.""",
    "nuisances": """\
## Nuisances

Simulated stars of a MILES model, with noise drawn from its noise model and velocities, widths and polynomials drawn
from their ranges, fitted with all of them free.""",
    "reading_speed": """\
## Reading survey files

Files of which the system has copies in memory: what is timed is reading, not the disk.""",
    "accuracy": """\
## Accuracy on stars never seen, published likelihood

For each seed, training stars are drawn and test stars are drawn from all others; a star that has two spectra
is never on both sides. Scatter is 1.4826 times the median absolute deviation of fitted minus APOGEE labels,
about the median. Every star with finite labels counts, flagged or not. The pull width is the same of
(difference / stated error): 1 if errors are honest. The published likelihood (`noise="diagonal"`), which is
used here, takes pixels as independent of each other, which neighbouring pixels of XP spectra are not: its
errors are too small by about that factor. These figures are not fully blind: the estimator of the model error
and the weighting by ivar were chosen, among some ten alternatives, by the scatter of seed 0's test stars, and
test stars of other seeds are drawn from the same 4,257 giants. The spread of the labels is what one would get
without a spectrum, by giving every star the median label.""",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder with the benchmarks' results")
    parser.add_argument("--target", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    options = parser.parse_args()
    missing = [name for name in SECTIONS if not (options.results / f"{name}.md").exists()]
    if missing:
        print(f"left out, for {options.results} holds no results: {', '.join(missing)}")
    parts = [OPENING]
    for name, text in SECTIONS.items():
        if name in missing:
            continue
        parts += [text, f"`python benchmarks/{name}.py`", (options.results / f"{name}.md").read_text().strip()]
    options.target.write_text("\n\n".join(parts) + "\n")
    print(f"wrote {options.target}")


if __name__ == "__main__":
    main()
