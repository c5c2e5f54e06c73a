"""Write ``docs/benchmarks.md`` from ``results/*.md``, so that no figure in it is typed by hand."""

from __future__ import annotations

import argparse
from pathlib import Path

HERE = Path(__file__).parent

OPENING = """\
<!-- Written by benchmarks/make_docs.py from the results of a run; change the text there. -->

# Benchmarks

How fast and how accurate slamjax is, compared with what it replaces. Every table below was written by a script in
`benchmarks/`, which also says how to run it; the stars and the machine are given under each table. Times are
medians of repeated calls after a first call that compiles. slamjax uses all cores, as its users do; the other codes
run as their authors wrote them, which is on one core wherever a Python loop dominates. "Load before" is the load of
the machine when the script began: it slows both sides.

The stars are red giants with Gaia DR3 XP spectra and labels (Teff, log g, [Fe/H], [α/M]) of APOGEE DR17. Each
spectrum is divided by its continuum, a Gaussian of σ = 50 nm, between 376 and 1010 nm. SVRs have an RBF
kernel with C = 10, ε = 0.05, γ = 0.1, and stars are weighted by the inverse variance of their flux."""

SECTIONS = {
    "emulator_speed": """\
## The emulator

The original SLAM has one `sklearn.svm.SVR` per pixel and predicts a spectrum by calling `predict` on each in turn, for
one star. slamjax evaluates the same sums for all pixels and stars as one matrix product. Giving the loop all stars at
once saves most of scikit-learn's overhead per call; that comparison is the harder one.

Both predict the same flux: the difference in the last two rows of the last table is the rounding of float32, JAX's
default, and disappears in float64. The first row also contains libsvm's stopping tolerance, because there the SVRs were
trained twice, once by each side.""",
    "kernel_sum": """\
## Digits of the kernel sum

A pixel's dual coefficients reach C while their sum is near 1, so a float32 sum over all stars loses digits.
slamjax sums in sixteen slices, or in eight for more than 2,048 pixels. Errors are relative to float64.""",
    "training_stages": """\
## Where the time of training goes

Default noise, the quickstart and simulated spectra of APOGEE's size. The same again: nothing is compiled.""",
    "uncut": """\
## Training on uncut stars

Giants of the table without any cut in S/N, drawn at random, with default noise and screening. Scatter (median over the
draws) of held-out stars with sound spectra and S/N > 80; then the same under models of as many stars cleaned by hand,
without screening: sound ones (prepared flux from 0 to 2 in every pixel), and sound ones with S/N > 80. Ratios of
scatter are geometric means over the labels and the draws; their errors come from how much draws differ. Stars with
S/N > 80 are not only clean, but have better spectra and labels.""",
    "signal_to_noise": """\
## Errors by S/N

Models trained at one S/N and judged at others. Synthetic spectra and MILES stars get white noise by seed, and state it;
synthetic spectra have ten labels, of which the models know four, so that the emulator's error is real and correlated.
Five folds; folds 0 and 1 were looked at while the noise model was made and are left out here, the others once, before
its last change. "Judged at none added" is without noise. Noise carries faint stars near an end of a label's range to
this end, which is flagged: such stars are counted apart ("at an edge"). Errors of bright stars come from the emulator
alone.""",
    "fit_speed": """\
## Fitting labels

The comparison fits each star as the original does: `scipy.optimize.least_squares` with a residual that loops over
the pixels' `SVR.predict`, within the training range, from the training star with the smallest χ², with weights
1/√(1/ivar + s²). Prepared spectra and predicted templates are not counted in its time; slamjax's time includes
preparing the spectra and choosing starts, three per star by default, of which the best is kept.""",
    "training_speed": """\
## Training

All pixels share their training stars, hence the kernel matrix. The batched solver (see
[architecture](architecture.md#all-duals-on-one-kernel-matrix)) computes it once for each γ and fold and solves
every pixel, C and ε on it, compiled, with the steps that libsvm takes; it is compared with scikit-learn's
GridSearchCV, or SVR.fit where settings are fixed, in parallel by joblib. Both solutions are compared with libsvm's
at a hundredth of the tolerance.""",
    "training_scaling": """\
![Cost of training](../benchmarks/results/training_scaling.png)

How the cost of training grows.""",
    "many_stars": """\
## Many training stars

![Cost and accuracy of many training stars](../benchmarks/results/many_stars.png)

Gaia XP stars of all kinds, all 343 pixels, one γ for all labels (`metric="isotropic"`). Exact: the batched solver,
whose support vectors are any of the training stars. Inducing: every training star counts, support vectors are some
of them that span the others. Judges are stars that took no part, at their known labels: the flux error is 1.4826
times the median absolute residual, photon noise included, in units of the pixel's spread, median over the pixels;
scatter is that of fitted minus known labels. Simulated stars have labels near those of real ones, the flux of the
model of real stars, and the photon noise that a real star of these labels states; the emulator's own error is known
for them, in units of their noise. Each training is a process of its own, whose largest memory counts, spectra
included. Noise is learnt from 5,000 stars at most.""",
    "large_c": """\
## Large C, small ε, no noise

Synthetic spectra with ten labels. Hundreds of coefficients then lie between their bounds; pairs of coefficients at
a time, as libsvm and SMO take them, are very many. Columns that SMO does not finish soon go to operator splitting.""",
    "large_spectra": """\
## Spectra as large as APOGEE's

Where most of the time is spent in matrix products, nothing else should matter. The network stands for emulators
such as The Payne; its weights are random, because only its cost is shown. Exact fits use `compress=False`; by
default `fit` compresses a model of this size.""",
    "fit_scaling": """\
![Cost of fitting](../benchmarks/results/fit_scaling.png)

How the cost of a fit grows. It is compared with `least_squares` at its fastest, given model and Jacobian of all
pixels as NumPy matrix products. A fit of large spectra costs less than the matrix products of its own evaluations,
because `fit` compresses such a model.""",
    "one_process_xp": """\
### Since the version before

Stars a second of one process, beside those of an earlier version of slamjax (commit bf704c1), in turns: XP spectra with
low-rank noise, and LAMOST spectra whose velocities are measured.""",
    "one_process_lamost": "",
    "memory": """\
## Tables larger than memory""",
    "ten_parts": """\
## Parts of a table

Stars of one part that converge slowly share their batches with the first ones of the next part.""",
    "versus_cannon": """\
## The Cannon

The Cannon (Ness et al. 2015) models each pixel's flux as a quadratic in the labels. PyPI's `thecannon`, and
`pollux`, a Cannon in JAX, are run as published in separate environments, on the spectra as prepared by slamjax's
recipe. `thecannon`'s test step starts every star from scaled labels of 1, and fits of stars far from that can end
in other minima; it is therefore shown a second time, started at the median training star, an option it offers;
`pollux` starts there. The last code is the same quadratic model written out in the benchmarks, which needs SciPy
alone. slamjax's training time includes five-fold cross-validation, from which its model error is estimated; its
test time includes preparing the spectra.""",
    "versus_astroslam": """\
## The original SLAM

PyPI's `astroslam` is run as published in an environment of its own, on every core, on a reduced problem: few stars,
and some of the pixels, prepared by slamjax's recipe. It chooses C and γ of each pixel by cross-validation, starts each
star at the training star with the smallest χ² and minimises by `scipy.optimize.least_squares` over the pixels'
`SVR.predict`. Its dump is then imported (`slamjax.from_astroslam`) and the same test stars are fitted with that model
by slamjax. In the third row slamjax searches the same grid; the last one has slamjax's defaults, whose training learns
a metric and the noise. Times are seconds of a core, so that other work on the machine hardly counts; the original ran
in one process per core, slamjax in one process on all cores.""",
    "calibration": """\
## Label errors, and other methods

Low-rank noise (`noise="lowrank"`) with rank, floor and factors estimated from the training stars alone: each is
fitted by the emulator of the cross-validation fold that had not seen it. No test star plays a part in training or
in these choices. The method itself was developed by the same cross-validation on the training stars of seed 0. Its
result on test stars was looked at three times on the way, once on seed 0 and twice on all five; what was changed
afterwards (errors that grow where training stars are sparse, one factor per label, stricter rules for two flags, a
separate 95 % interval) was fitted to held-out training stars. Test stars of all seeds are from the same 4,257
giants. Stars without flags are counted; flags do not use reference labels. Pull width is 1.4826 MAD of (difference
/ error), pull sd its standard deviation; the errors of the reference labels are part of the estimated noise and
are not added again.

The other methods predict labels from flux, on the same prepared spectra, and are judged on the same stars. They
know how common each kind of star is, a prior that the likelihood does not have: a support vector regression on all
pixels with C and γ chosen by cross-validation can come closer to the reference labels than any fit of the
spectrum. It gives neither errors nor a way to see that a spectrum is unlike all training stars. Extinction, which
reddens an XP spectrum as a lower temperature does, is part of the noise here unless it is a label; the table with
it as a fifth label is the fairer comparison with methods that can learn to ignore it.""",
    "unlike": """\
## Stars unlike the training set, and local intervals

Giants of one half of the stars train, and all choices were made with that half; the other half judges. Stars of other
kinds come from the same table; spectra are damaged by seed (`benchmarks/common/damaged.py`). A damage that the recipe
takes out, such as a slope under a fitted continuum, leaves only traces. The figure shows the first seed; the number of
giants limits how few false alarms can be told.

![ROC curves](../benchmarks/results/unlike.png)""",
    "outliers": """\
## Stars that are further off than their errors say

The same models and test stars as above, three stated errors off or more. Compare each line with the last, all
unflagged stars. What stands out, for [α/M] above all, are giants of one sequence of [α/M] that are fitted on the
other: the likelihood has more than one maximum there, or a long ridge, which the Gaussian errors of a fit cannot
express. A posterior can: the intervals of its draws (above) have the right coverage.""",
    "posterior_speed": """\
## Posteriors

`slamjax.sample` from spectra as read to diagnosed draws, two chains of 500 draws per star by default. "auto" is
importance sampling about the mode, and NUTS for stars whose weights have an effective sample size below 400. It is
compared with emcee over a loop of `SVR.predict`, which is how the original samples, and with NumPyro's NUTS in its
most direct form. emcee's cost is its autocorrelation time on the same posterior times the measured cost of one
evaluation by the loop.""",
    "sampler_agreement": """\
## All samplers draw from the same posterior

The reference is repeated with another seed: its difference from itself is chance.""",
    "crlb": """\
## The Cramér-Rao bound

Simulated stars inside the training range, at least three bounds from its edge, with the photon errors of real test
stars, fitted by the model that made them. No unbiased fit scatters less than the bound; the robust scatter shows how
close typical stars come to it, the standard deviation also counts the few whose likelihood has a second minimum. The
bound is for a parabolic likelihood: within the errors of XP spectra the emulator is curved, within smaller ones it is
not.""",
    "calibration_simulated": """\
## Posteriors of simulated stars

Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788) and TARP (Lemos et al. 2023, PMLR 202, 19256):
labels drawn from the prior, spectra from the likelihood, posteriors from `slamjax.sample`. A test that cannot
fail shows nothing, so the same posteriors are also tested with their errors enlarged and reduced by a fifth.""",
    "two_surveys": """\
## Spectra of two surveys in one fit

MILES spectra and spectra made of them to look like Gaia XP's, each under its own model. Pulls of real stars count the
errors of the library's labels.""",
    "pairs": """\
## Two stars in one spectrum

Sums of two real MILES dwarfs, as a main-sequence pair would have them, and single stars of all kinds; none of them
trained the model. `slamjax.fit_pairs` with its defaults; a pair is found if it has the flag TWO_STARS.""",
    "visits": """\
## Several visits in one fit

Simulated stars seen several times: a velocity, a continuum and photon noise of each visit, the emulator's error of the
star.""",
    "exposures": """\
## Exposures of one star

Real exposures of a BOSS spectrum in both arms, fitted jointly, one by one, and as the survey's stack, under a model of
MILES stars.""",
    "channels": """\
## Magnitudes and colours beside a spectrum

Channels have a model of their own, see the guide on several spectra of a star. The table of stars has one magnitude and
no parallax, and the colours are sums over the same XP spectra before their continuum was divided out: what that takes
away is of little use for these labels.""",
    "xp_coefficients": """\
## Gaia XP coefficients

Simulated giants whose XP coefficients have noise with the covariance of their least squares, trained on and fitted with
that covariance, with the errors of single coefficients, and as spectra that GaiaXPy's matrix samples from them, whose
pixels are taken as independent. Training stars are bright (G from 11 to 14), or of all magnitudes (11 to 17.5) where
that is said. "Default noise" of sampled spectra learns correlations from the residuals of training stars; the others
have independent pixels, or photon noise as stated. Fitted stars lie between the 5th and 95th percentiles of the labels
of the training stars. At G = 13 the error
of the emulator, a quadratic learnt from 1,000 stars, is several times that of the photons, and limits all fits.""",
    "line_spread": """\
## A line spread for each spectrum

MILES stars convolved one by one to widths of their own, fitted under each star's own line spread, under the mean of
all, and as if nothing were known of it.""",
    "lamost": """\
## From MILES to LAMOST

A model of one library applied to another survey's files as they are: observed frame, vacuum, other pixels, with
errors. The velocity is measured; the header's is not used. LASP is LAMOST's own pipeline. The model's settings are the
defaults. What slamjax knows of LAMOST was chosen with half of the files, every second one in the order of their names,
and with MILES stars whose spectra were changed; the other half is blind to it. With six or seven stars a median is
uncertain by half of the scatter, and a pull width by a quarter. The catalogue of MILES states no errors of its labels:
those of Prugniel et al. (2011) are given, and are no part of a new star's errors. The errors of most of these spectra
are too large: their noise, in means of four pixels, is about 0.75 of what the files state. All are of one night, so
that the reader leaves errors as they are. That makes pulls narrow. MILES dwarfs to which the noise of these files was
added scatter about their own catalogue's labels as the last table says; with LASP's own errors (64 K, 0.11 and 0.06 in
the median) that is what is to be expected of LAMOST's.""",
    "label_gaps": """\
## Training labels with gaps and errors

Models of a few hundred stars, judged by others, with labels removed or made worse by seed; see
[training](guide/training.md#labels-with-gaps-and-errors). Seeds 0, 1 and 3 were looked at while the method was made and
are left out. "Stated, fixed" has the emulator of "not stated", and other errors. The worst of several labels is above
zero by chance alone; its standard error does not know that it was picked.""",
    "ten_labels": """\
## Ten labels

Emulators of synthetic spectra in ten labels. "SVR, isotropic" has the settings of the other benchmarks, as the SVR with
the learnt metric has; "best of a grid" and the network are tuned by cross-validation within the training stars. The
Cramér-Rao bound is that of photon noise alone, with the derivatives of the SVR with the learnt metric. Rivals may have
judged fewer stars, as said, or be missing. Training times are those of a core that was shared with several other
programs, and no measure of speed. Of N training stars, the box of L labels leaves out 2L / (N + 1) of new ones; noise
carries others to its edge: what a perfect emulator would flag is the last table's last column.
""",
    "metric": """\
The learnt metric may not make labels of noisy spectra worse than the isotropic kernel does.
""",
    "inverse_regressors": """\
## Priors, posterior means, and regressions from flux to labels

A regression predicts the mean of the labels that stars with such a spectrum have, and so knows how common each kind of
star is. `prior="training"` and `posterior_mean=True` give fits the same knowledge, and `posterior_mean="learnt"` learns
it from held-out training stars, as a regression does. All test stars count, flagged ones too; a star whose fit
failed gets the median of the training labels. The rivals' settings are chosen by cross-validation on the training
stars of each seed. Seeds 0 and 1 were looked at on the way and are left out.""",
    "slam_vs_quadratic": """\
## SLAM and a quadratic

The same stars, preparation, weights and noise models for both (`slamjax.compare`); only the emulator differs. Flux
errors are those of held-out stars at their known labels, and contain photon noise and the errors of the labels.""",
    "nuisances": """\
## Nuisances

Stars simulated with a MILES model, with noise drawn from its noise model and velocities, widths and polynomials drawn
from their ranges, fitted with all of them free.""",
    "velocities": """\
## Velocities

MILES stars in motion. The stars of the library are themselves at rest within a few km/s only; this is part of the
scatter, and of the errors, which training learns from held-out stars. Biases are the library's: the same stars unmoved
have them within the errors, and the model's own spectra, moved, have none (a test says so). Halves differ no more than
their errors say. Choices were made on the first half; the other
half was seen once before the last of them.""",
    "reading_speed": """\
## Reading survey files

Files that are in the system's cache: what is timed is reading, not the disk.""",
    "explorer": """\
## A page for the browser

`slamjax explore` for spectra as large as APOGEE's.""",
    "throughput": """\
## Surveys of any size

`slamjax.fit_survey` by two processes: XP-like stars from Parquet, made of real giants with fresh noise.""",
    "lamost_files": """\
### Survey files, some of them broken

LAMOST's own files with fresh noise, in the observed frame, by a model of MILES; some are broken in ways that files of
archives are.""",
    "scaling": """\
### How far one client carries

Seconds are fitted as a sum over pieces and stars, and the client's share of a piece is timed by itself. What it would
take to label whole surveys follows from these figures, and was not tried.""",
    "same_labels": """\
### The same labels however a survey is divided""",
    "kills": """\
### Killed, and without room""",
    "hats_round_trip": """\
## Catalogues by sky pixel

The embedded giants as a HATS catalogue (hats-import), labelled by `slamjax.fit_catalog` with two Dask workers, written,
opened again and cross-matched by LSDB.

![Giants on the sky](../benchmarks/results/hats_round_trip.png)""",
    "accuracy": """\
## Accuracy on stars never seen, published likelihood

For each seed, training stars are drawn, and test stars from all others; a star with two spectra is never on both
sides. Scatter is 1.4826 times the median absolute deviation of fitted minus APOGEE labels, about the median. Every
star with finite labels counts, flagged or not. The pull width is the same of (difference / stated error): 1 if
errors are right. The published likelihood (`noise="diagonal"`), which is used here, treats pixels as independent,
which neighbouring pixels of XP spectra are not: its errors are too small by about that factor. These figures are
not fully blind: the estimator of the model error and the weighting by ivar were chosen, among some ten
alternatives, by the scatter of seed 0's test stars, and test stars of other seeds are drawn from the same 4,257
giants. The spread of the labels is what one would get without a spectrum, by giving every star the median label.""",
}


def _command(name: str) -> str:
    """The command that writes these results; ``<name>_<size>`` are those of ``--size``."""
    stem, size = name, ""
    if not list(HERE.glob(f"*/{name}.py")):
        stem, _, size = name.rpartition("_")
    (script,) = HERE.glob(f"*/{stem}.py")
    return f"python -m benchmarks.{script.parent.name}.{stem}" + (f" --size {size}" if size else "")


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
        parts += [*filter(None, [text]), f"`{_command(name)}`", (options.results / f"{name}.md").read_text().strip()]
    options.target.write_text("\n\n".join(parts) + "\n")
    print(f"wrote {options.target}")


if __name__ == "__main__":
    main()
