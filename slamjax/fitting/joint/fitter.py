"""`JointFitter`: labels of stars from all that was observed of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from slamjax._util.batching import map_padded
from slamjax._util.progress import reporter
from slamjax._util.threads import one_blas_thread
from slamjax.errors import SlamError
from slamjax.fitting.batches import Starts, minimise
from slamjax.fitting.joint.concluded import Concluded, latest, rows_of
from slamjax.fitting.joint.ends import GroupData, conclude
from slamjax.fitting.joint.kinds import Kind, Left, Seen
from slamjax.fitting.joint.layouts import Group, groups
from slamjax.fitting.joint.priors import star_prior
from slamjax.fitting.joint.starts import joint_starts, template_labels
from slamjax.fitting.joint.tables import JointFit, Results
from slamjax.fitting.levenberg_marquardt import LevenbergMarquardt
from slamjax.fitting.posterior_mode import fit_again
from slamjax.fitting.postprocess import Ends
from slamjax.fitting.prior import Prior, StarPrior
from slamjax.fitting.problem import Problem
from slamjax.fitting.rest_frame import ROUNDS, SMALL
from slamjax.fitting.sizes import BatchSizes
from slamjax.fitting.starts import factorised
from slamjax.forward.line_spread import JointLineSpreadGrid
from slamjax.model.joint import JointModel, joint_model
from slamjax.model.own_line_spread import half_width, with_line_spread_of
from slamjax.noise.joint import JointFactorised
from slamjax.spectra.observations import Observations
from slamjax.typing import LogPrior, Progress

#: Stars that are fitted at once.
_CHUNK = 4096
#: Memory of a problem with line spreads of its own, in units of that of one without: about.
_WEIGHTS = 4

#: Labels of single stars that are known from elsewhere, or a function ln p of the joint labels in jax.numpy.
JointPrior = Mapping[str, Any] | LogPrior | None


class JointFitter:
    """Fits of all that was observed of each star, under several models: made once, used for any number of stars.

    χ² is the sum over a star's spectra, each under its own model, with labels in common and the nuisances of each
    spectrum for itself. Spectra of one model share its emulator error (`slamjax.noise.visits`): photon noise averages
    down with their number, what the emulator gets wrong does not.

    Parameters
    ----------
    models : JointModel, or mapping of str to Model
    n_starts : int
        Starts per star.
    prior : optional
        Labels known from elsewhere, ``{"logg": (value, error)}``: numbers, or arrays with one value for each star (NaN:
        not known of that star); or a function ln p of the joint labels (L,) in jax.numpy.
    compress : bool
        Compress large emulators first where that moves no label by more than 1 % of its error.
    memory : float
        GiB that a batch may take on the device.
    velocity_floor : float
        km/s by which wavelengths drift between the spectra of a star, which no photon noise tells. Counts where a
        star's velocities are compared and averaged, not in the error of each.

    Raises
    ------
    SlamError
        If the models do not go together.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> blue, red = (slamjax.Recipe.make(wave_range=at, wave_unit="nm") for at in ((500, 560), (600, 660)))
    >>> options = {"emulator": slamjax.Polynomial(), "noise": "diagonal"}
    >>> models = {name: slamjax.train(stars[:100], ["teff"], recipe=recipe, **options)
    ...           for name, recipe in (("blue", blue), ("red", red))}
    >>> fitted = slamjax.JointFitter(models).fit({"blue": others[:4], "red": others[:4]})
    >>> len(fitted.labels), len(fitted.spectra)
    (4, 8)
    """

    def __init__(
        self,
        models: JointModel | Mapping[str, Any],
        *,
        n_starts: int = 3,
        prior: JointPrior = None,
        compress: bool = True,
        memory: float = 1.0,
        velocity_floor: float = 0.0,
    ) -> None:
        if n_starts < 1:
            raise SlamError(f"n_starts is {n_starts}; give at least 1")
        if not memory > 0:
            raise SlamError(f"memory is {memory} GiB; give more than 0")
        if not 0 <= velocity_floor < np.inf:
            raise SlamError(f"velocity_floor is {velocity_floor} km/s; give 0 or more")
        self.model, self.n_starts, self.prior = joint_model(models), n_starts, prior
        self.compress, self.memory, self.velocity_floor = compress, memory, velocity_floor
        self._minimiser = LevenbergMarquardt()
        self._wider: JointModel | None = None
        self._kinds: dict[tuple[str, int, int], Kind] = {}
        self._templates: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"JointFitter({self.model!r}, n_starts={self.n_starts})"

    def fit(self, stars: Observations | Mapping[str, Any], on_progress: Progress | bool | None = True) -> JointFit:
        """Labels, errors and flags of every star, and the nuisances of every spectrum.

        Parameters
        ----------
        stars : Observations, or mapping of str to Spectra with one row for each star
            As read; each model's recipe prepares its spectra. Where they are in the observed frame, the model was
            trained in the rest frame, and ``rv`` is no nuisance, each spectrum's velocity is measured and refined at
            the joint labels. Where spectra state a line spread each, predictions are convolved for each of them.
        on_progress : callable or bool
            Called with (stars done, stars in all). By default a line in terminals and notebooks; False for none.

        Returns
        -------
        JointFit

        Raises
        ------
        SlamError
            If spectra are of a kind that no model is for, or do not cover their model.
        """
        stars = stars if isinstance(stars, Observations) else Observations(stars)
        with reporter(on_progress) as report:
            report.stage("fitting stars")
            return self.fit_and_keep(stars, report)[0]

    def fit_and_keep(self, stars: Observations, report: Callable[[int, int], None]) -> tuple[JointFit, list[Concluded]]:
        """The fit, and the groups of stars in which they were fitted, for what follows it."""
        stars = self._as_given(stars)
        model, kinds = self._matched(stars)
        prior, own = star_prior(model, self.prior, len(stars))
        results = Results.empty(model, stars)
        concluded = []
        with one_blas_thread():
            for first in range(0, len(stars), _CHUNK):
                rows = np.arange(first, min(first + _CHUNK, len(stars)))
                run = _Run(self, model, kinds, stars[rows], prior, None if own is None else rows_of(own, rows))
                run.fit(partial(_report_behind, report, first, len(stars)))
                results.store(rows, run.results, stars)
                concluded += [each.behind(first) for each in run.concluded]
        return results.finished(stars, self.velocity_floor), concluded

    def _as_given(self, stars: Observations) -> Observations:
        """The spectra as they are fitted: with the model's line spread where the resolution is a nuisance."""
        unknown = set(stars.spectra) - set(self.model.models)
        if unknown:
            raise SlamError(
                f"spectra {min(unknown)!r} have no model; name them as one of {', '.join(self.model.models)}"
            )
        return stars.with_spectra(
            {
                name: with_line_spread_of(self.model.models[name].info, each)
                for name, each in stars.spectra.items()
                if self.model.nuisances[name].resolution is not None
            }
        )

    def _matched(self, stars: Observations) -> tuple[JointModel, dict[str, Kind]]:
        """The models whose predictions have lines as wide as the spectra's, and what is made of each once."""
        model = self.model.compressed() if self.compress else self.model
        wider = model.models | {
            name: model.models[name].matched(each) for name, each in stars.spectra.items() if len(each)
        }
        if any(wider[name] is not one for name, one in model.models.items()):
            if self._wider is None or any(wider[name] is not one for name, one in self._wider.models.items()):
                # what was made for other widths is given up
                self._wider = model.with_models(wider)
                self._kinds, self._templates = {}, {}
            model = self._wider
        kinds = {}
        for name, spectra in stars.spectra.items():
            one = model.models[name]
            n_neighbours = half_width(one.info, spectra)
            kind = Kind(name, one, model.nuisances[name], n_neighbours)
            kind = self._kinds.setdefault((name, id(one), n_neighbours), kind)
            kind.check(spectra)
            kinds[name] = kind
        return model, kinds

    def templates(self, model: JointModel, kinds: Mapping[str, Kind]) -> tuple[np.ndarray, dict[str, Any]]:
        """Joint scaled labels (T, L) of stars that all models know, and the templates of each."""
        key = tuple((name, id(kind)) for name, kind in kinds.items())
        if key not in self._templates:
            x = template_labels(model, kinds)
            self._templates[key] = x, {name: k.templates(model.own_labels(name, x)) for name, k in kinds.items()}
        return self._templates[key]


class _Run:
    """One fit of a chunk of stars."""

    def __init__(
        self,
        fitter: JointFitter,
        model: JointModel,
        kinds: dict[str, Kind],
        stars: Observations,
        prior: Prior | None,
        own: StarPrior | None,
    ) -> None:
        self.fitter, self.model, self.kinds, self.stars = fitter, model, kinds, stars
        self.prior, self.own = prior, own
        self.results = Results.empty(model, stars)
        self.concluded: list[Concluded] = []

    def fit(self, report: Callable[[int], None]) -> None:
        spectra, stars = self.stars.spectra, self.stars.stars
        velocity, contrast = {}, {}
        for name, kind in self.kinds.items():
            velocity[name], contrast[name] = kind.measured(spectra[name])
        seen = {name: kind.see(spectra[name], velocity[name]) for name, kind in self.kinds.items()}
        left: dict[str, Left] = {}
        wanted = np.arange(len(self.stars))
        measured = [name for name, kind in self.kinds.items() if kind.measures(spectra[name])]
        for _ in range(ROUNDS + 1 if measured else 1):
            self._fit_stars(wanted, seen, report)
            moved = np.zeros(len(self.stars), bool)
            for name in measured:
                kind = self.kinds[name]
                x = model_labels(self.model, name, self.results)[stars[name]]
                left[name] = kind.left(spectra[name], seen[name], x)
                rows = np.flatnonzero(np.abs(left[name].velocity) > SMALL * left[name].error)
                if rows.size:
                    again = kind.see(spectra[name][rows], seen[name].velocity[rows] + left[name].velocity[rows])
                    seen[name] = seen[name].with_rows(rows, again)
                    moved[stars[name][rows]] = True
            wanted = np.flatnonzero(moved)
            if not wanted.size:
                break
        self.concluded = latest(self.concluded, len(self.stars))
        for k, each in enumerate(self.concluded if measured else ()):
            data = dataclasses.replace(each.data, growth=_growth(each, left))
            result = conclude(self.model, each.problem, each.ends, data)
            self.concluded[k] = dataclasses.replace(each, data=data, result=result)
            self.results.put(self.concluded[k])
        for name in self.kinds:
            self.results.see(name, seen[name], left.get(name), contrast[name])
        report(len(self.stars))

    def _fit_stars(self, wanted: np.ndarray, seen: Mapping[str, Seen], report: Callable[[int], None]) -> None:
        """Fit some of the stars, all that have the same numbers of spectra together."""
        chosen = np.isin(np.arange(len(self.stars)), wanted)
        templates = self.fitter.templates(self.model, self.kinds)
        starts = joint_starts(self.model, self.kinds, self.stars.stars, seen, templates, chosen, self.fitter.n_starts)
        done = len(self.stars) - len(wanted)
        for group in groups(self.stars.stars, len(self.stars)):
            kept = chosen[group.stars]
            if kept.any():
                part = Group(group.layout, group.stars[kept], {name: each[kept] for name, each in group.rows.items()})
                self._fit_group(part, seen, starts)
                done += int(kept.sum())
                report(done)

    def _fit_group(self, group: Group, seen: Mapping[str, Seen], chosen: Any) -> None:
        parts = self.model.parts(group.layout)
        emulator, noise, spread = parts.emulator, parts.noise, self._line_spread(parts.emulator)
        problem = Problem(emulator, noise, parts.low, parts.high, "chi2", line_spread=spread)  # type: ignore[arg-type]
        data = self._data(group, problem, seen)
        x = self._first(group, problem, *chosen)
        block = self._block(problem, data.flux.shape[1])
        flat = np.swapaxes(x, 0, 1).reshape(-1, x.shape[2])
        began = Starts(flat, data.flux, data.ivar, data.factorised, line_spread=data.line_spread)
        (summary,) = minimise(self.fitter._minimiser, problem, [began], block)
        ends = Ends.from_summary(summary, self.fitter.n_starts)
        result = conclude(self.model, problem, ends, data)
        if len(group.layout) > 1 or self.prior is not None:
            # the models' spectra count by how noisy they turned out to be
            factor = (1 / result.scale).astype(data.flux.dtype)
            own = None
            if self.own is not None:
                own = jax.tree_util.tree_map(lambda a: a[group.stars].astype(data.flux.dtype), self.own)
            weighed = JointFactorised(data.factorised.parts, factor)
            starts = dataclasses.replace(began, factorised=weighed, prior=own)
            problem = dataclasses.replace(problem, prior=self.prior)
            ends = fit_again(self.fitter._minimiser, problem, ends, starts, block)
            result = conclude(self.model, problem, ends, data)
        fitted = Concluded(group.stars, group.rows, group.layout, problem, ends, data, result)
        self.concluded.append(fitted)
        self.results.put(fitted)

    def _line_spread(self, emulator: Any) -> Any:
        """What that of each spectrum is made from; None where no spectra have line spreads of their own."""
        grids = tuple(self.kinds[arm.name].line_spread for arm in emulator.arms)
        if all(grid is None for grid in grids):
            return None
        return JointLineSpreadGrid(grids, tuple(arm.span for arm in emulator.arms))

    def _data(self, group: Group, problem: Problem, seen: Mapping[str, Seen]) -> GroupData:
        flux, ivar, n_pix, no_errors, there, widths = [], [], [], [], [], []
        n = len(group.stars)
        for name, rows in group.rows.items():
            given = seen[name]
            present = rows >= 0
            flux.append(np.where(present[:, :, None], given.flux[rows], 0).reshape(n, -1))
            ivar.append(np.where(present[:, :, None], given.ivar[rows], 0).reshape(n, -1))
            # a place that is empty has the model's own lines
            width = 0 if given.line_spread is None else np.where(present[:, :, None], given.line_spread[rows], 0)
            widths.append(np.broadcast_to(width, (*rows.shape, given.flux.shape[1])).reshape(n, -1))
            n_pix.append(np.where(present, given.n_pix[rows], 0).sum(axis=1))
            no_errors.append((present & given.no_errors[rows] & (given.n_pix[rows] > 0)).any(axis=1))
            there.append(present.sum(axis=1))
            if rows.shape[1] > 1:
                _check_errors(name, self.stars, group.stars[no_errors[-1]])
        all_flux, all_ivar = (np.concatenate(each, axis=1) for each in (flux, ivar))
        block = self._block(problem, all_flux.shape[1])
        kept = map_padded(partial(factorised, problem.noise), (all_ivar,), block, 16, counted=True)
        counted, unstated, present = (np.stack(each, axis=1) for each in (n_pix, no_errors, there))
        own = None if problem.line_spread is None else np.concatenate(widths, axis=1).astype(all_flux.dtype)
        return GroupData(all_flux, all_ivar, kept, counted, unstated, present, own)

    def _first(self, group: Group, problem: Problem, x: np.ndarray, nuisances: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n, S, V) parameters to start from."""
        emulator: Any = problem.emulator
        labels = x[group.stars]
        middle = 0.5 * (np.asarray(problem.low) + np.asarray(problem.high))
        first = np.broadcast_to(middle, (*labels.shape[:2], emulator.n_parameters)).astype(labels.dtype)
        first[..., : labels.shape[2]] = labels
        for arm in reversed(emulator.arms):  # a nuisance that spectra share starts from the first of them
            rows, units, origins = group.rows[arm.name], np.asarray(arm.units), np.asarray(arm.origins)
            for visit, places in reversed(list(enumerate(arm.nuisances))):
                there = (rows[:, visit] >= 0)[:, None]
                for v, place in enumerate(places):
                    given = (nuisances[arm.name][rows[:, visit], :, v] - origins[v]) / units[v]
                    first[:, :, place] = np.where(there, given, first[:, :, place])
        return first

    def _block(self, problem: Problem, n_pix: int) -> int:
        """Problems in a batch within the memory budget."""
        emulator: Any = problem.emulator
        largest = max((arm.forward.emulator for arm in emulator.arms), key=lambda each: each.n_terms)
        rows = 1 + emulator.n_parameters
        noise: Any = problem.noise
        n_pix *= 4 if any(arm.forward.grid is not None for arm in emulator.arms) else 1
        block = BatchSizes.within(self.fitter.memory, largest, rows, n_pix, noise.rank, 1, False).block
        return block if problem.line_spread is None else max(1, block // _WEIGHTS)


def _report_behind(report: Callable[[int, int], None], first: int, total: int, done: int) -> None:
    report(first + done, total)


def model_labels(model: JointModel, name: str, results: Results) -> np.ndarray:
    """(N, L') a model's scaled labels of the stars as fitted; NaN where the fit failed."""
    x = model.own_labels(name, results.x)
    return np.where(results.failed[:, None], np.nan, x)


def _growth(group: Concluded, left: Mapping[str, Left]) -> dict[str, np.ndarray]:
    """(n, L') mean factor of a star's spectra, of each model whose velocities were measured."""
    growth = {}
    for name in left.keys() & group.rows.keys():
        rows = group.rows[name]
        there = (rows >= 0)[:, :, None]
        growth[name] = np.where(there, left[name].growth[rows], 0).sum(axis=1) / there.sum(axis=1)
    return growth


def _check_errors(name: str, stars: Observations, without: np.ndarray) -> None:
    if without.size:
        raise SlamError(
            f"star {stars.identifiers[without[0]]} has several spectra of {name!r}, and one of them states no errors: "
            "what they have in common is not known then; give errors (ivar), or fit each spectrum alone"
        )
