"""Fits of two stars to each spectrum, and how much better they are than fits of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u

from slamjax._util.batching import map_padded
from slamjax.emulators.training_labels import far_apart
from slamjax.errors import SlamError
from slamjax.fitting.batches import Starts, minimise
from slamjax.fitting.covariance import covariances
from slamjax.fitting.fitter import Fitter
from slamjax.fitting.outcome import Prepared
from slamjax.fitting.pair_starts import N_STARTS, pair_starts
from slamjax.fitting.postprocess import FEW, Ends, at_bound
from slamjax.fitting.problem import Problem
from slamjax.fitting.starts import sample_stars
from slamjax.flags import Flag
from slamjax.forward.nuisances import Free, Nuisances
from slamjax.forward.pair import Light, PairEmulator
from slamjax.io.label_table import LabelTable
from slamjax.model.model import Model
from slamjax.noise.calibration import PhotonShares
from slamjax.spectra.covariance import refuse_covariance
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import with_unit
from slamjax.typing import Progress

#: ΔBIC above which a spectrum is called that of two stars.
TWO_STARS_BIC = 10.0
#: Labels that each star has for itself by default.
_OWN = ("teff", "logg")
#: Kinds of second stars that fits may begin with, far apart in labels, and stars in a block of them.
_OTHERS, _BLOCK = 8, 64


class PairFitter(Fitter):
    """A `Fitter` of one star with a free velocity that then fits two."""

    def __init__(
        self, model: Model, own: tuple[int, ...], light: Light | None, largest_rv: float, memory: float
    ) -> None:
        nuisances = Nuisances(rv=Free(-largest_rv, largest_rv))
        super().__init__(model, nuisances=nuisances, compress=False, memory=memory)
        self.own, self.light, self.largest_rv = own, light, largest_rv

    def check(self, spectra: Spectra) -> None:
        if isinstance(spectra, Spectra):
            refuse_covariance(spectra, "a fit of two stars")
        super().check(spectra)

    def _matched(self, spectra: Spectra) -> Fitter:
        model = self._model.matched(spectra)
        return self if model is self._model else PairFitter(model, self.own, self.light, self.largest_rv, self.memory)

    def _fit_parts(self, parts: Iterable[Spectra], report: Callable[[int], None] | None) -> Iterator[LabelTable]:
        done = 0
        for spectra in self._chunks(parts):
            if self._kind(spectra)[1]:
                raise SlamError(f"{spectra.source} states a line spread of each star; two stars need one of all")
            prepared = self._prepare(spectra, np.zeros(len(spectra)) if self.model.needs_rv(spectra) else None)
            (summary,) = self._minimise(self._problem, [prepared.starts], None)
            single = Ends.from_summary(summary, self.n_starts)
            starts = self._pair_starts(prepared, single)
            block = max(1, self._sizes.block // 4)
            (summary,) = minimise(self._minimiser, self._pair_problem, [starts], block)
            yield self._table(prepared, single, Ends.from_summary(summary, N_STARTS))
            done += len(spectra)
            if report is not None:
                report(done)

    @cached_property
    def _pair_problem(self) -> Problem:
        one = self._problem
        pair = PairEmulator.from_forward(one.emulator, self.own, self.light)  # type: ignore[arg-type]
        low, high = map(jnp.asarray, pair.bounds(np.asarray(one.low), np.asarray(one.high)))
        return dataclasses.replace(one, emulator=pair, low=low, high=high)  # type: ignore[arg-type]

    def _pair_starts(self, prepared: Prepared, single: Ends) -> Starts:
        labels = sample_stars(np.asarray(self._model.training_labels.stars))
        others = labels[far_apart(labels, _OTHERS)][:, list(self.own)]
        given = prepared.starts
        x = np.nan_to_num(single.of_best(single.x)).astype(given.flux.dtype)

        def starts_of(x: Any, stars: Any) -> Any:
            return pair_starts(self._pair_problem, x, jnp.asarray(others, x.dtype), stars)

        stars = given.stars._replace(factorised=None)
        starts = map_padded(starts_of, (x, stars), _BLOCK)
        return dataclasses.replace(given, x=np.swapaxes(starts, 0, 1).reshape(-1, starts.shape[-1]))

    def _table(self, prepared: Prepared, single: Ends, pair: Ends) -> LabelTable:
        problem, n_pix = self._pair_problem, prepared.n_pix
        x, chi2, curvature = (pair.of_best(each) for each in (pair.x, pair.chi2, pair.curvature))
        x, alone = x.astype(float), single.of_best(single.chi2)
        low, high = np.asarray(problem.low, float), np.asarray(problem.high, float)
        empty = n_pix == 0
        broken = ~(np.isfinite(chi2) & np.isfinite(alone) & np.isfinite(curvature).all(axis=(1, 2)))
        failed = empty | broken | ~pair.of_best(pair.converged)
        curvature = np.where((empty | broken)[:, None, None], np.eye(x.shape[1]), curvature)
        scale = self._noise_scale(x, np.where(broken, 1, chi2), n_pix)
        covariance = covariances(curvature, high - low)[0] * scale[:, None, None]
        x, covariance = self._brighter_first(x, covariance)
        n_more = x.shape[1] - single.x.shape[-1]
        delta_bic = (alone - chi2) / scale - n_more * np.log(np.maximum(n_pix, 1))
        # a single star that ended nowhere near its minimum would make any second star look probable
        delta_bic[failed | ~single.of_best(single.converged)] = np.nan
        n_labels = self._n_labels
        flags = np.zeros(len(x), np.int32)
        stuck = at_bound(x[:, :n_labels], covariance[:, :n_labels, :n_labels], low[:n_labels], high[:n_labels])
        velocities = slice(n_labels, n_labels + 2)
        edge = 1e-3 * (high - low)[velocities]
        moving = x[:, velocities]
        conditions = {
            Flag.NOT_CONVERGED: failed,
            Flag.AT_BOUND: stuck,
            Flag.NUISANCE_AT_BOUND: np.any(
                (moving <= low[velocities] + edge) | (moving >= high[velocities] - edge), axis=1
            ),
            Flag.FEW_PIXELS: n_pix < FEW * int(np.asarray(self._scaled.emulator.usable).sum()),
            Flag.NO_ERRORS: prepared.no_errors & self.model.info.has_errors,
            Flag.TWO_STARS: delta_bic > TWO_STARS_BIC,
        }
        for flag, condition in conditions.items():
            flags |= np.where(condition, np.int32(flag), np.int32(0))
        table = self._columns(prepared.spectra, x, covariance, failed)
        table["chi2"], table["chi2_single"] = np.where(empty, np.nan, chi2), np.where(empty, np.nan, alone)
        table["delta_bic"] = delta_bic
        table["n_pix"], table["snr"] = n_pix.astype(np.int32), np.asarray(prepared.snr, np.float32)
        table["flags"] = np.where(empty, np.int32(Flag.NO_DATA), flags)
        table["noise_scale"] = np.where(failed, np.nan, scale)
        return table

    def _noise_scale(self, x: np.ndarray, chi2: np.ndarray, n_pix: np.ndarray) -> np.ndarray:
        """(N,) factor by which each star's Σ exceeds the noise model's, by the χ² of two stars."""
        n = self._problem.emulator.scaling.n_labels
        distance = self._model.training_labels.neighbour_distance(x[:, :n])
        dof = np.maximum(n_pix - x.shape[1], 1)
        shares = PhotonShares.none(n_pix, n)
        scale = self._model.info.calibration.star_noise(chi2, n_pix, dof, distance, shares).noise_scale(n)
        return np.where(scale > 0, scale, 1)

    @property
    def _n_labels(self) -> int:
        """Labels of both stars together, which come first among the parameters."""
        return len(self._model.label_names) + len(self.own)

    def _share(self, x: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) the second star's share of the light, the mean over pixels, and its error."""
        if self.light is None:
            return x[:, -1], np.sqrt(covariance[:, -1, -1])
        pair: Any = self._pair_problem.emulator

        def mean(one: Any) -> Any:
            return jnp.mean(pair.share(one))

        at = jnp.asarray(x)
        slope = np.asarray(jax.vmap(jax.grad(mean))(at), float)
        variance = np.einsum("ni,nij,nj->n", slope, covariance, slope)
        return np.asarray(jax.vmap(mean)(at), float), np.sqrt(np.maximum(variance, 0))

    def _brighter_first(self, x: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stars are exchanged where the light that follows from their labels says that the second is the brighter."""
        if self.light is None:
            return x, covariance
        n, order = len(self._model.label_names), np.arange(x.shape[1])
        second = [*range(n, self._n_labels), self._n_labels + 1]
        first = [*self.own, self._n_labels]
        order[first], order[second] = second, first
        swapped = self._share(x, covariance)[0] > 0.5
        x, covariance = x.copy(), covariance.copy()
        x[swapped] = x[swapped][:, order]
        covariance[swapped] = covariance[swapped][:, order][:, :, order]
        return x, covariance

    def _columns(self, spectra: Spectra, x: np.ndarray, covariance: np.ndarray, failed: np.ndarray) -> LabelTable:
        """Rows, identifiers, labels of both stars, velocities and light."""
        error = np.sqrt(np.einsum("nll->nl", covariance))
        info, scaling = self._model.info, self._model.host_emulator.scaling
        forward: Any = self._problem.emulator
        n, table = scaling.n_labels, LabelTable()
        table["row"] = spectra.rows
        for name, column in spectra.columns().items():
            if column.dtype.kind in "iuSUb" and name not in (*self._model.label_names, *table.colnames):
                table[name] = column
        second = x[:, :n].copy()
        second[:, list(self.own)] = x[:, n : n + len(self.own)]
        second_error = error[:, :n].copy()
        second_error[:, list(self.own)] = error[:, n : n + len(self.own)]
        names: list[str] = []
        for star, (scaled, sigma) in enumerate(((x[:, :n], error[:, :n]), (second, second_error)), start=1):
            values, slope = np.array(scaling.inverse(scaled)), np.asarray(scaling.slope(scaled))
            for k, label in enumerate(self._model.label_names):
                name = f"{label}_{star}"
                names.append(name)
                table[name] = with_unit(np.where(failed, np.nan, values[:, k]), info.label_units[k])
                table[f"{name}_err"] = with_unit(
                    np.where(failed, np.inf, np.abs(slope[:, k]) * sigma[:, k]), info.label_units[k]
                )
        coordinate = forward.coordinate_of("rv")
        for star, k in ((1, self._n_labels), (2, self._n_labels + 1)):
            table[f"rv_{star}"] = np.where(failed, np.nan, coordinate.value(x[:, k])) * u.km / u.s
            table[f"rv_{star}_err"] = np.where(failed, np.inf, coordinate.error(x[:, k], error[:, k])) * u.km / u.s
        share, share_error = self._share(x, covariance)
        table["light_2"] = np.where(failed, np.nan, share)
        table["light_2_err"] = np.where(failed, np.inf, share_error)
        table.meta["labels"] = ",".join(names)
        return table


def fit_pairs(
    model: Model,
    spectra: Spectra,
    *,
    common: Sequence[str] | None = None,
    light: Light | None = None,
    largest_rv: float = 500.0,
    memory: float = 1.0,
    on_progress: Progress | bool | None = True,
) -> LabelTable:
    """Fit two stars to each spectrum, and compare that with one star.

    Parameters
    ----------
    model : Model
        Of spectra that are divided by their continuum.
    spectra : Spectra
    common : labels that are the same in both stars, optional
        By default all but teff and logg.
    light : callable, optional
        Brightness of a star, up to a constant, from its labels: a function in jax.numpy of (..., L) labels in the
        model's units that gives (...), or (..., P) where it depends on wavelength. The second star's share of the light
        follows from it, instead of being free.
    largest_rv : float
        Bound of both velocities, km/s.
    memory : float
        GiB that a batch may take on the device.
    on_progress : callable or bool
        As of `slamjax.fit`.

    Returns
    -------
    LabelTable
        One row per spectrum: <label>_1 and <label>_2 with errors, rv_1 and rv_2 (km/s), ``light_2`` (the second star's
        share of the light, 0 to 0.5), ``chi2``, ``chi2_single``, ``delta_bic`` and ``flags``.
        ``delta_bic`` is the decrease of χ² by the second star, in units of the star's noise scale, less k ln n for its
        k parameters and n pixels, and NaN where either fit did not converge; where it is large, the flag TWO_STARS is
        set. Elsewhere the second star means nothing.

    Raises
    ------
    SlamError
        If a common label is not the model's, or no label is left to the second star.

    Examples
    --------
    >>> import slamjax
    >>> pairs = slamjax.fit_pairs(model, spectra)  # doctest: +SKIP
    >>> pairs[pairs["flags"] & slamjax.Flag.TWO_STARS > 0]["teff_1", "teff_2", "rv_1", "rv_2"]  # doctest: +SKIP
    """
    names = model.label_names
    common = tuple(name for name in names if name not in _OWN) if common is None else tuple(common)
    unknown = sorted(set(common) - set(names))
    if unknown:
        raise SlamError(f"common has {unknown[0]!r}; the model's labels are {', '.join(names)}")
    own = tuple(k for k, name in enumerate(names) if name not in common)
    if not own:
        raise SlamError(f"all labels ({', '.join(names)}) are common to both stars; leave one out of common")
    return PairFitter(model, own, light, largest_rv, memory).fit(spectra, on_progress)
