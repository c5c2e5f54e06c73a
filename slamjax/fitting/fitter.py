"""``Fitter`` and ``fit``: labels of many stars at once."""

from __future__ import annotations

import dataclasses
import itertools
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np
from astropy.table import vstack

from slamjax._util.batching import map_padded
from slamjax._util.progress import reporter
from slamjax._util.threads import one_blas_thread
from slamjax.errors import SlamError, SlamWarning
from slamjax.fitting.batches import Starts, minimise
from slamjax.fitting.flux_level import warn_of_other_unit
from slamjax.fitting.label_table import label_table
from slamjax.fitting.learnt_means import PosteriorMean, check_posterior_mean
from slamjax.fitting.optimiser import Method, OptimiserSpec
from slamjax.fitting.outcome import Outcome, Prepared
from slamjax.fitting.postprocess import FitResult
from slamjax.fitting.prior_options import FitPrior, PriorOption
from slamjax.fitting.problem import Problem, Summary
from slamjax.fitting.rest_frame import FittedSpectra, fit_observed_frame
from slamjax.fitting.rv_starts import ShiftedTemplates, choose_shifted_starts, make_shifted_templates
from slamjax.fitting.sizes import BatchSizes
from slamjax.fitting.starts import Templates, choose_starts, factorised, make_templates
from slamjax.forward.nuisances import Nuisances
from slamjax.forward.scaled import ScaledModel
from slamjax.io.label_table import LabelTable
from slamjax.model.model import Model
from slamjax.model.own_covariance import check_covariance, errors_of
from slamjax.model.own_line_spread import half_width, line_spread_grid, own_sigma, with_line_spread_of
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import check_units
from slamjax.typing import Progress

#: Memory of a problem with the weights of 33 neighbours of each pixel, in units of that of one without: about.
_WEIGHTS = 4


class Fitter:
    """Fits of spectra under one model with one set of options, made once and used for any number of spectra.

    Each star starts from its best-χ² training templates, ``n_starts`` of them far apart in labels, and keeps the best
    end. Templates, arrays on the device and compiled functions are made at the first `fit` and kept.

    Parameters
    ----------
    model : Model
    optimiser : {"lm", "adam", "lbfgs"} or OptimiserSpec
        Levenberg-Marquardt by default; the others for a robust loss.
    n_starts : int
        Starts per star.
    prior : optional
        Density of the labels of one star, in physical units. "training", that of the training stars' labels, smoothed
        (`slamjax.forward.LabelDensity`); a function ln p of the labels (L,) in jax.numpy, or an object with such a
        ``log_prob``, compiled once for each object; labels known from elsewhere, ``{"logg": (value, error)}``: numbers,
        arrays with one value for each spectrum, or names of columns (NaN: not known of that star); or a list of these,
        which are multiplied. Labels are then those of highest posterior density, and label errors those of the
        posterior: what is added to the information is the curvature of −ln p, where it is positive. By default all
        labels in the training range are alike.
    posterior_mean : bool or "learnt"
        Add means and standard deviations of the labels: columns <label>_mean and <label>_std. Means have the smallest
        mean square error, best labels are those that the spectrum is most like. True: those of the posterior, by
        importance sampling. "learnt": of the training stars with such a fit, by a regression that training learnt from
        held-out stars (`slamjax.noise.label_means.LabelMeans`); it knows how common each kind of star was among them.
    nuisances : Nuisances, optional
        Nuisance parameters: velocity, broadening, rotation, a polynomial (lm only). Label errors are then marginalised
        over them. Columns ``rv``, ``rv_err``, ``sigma_v``, … (km/s), ``resolution``, ``extinction`` (mag), ``r_v`` and
        ``polynomial`` (Legendre coefficients) hold their values. With ``resolution``, line spreads that spectra state
        are not used.
    compress : bool
        Compress a large emulator first where that moves no label by more than 1 % of its error
        (`slamjax.Model.compress`).
    memory : float
        GiB that a batch may take on the device.

    Raises
    ------
    SlamError
        If the options exclude each other.

    Examples
    --------
    >>> import slamjax
    >>> stars, new_stars = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> fitter = slamjax.Fitter(model, n_starts=1)
    >>> [len(fitter.fit(part)) for part in (new_stars[:3], new_stars[3:6])]
    [3, 3]
    """

    def __init__(
        self,
        model: Model,
        *,
        optimiser: Method | OptimiserSpec = "lm",
        n_starts: int = 3,
        prior: PriorOption = None,
        posterior_mean: PosteriorMean = False,
        nuisances: Nuisances | None = None,
        compress: bool = True,
        memory: float = 1.0,
    ) -> None:
        self.optimiser = OptimiserSpec.from_option(optimiser)
        self.nuisances = nuisances if nuisances is not None and nuisances.anything else None
        if self.nuisances is not None and self.optimiser.method != "lm":
            raise SlamError(f"nuisances are fitted by method='lm', not by {self.optimiser.method!r}")
        if n_starts < 1:
            raise SlamError(f"n_starts is {n_starts}; give at least 1")
        if not memory > 0:
            raise SlamError(f"memory is {memory} GiB; give more than 0")
        check_posterior_mean(model, posterior_mean, prior)
        self.model, self.n_starts, self.compress, self.memory = model, n_starts, compress, memory
        self.posterior_mean, self._given_prior = posterior_mean, prior
        self.prior = FitPrior.from_option(model, prior)
        self._minimiser = self.optimiser.minimiser()
        self._level_checked = False
        self._wider: Fitter | None = None
        #: Seconds that spectra were prepared for.
        self.seconds_preparing = 0.0

    def __repr__(self) -> str:
        return f"Fitter({self.model!r}, {self.optimiser!r}, n_starts={self.n_starts})"

    @property
    def options(self) -> dict[str, Any]:
        """The options it was made with."""
        names = ("optimiser", "n_starts", "posterior_mean", "nuisances", "compress", "memory")
        return {**{name: getattr(self, name) for name in names}, "prior": self._given_prior}

    def fit(self, spectra: Spectra, on_progress: Progress | bool | None = True) -> LabelTable:
        """Labels, errors and flags of every spectrum.

        Parameters
        ----------
        spectra : Spectra
            As read; they are prepared here by the model's recipe. If they are in the observed frame and the model was
            trained in the rest frame, the velocity is measured (`slamjax.measure_rv`) and refined together with the
            labels (``rv``, ``rv_err``).
        on_progress : callable or bool
            Called with (stars done, stars in all). By default a line in terminals and notebooks; False for none.

        Returns
        -------
        LabelTable
            One row per spectrum, see `slamjax.fitting.label_table.label_table`; ``flags`` is 0 for a good row
            (`slamjax.Flag`). A failed fit has NaN labels and infinite errors.

        Raises
        ------
        SlamError
            If the spectra do not cover the model, their labels are in units that the model's cannot be converted to, or
            their pixels have covariances that these options do not use.
        """
        spectra = self.as_given(spectra)
        with reporter(on_progress) as report, one_blas_thread():
            report.stage("preparing the model", shared=False)  # a large emulator is compressed
            fitter = self._matched(spectra)
            fitter.check(spectra)
            if self.prior is not None:
                spectra = self.prior.attached(spectra)
            n = len(spectra)
            report.stage("fitting stars")
            tables = list(fitter._fit_parts([spectra], lambda done: report(min(done, n), n)))
        warn_without_errors(self.model, spectra)
        return stack_tables(tables)

    def fit_parts(
        self, parts: Iterable[Spectra], *, report: Callable[[int], None] | None = None
    ) -> Iterator[LabelTable]:
        """Label tables of spectra that come part by part, in order; see `fit`.

        The slow stars of a part share their batches with the first ones of the next, so parts cost no time.

        Parameters
        ----------
        parts : iterable of Spectra
            Parts are drawn before the tables of the ones before are complete.
        report : callable, optional
            Called with the number of stars done.
        """
        parts = map(self.as_given, parts)
        first = next(parts, None)
        if first is not None:
            yield from self._matched(first)._fit_parts(itertools.chain([first], parts), report)

    def as_given(self, spectra: Spectra) -> Spectra:
        """The spectra as they are fitted: with the model's line spread where the resolution is a nuisance."""
        if self.nuisances is None or self.nuisances.resolution is None or not isinstance(spectra, Spectra):
            return spectra
        return with_line_spread_of(self.model.info, spectra)

    def _matched(self, spectra: Spectra) -> Fitter:
        """The fitter whose model predicts lines as wide as those of the spectra."""
        model = self._model.matched(spectra) if isinstance(spectra, Spectra) else self._model
        if model is self._model:
            return self
        if self._wider is None or self._wider.model is not model:
            self._wider = Fitter(model, **{**self.options, "compress": False})
        return self._wider

    def _fit_parts(self, parts: Iterable[Spectra], report: Callable[[int], None] | None) -> Iterator[LabelTable]:
        done, self._level_checked = 0, False
        for (measured, n_near, dense), group in itertools.groupby(self._chunks(parts), key=self._kind):
            counts = [0] * (1 if self.prior is None else 2)

            def finished(problems: int, stage: int = 0, before: int = done, counts: list[int] = counts) -> None:
                counts[stage] = problems
                if report is not None:
                    report(before + sum(counts) // (self.n_starts * len(counts)))

            problem = dataclasses.replace(
                self._problem,
                line_spread=line_spread_grid(self._model.info, self._model.trained, n_near, self._scaled.dtype),
                dense=dense,
            )
            fit_group = self._fit_observed if measured else self._fit_group
            for spectra, result in fit_group(problem, group, finished):
                done += len(spectra)
                yield label_table(self.model.label_names, self.model.info.label_units, spectra, result)

    def _chunks(self, parts: Iterable[Spectra]) -> Iterator[Spectra]:
        """Checked spectra, as many as are prepared at once."""
        for spectra in parts:
            self.check(spectra)
            chunk = (self._sizes if spectra.covariance is None else self._dense_sizes).chunk
            for start in range(0, len(spectra), chunk):
                yield spectra[start : start + chunk]

    def _kind(self, spectra: Spectra) -> tuple[bool, int, bool]:
        """What must be alike for spectra to be fitted together.

        Whether the velocity is measured before the fit, which does not have one of its own, the neighbours of a
        pixel that line spreads of single stars reach, and whether pixels have covariances.
        """
        measured = self.model.needs_rv(spectra) and (self.nuisances is None or self.nuisances.rv is None)
        return measured, half_width(self._model.info, spectra), spectra.covariance is not None

    def _fit_observed(
        self, problem: Problem, chunks: Iterable[Spectra], finished: Callable[..., None]
    ) -> Iterator[tuple[Spectra, FitResult]]:
        """Results of spectra whose velocities are measured; one chunk after the other, for some are fitted again."""
        n_done = 0
        for spectra in chunks:

            def first_fit(problems: int, before: int = n_done * self.n_starts) -> None:
                finished(before + problems)

            def fit_at(stars: Spectra, velocity: np.ndarray, n: int = len(spectra), report: Any = first_fit) -> Any:
                prepared = self._prepare(stars, velocity, problem)
                (summary,) = self._minimise(problem, [prepared.starts], report if len(stars) == n else None)
                result = self._outcome_of(problem).result(prepared, summary)
                return FittedSpectra(result, prepared.starts.flux, prepared.starts.ivar, prepared.starts.line_spread)

            result = fit_observed_frame(self._model, problem, spectra, fit_at, refined=self.nuisances is None)
            n_done += len(spectra)
            for stage in range(1 if self.prior is None else 2):
                finished(n_done * self.n_starts, stage)
            yield spectra, result

    def _fit_group(
        self, problem: Problem, chunks: Iterable[Spectra], finished: Callable[..., None]
    ) -> Iterator[tuple[Spectra, FitResult]]:
        """Results of spectra in the model's frame, or whose fit has a velocity."""
        waiting: deque[Prepared] = deque()
        n_again = 0

        def starts() -> Iterator[Starts]:
            for spectra in chunks:
                velocity = np.zeros(len(spectra)) if self.model.needs_rv(spectra) else None
                waiting.append(self._prepare(spectra, velocity, problem))
                yield waiting[-1].starts

        outcome = self._outcome_of(problem)
        for summary in self._minimise(problem, starts(), finished):
            prepared = waiting.popleft()
            again = partial(_second, finished, n_again)
            yield prepared.spectra, outcome.result(prepared, summary, again)
            n_again += len(prepared.starts.x)

    def _minimise(
        self, problem: Problem, parts: Iterable[Starts], finished: Callable[[int], None] | None
    ) -> Iterator[Summary]:
        return minimise(self._minimiser, problem, parts, self._sizes_for(problem).block, finished)

    def check(self, spectra: Spectra) -> None:
        """Raise SlamError for spectra that cannot be fitted, before anything is computed."""
        if not isinstance(spectra, Spectra):
            kind = type(spectra).__name__
            raise SlamError(f"spectra are {kind}; read them first (slamjax.read, or slamjax.fit_files)")
        if len(spectra) == 0:
            raise SlamError(f"{spectra.source} holds no spectra to fit")
        check_covariance(self.model, spectra, self.nuisances)
        self.model.prepare(spectra[:1], np.zeros(1) if self.model.needs_rv(spectra) else None, covariance=True)
        check_units(self.model.label_names, self.model.info.label_units, spectra)

    @cached_property
    def _model(self) -> Model:
        """The model whose emulator is fitted with."""
        return self.model.quick() if self.compress else self.model

    @cached_property
    def _scaled(self) -> ScaledModel:
        return self._model.scaled(self.nuisances)

    @cached_property
    def _problem(self) -> Problem:
        scaled, spec = self._scaled, self.optimiser
        return Problem(scaled.emulator, scaled.noise, scaled.low, scaled.high, spec.loss)

    def _outcome_of(self, problem: Problem) -> Outcome:
        fitted = (problem, self._minimiser, self.n_starts)
        sizes = self._sizes_for(problem)
        return Outcome(self._model, self._scaled.forward, *fitted, sizes, self.prior, self.posterior_mean)

    @cached_property
    def _templates(self) -> Templates | ShiftedTemplates:
        stars = np.asarray(self._model.training_labels.stars)
        if self.nuisances is None:
            return make_templates(self._problem, stars)
        return make_shifted_templates(self._problem, stars, self._model.wave)

    @cached_property
    def _sizes(self) -> BatchSizes:
        return self._sizes_of_stars(dense=False)

    @cached_property
    def _dense_sizes(self) -> BatchSizes:
        """For stars that have covariances of their own."""
        return self._sizes_of_stars(dense=True)

    def _sizes_of_stars(self, dense: bool) -> BatchSizes:
        emulator, nuisances = self._model.host_emulator, self.nuisances
        rows, n_pix = emulator.n_labels + 1, self._model.wave.size
        if nuisances is not None:  # rows of the velocities and of the polynomial, and all of them in Fourier space
            rows += len(nuisances.free) + nuisances.n_coefficients
            n_pix *= 4 if nuisances.moving else 1
        return BatchSizes.within(
            self.memory,
            emulator,
            rows,
            n_pix,
            self._model.noise.rank,
            len(self._model.training_labels.stars),
            self.optimiser.method != "lm",
            dense,
        )

    def _sizes_for(self, problem: Problem) -> BatchSizes:
        """Fewer places where each star has a line spread of its own, whose weights are as large as several rows."""
        sizes = self._dense_sizes if problem.dense else self._sizes
        return (
            sizes if problem.line_spread is None else dataclasses.replace(sizes, block=max(1, sizes.block // _WEIGHTS))
        )

    def _prepare(self, spectra: Spectra, velocity: np.ndarray | None, problem: Problem | None = None) -> Prepared:
        """Prepared spectra and where their fits start."""
        problem = self._problem if problem is None else problem
        began = time.perf_counter()
        prepared = self._model.prepare(spectra, velocity, covariance=problem.dense)
        forward = self._scaled.forward
        self.seconds_preparing += time.perf_counter() - began
        if not self._level_checked:
            warn_of_other_unit(self._model, prepared)
            self._level_checked = True
        good = prepared.good & (self._model.trained if forward is None else np.asarray(forward.usable))
        flux, ivar = (
            self._scaled.flux(prepared.flux),
            errors_of(self._model, self._scaled, prepared, good, problem.dense),
        )
        own = None if problem.line_spread is None else own_sigma(self._model.info, prepared).astype(flux.dtype)
        choose: Any = choose_starts if self.nuisances is None else choose_shifted_starts
        noise, block = problem.noise, (self._dense_sizes if problem.dense else self._sizes).block
        keeps = noise.rank and not problem.dense
        kept = map_padded(partial(factorised, noise), (ivar,), block, counted=True) if keeps else None

        def starts_of(flux: Any, ivar: Any, kept: Any, own: Any, count: int) -> Any:
            return choose(problem, self._templates, flux, ivar, self.n_starts, kept, count, own)

        starts = map_padded(starts_of, (flux, ivar, kept, own), block, counted=True)
        x = np.swapaxes(starts, 0, 1).reshape(-1, starts.shape[-1])
        no_errors = ~np.any(good & np.isfinite(prepared.ivar), axis=1)
        starting = Starts(x, flux, ivar, kept, line_spread=own)
        return Prepared(spectra, starting, good.sum(axis=1), prepared.snr(), no_errors)


def _second(finished: Callable[..., None], before: int, problems: int) -> None:
    """Progress of the fits with a prior."""
    finished(before + problems, 1)


def stack_tables(tables: list[LabelTable]) -> LabelTable:
    """Tables of the same columns below each other."""
    return tables[0] if len(tables) == 1 else vstack(tables, metadata_conflicts="silent")


def warn_without_errors(model: Model, spectra: Spectra) -> None:
    """Warn of spectra that state no errors though the training spectra did."""
    if model.info.has_errors and not spectra.has_errors and spectra.good.any():
        warnings.warn(
            f"{spectra.source} states no flux errors though the model's training spectra did; label errors hold "
            "the model error only (flag NO_ERRORS)",
            SlamWarning,
            stacklevel=4,
        )
