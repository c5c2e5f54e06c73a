"""What a joint fit gives: a table of the stars, and one of their spectra."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import QTable, vstack
from scipy.stats import chi2 as chi2_distribution

from slamjax.fitting.joint.concluded import Concluded
from slamjax.fitting.joint.kinds import Left, Seen
from slamjax.fitting.postprocess import velocity_columns
from slamjax.fitting.rest_frame import CONTRAST
from slamjax.flags import Flag
from slamjax.forward.nuisances import UNITS
from slamjax.io.label_table import LabelTable
from slamjax.model.joint import JointModel
from slamjax.spectra.observations import Observations
from slamjax.spectra.units import with_unit

#: A star's velocity varies if a constant one were this improbable.
VARIABLE = 1e-3


@dataclass(frozen=True, eq=False)
class JointFit:
    """Labels of N stars, and the nuisances of their M spectra.

    Attributes
    ----------
    labels : LabelTable
        One row for each star: ``star`` (its identifier), labels with errors, ``chi2``, ``n_pix``, ``n_spectra``; of
        each model ``n_<model>``, ``chi2_<model>`` and ``noise_scale_<model>``; ``flags``, ``cov``. Where stars have
        several velocities of one kind, their weighted mean ``rv`` with ``rv_err``, ``rv_chi2`` about it, and ``rv_p``,
        the probability of as large a value if the velocity were constant. Nuisances that all spectra of a star share
        have their columns here, too.
    spectra : QTable
        One row for each spectrum: ``star``, ``kind`` (its model), ``row`` in its Spectra, its free nuisances with
        errors, such as ``rv`` and ``rv_err`` (km/s), ``resolution`` or ``extinction`` (mag), ``n_pix``, ``snr`` and
        ``flags``.

    Examples
    --------
    >>> import slamjax
    >>> fitted = slamjax.fit({"blue": blue, "red": red}, observed)  # doctest: +SKIP
    >>> fitted.labels["star", "teff", "teff_err"], fitted.spectra["star", "kind", "rv"]  # doctest: +SKIP
    """

    labels: LabelTable
    spectra: QTable

    def __repr__(self) -> str:
        return f"JointFit({len(self.labels)} stars, {len(self.spectra)} spectra)"


@dataclass(frozen=True, eq=False)
class _Rows:
    """Arrays of the M spectra of one kind; ``photon`` are errors of velocities by what is not common to a star's."""

    columns: dict[str, np.ndarray]
    photon: np.ndarray
    n_pix: np.ndarray
    snr: np.ndarray
    flags: np.ndarray


@dataclass(eq=False)
class Results:
    """Arrays that are filled group by group; see `JointFit`."""

    model: JointModel
    x: np.ndarray
    covariance: np.ndarray
    chi2: np.ndarray
    scale: np.ndarray
    n_pix: np.ndarray
    n_iter: np.ndarray
    flags: np.ndarray
    failed: np.ndarray
    rows: dict[str, _Rows] = field(default_factory=dict)

    @classmethod
    def empty(cls, model: JointModel, stars: Observations) -> Results:
        """Of stars without spectra."""
        n, n_labels, n_models = len(stars), len(model.label_names), len(model.models)
        rows = {}
        for name, spectra in stars.spectra.items():
            m = len(spectra)
            free = model.nuisances[name].free
            columns = {each: np.full(m, np.nan) for each in free}
            columns |= {f"{each}_err": np.full(m, np.inf) for each in free}
            if spectra.frame == "observed" and "rv" not in columns and model.models[name].needs_rv(spectra):
                columns |= {"rv": np.full(m, np.nan), "rv_err": np.full(m, np.inf)}
            zero = np.zeros(m, np.int32)
            rows[name] = _Rows(columns, np.full(m, np.inf), zero.copy(), np.full(m, np.nan), zero.copy())
        return cls(
            model,
            np.full((n, n_labels), np.nan),
            np.full((n, n_labels, n_labels), np.nan),
            np.full((n, n_models), np.nan),
            np.full((n, n_models), np.nan),
            np.zeros((n, n_models), int),
            np.zeros(n, int),
            np.full(n, np.int32(Flag.NO_DATA)),
            np.ones(n, bool),
            rows,
        )

    def put(self, group: Concluded) -> None:
        """The results of a group."""
        emulator: Any = group.problem.emulator
        result, n_labels, stars = group.result, self.x.shape[1], group.stars
        self.x[stars], self.covariance[stars] = result.x[:, :n_labels], result.covariance[:, :n_labels, :n_labels]
        self.n_iter[stars], self.flags[stars], self.failed[stars] = result.n_iter, result.flags, result.failed
        names = list(self.model.models)
        for a, arm in enumerate(emulator.arms):
            k = names.index(arm.name)
            self.chi2[stars, k], self.scale[stars, k] = result.chi2[:, a], result.scale[:, a]
            self.n_pix[stars, k] = group.data.n_pix[:, a]
            if arm.forward.free:
                self._put_nuisances(group, arm)

    def _put_nuisances(self, group: Concluded, arm: Any) -> None:
        result = group.result
        rows, into = group.rows[arm.name], self.rows[arm.name]
        places = np.array(arm.nuisances)
        units, origins = np.asarray(arm.units, float), np.asarray(arm.origins, float)
        own = "rv" in arm.forward.free
        if own:
            into.photon[rows[rows >= 0]] = np.inf
        for visit in range(rows.shape[1]):
            there = (rows[:, visit] >= 0) & ~result.failed
            at = places[visit]
            covariance = result.covariance[:, at[:, None], at[None, :]] * units[:, None] * units
            columns, stuck = velocity_columns(arm.forward, result.x[:, at] * units + origins, covariance)
            for name, values in columns.items():
                into.columns[name][rows[there, visit]] = values[there]
            self.flags[group.stars[there & stuck]] |= np.int32(Flag.NUISANCE_AT_BOUND)
            into.flags[rows[there, visit]] = np.where(stuck[there], np.int32(Flag.NUISANCE_AT_BOUND), 0)
        if own and rows.shape[1] > 1:
            self._put_photon(group, arm)

    def _put_photon(self, group: Concluded, arm: Any) -> None:
        """Errors of velocities by what a star's spectra do not share: half the variance of differences.

        With C their covariance, that of a difference is C_jj + C_kk − 2 C_jk; the mean over the others, less theirs.
        """
        result = group.result
        rows, v = group.rows[arm.name], arm.forward.free.index("rv")
        at = np.array([visit[v] for visit in arm.nuisances])
        unit = float(np.asarray(arm.units)[v]) * float(arm.forward.velocity("rv", 1.0))
        there = (rows >= 0) & ~result.failed[:, None]
        c = result.covariance[:, at[:, None], at[None, :]] * unit**2
        both = there[:, :, None] & there[:, None, :] & ~np.eye(len(at), dtype=bool)
        common = np.where(both, np.nan_to_num(c), 0).sum(axis=(1, 2)) / np.maximum(both.sum(axis=(1, 2)), 1)
        variance = np.einsum("nkk->nk", c) - np.maximum(common, 0)[:, None]
        error = np.sqrt(np.maximum(variance, 0))
        self.rows[arm.name].photon[rows[there]] = error[there]

    def see(self, name: str, seen: Seen, left: Left | None, contrast: np.ndarray) -> None:
        """What was found of each spectrum of a kind outside the fit."""
        into = self.rows[name]
        into.n_pix[:], into.snr[:] = seen.n_pix, seen.snr
        if left is None:
            return
        known = np.isfinite(left.velocity) & (seen.n_pix > 0)
        into.columns["rv"][:] = np.where(known, seen.velocity + left.velocity, np.nan)
        into.columns["rv_err"][:] = np.where(known, left.error, np.inf)
        into.photon[:] = np.where(known, left.photon, np.inf)
        unsure = (seen.n_pix > 0) & ~(contrast > CONTRAST)
        into.flags[unsure] |= np.int32(Flag.UNSURE_VELOCITY)

    def store(self, stars: np.ndarray, part: Results, of: Observations) -> None:
        """The results of some of the stars ``of`` which these are."""
        for name in ("x", "covariance", "chi2", "scale", "n_pix", "n_iter", "flags", "failed"):
            getattr(self, name)[stars] = getattr(part, name)
        for name, rows in part.rows.items():
            at, into = np.flatnonzero(np.isin(of.stars[name], stars)), self.rows[name]
            for column, values in rows.columns.items():
                into.columns[column][at] = values
            for each in ("photon", "n_pix", "snr", "flags"):
                getattr(into, each)[at] = getattr(rows, each)

    def finished(self, stars: Observations, velocity_floor: float = 0.0) -> JointFit:
        """As tables; ``velocity_floor`` (km/s) is part of what velocities of a star differ by."""
        spectra = vstack([self._spectra(name, stars) for name in stars.spectra], metadata_conflicts="silent")
        return JointFit(self._labels(stars, velocity_floor), spectra)

    def _spectra(self, name: str, stars: Observations) -> QTable:
        rows, table = self.rows[name], QTable()
        table["star"] = stars.identifiers[stars.stars[name]]
        table["kind"] = np.full(len(rows.n_pix), name)
        table["row"] = stars.spectra[name].rows
        for column, values in rows.columns.items():
            table[column] = with_unit(values, _unit_of(column))
        table["n_pix"], table["snr"], table["flags"] = rows.n_pix, rows.snr.astype(np.float32), rows.flags
        return table

    def _labels(self, stars: Observations, velocity_floor: float) -> LabelTable:
        model, table = self.model, LabelTable()
        table["star"] = stars.identifiers
        scaling = model.scaling
        slope = np.asarray(scaling.slope(self.x))
        labels = np.where(self.failed[:, None], np.nan, scaling.inverse(self.x))
        covariance = self.covariance * slope[:, :, None] * slope[:, None, :]
        eye = np.eye(self.x.shape[1], dtype=bool)
        covariance = np.where(self.failed[:, None, None], np.where(eye, np.inf, np.nan), covariance)
        errors = np.sqrt(np.einsum("nll->nl", covariance))
        velocity = self._velocities(stars, velocity_floor)
        flags = self.flags.copy()
        if velocity is not None:
            for column, values in velocity.items():
                table[column] = with_unit(values, _unit_of(column)) if column in ("rv", "rv_err") else values
            flags |= np.where(velocity["rv_p"] < VARIABLE, np.int32(Flag.VARIABLE_VELOCITY), np.int32(0))
        for column, values in self._shared(stars).items():
            table[column] = with_unit(values, _unit_of(column))
        for k, (name, unit) in enumerate(zip(model.label_names, model.label_units, strict=True)):
            table[name] = with_unit(labels[:, k], unit)
            table[f"{name}_err"] = with_unit(errors[:, k], unit)
        for name, rows in self.rows.items():
            some = np.zeros(len(flags), bool)
            some[stars.stars[name][(rows.flags & Flag.UNSURE_VELOCITY) > 0]] = True
            flags |= np.where(some, np.int32(Flag.UNSURE_VELOCITY), np.int32(0))
        known = np.isfinite(self.chi2)
        table["chi2"] = np.where(known.any(axis=1), np.nansum(self.chi2, axis=1), np.nan)
        table["n_pix"] = self.n_pix.sum(axis=1).astype(np.int32)
        counts = stars.counts()
        table["n_spectra"] = sum(counts.values())
        for k, name in enumerate(model.models):
            if name in counts:
                table[f"n_{name}"] = counts[name]
                table[f"chi2_{name}"], table[f"noise_scale_{name}"] = self.chi2[:, k], self.scale[:, k]
        table["n_iter"], table["flags"], table["cov"] = self.n_iter.astype(np.int32), flags, covariance
        table.meta["labels"] = ",".join(model.label_names)
        return table

    def _shared(self, stars: Observations) -> dict[str, np.ndarray]:
        """Nuisances that the spectra of a star share, of each star; a velocity is among `_velocities`."""
        columns: dict[str, np.ndarray] = {}
        for column in (each for name in self.model.shared if name != "rv" for each in (name, f"{name}_err")):
            having = [name for name, rows in self.rows.items() if column in rows.columns]
            if having:
                columns[column] = np.full(len(stars), np.inf if column.endswith("_err") else np.nan)
            for name in having:
                values = self.rows[name].columns[column]
                known = ~np.isnan(values)
                columns[column][stars.stars[name][known]] = values[known]
        return columns

    def _velocities(self, stars: Observations, floor: float) -> dict[str, np.ndarray] | None:
        """Each star's mean velocity and whether it varies, by errors that its spectra do not share."""
        kinds = [name for name, rows in self.rows.items() if "rv" in rows.columns]
        if not kinds:
            return None
        n = len(stars)
        total, weights, about, dof = (np.zeros(n) for _ in range(4))
        common, counted = np.zeros(n), np.zeros(n, bool)
        for name in kinds:
            rows, of = self.rows[name], stars.stars[name]
            value, error = rows.columns["rv"], rows.columns["rv_err"]
            known = np.isfinite(value) & np.isfinite(error) & (error > 0)
            if "rv" in self.model.shared and "rv" in self.model.nuisances[name].free:
                # one velocity, however many spectra have it
                first = np.unique(np.where(known, of, n), return_index=True)[1]
                known &= np.isin(np.arange(len(of)), first) & ~counted[of]
                counted[of[known]] = True
            # of one spectrum nothing is known of what it shares
            own = np.where(np.isfinite(rows.photon) & (rows.photon > 0), np.minimum(rows.photon, error), error)
            w = np.where(known, 1 / (np.square(np.where(known, own, 1)) + floor**2), 0)
            value = np.where(known, value, 0)
            w_star, v_star = np.bincount(of, w, n), np.bincount(of, w * value, n)
            mean = v_star / np.where(w_star > 0, w_star, 1)
            about += np.bincount(of, w * np.square(value - mean[of]), n)
            dof += np.maximum(np.bincount(of, known, n) - 1, 0)
            total, weights = total + v_star, weights + w_star
            shared = np.square(np.where(known, error, 0)) - np.square(np.where(known, own, 0))
            common += np.bincount(of, w * shared, n)
        there = weights > 0
        safe = np.where(there, weights, 1)
        error = np.sqrt(1 / safe + np.maximum(common, 0) / safe)
        varies = np.where(dof > 0, chi2_distribution.sf(about, np.maximum(dof, 1)), np.nan)
        return {
            "rv": np.where(there, total / safe, np.nan),
            "rv_err": np.where(there, error, np.inf),
            "rv_chi2": np.where(dof > 0, about, np.nan),
            "rv_p": varies,
        }


def _unit_of(column: str) -> str:
    """Of a nuisance or its error."""
    return UNITS.get(column.removesuffix("_err"), "")
