"""The posterior of many stars: draws, diagnostics, tables, files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u

from slamjax._util.cards import html_card
from slamjax._util.files import existing_file
from slamjax.errors import SlamError
from slamjax.forward.nuisances import R_V, Free, Nuisances
from slamjax.io.label_table import BriefTable, LabelTable, brief_rows
from slamjax.model.model import Model
from slamjax.sampling.arviz_io import read_netcdf, to_inference_data, write_netcdf
from slamjax.sampling.diagnostics import Diagnostics
from slamjax.sampling.summary import SHOWN, posterior_facts
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import with_unit

if TYPE_CHECKING:
    from arviz import InferenceData

#: Quantiles of the table, by the suffix of their columns.
QUANTILES = {"q2_5": 0.025, "q16": 0.16, "q50": 0.5, "q84": 0.84, "q97_5": 0.975}


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of the labels of N stars, and of the velocities that were sampled with them.

    `slamjax.sample` returns it. ``posterior["teff"]`` are the draws of one label, ``posterior[i]`` and
    ``posterior[2:5]`` the posteriors of some stars; iteration goes over stars.

    Attributes
    ----------
    label_names, label_units : tuple of str
        Those of the model, fixed labels included; then nuisances (rv, sigma_v, vsini, resolution, extinction, r_v), if
        sampled.
    labels : (chain, draw, star, label) float array
        Draws in physical units; NaN for a star that could not be sampled.
    log_density : (chain, draw, star) float array
        ln of the posterior density of the scaled labels, up to the evidence.
    diverging : (chain, draw, star) bool array
        Whether a draw ended a diverging trajectory.
    diagnostics : Diagnostics
        R-hat and effective sample sizes, (star, label). Those of importance draws are the weights' effective sample
        size.
    khat : (star,) float array
        Pareto shape of the importance weights, NaN where there are none.
    sampler : (star,) str array
        The sampler of the draws; "" where there are none.
    flags : (star,) int array
        `slamjax.Flag`: those of the fit, and LOW_ESS, HIGH_RHAT, DIVERGENCES, NOT_SAMPLED.
    stars : dict of (star,) arrays
        Row in the input, identifiers, reference labels, S/N.
    attrs : dict
        Provenance: settings, how the likelihood was evaluated, the model.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.sampling import Diagnostics, Posterior
    >>> rng = np.random.default_rng(0)
    >>> draws = rng.normal([4500, 2.0], [50, 0.1], size=(2, 500, 3, 2))  # chain, draw, star, label
    >>> ess = np.full((3, 2), 1000.0)
    >>> posterior = Posterior(
    ...     ("teff", "logg"), ("K", "dex"), draws, np.zeros(draws.shape[:3]), np.zeros(draws.shape[:3], bool),
    ...     Diagnostics(np.ones((3, 2)), ess, ess), khat=np.full(3, 0.1), sampler=np.full(3, "importance"),
    ...     flags=np.zeros(3, int), stars={"row": np.arange(3)},
    ... )
    >>> posterior
    Posterior(teff, logg; 3 stars, 2 chains of 500 draws)
    >>> posterior["teff"].shape
    (2, 500, 3)
    >>> posterior[1:]
    Posterior(teff, logg; 2 stars, 2 chains of 500 draws)
    >>> posterior.table()["teff_err"].round(-1)
    <Quantity [50., 50., 50.] K>
    """

    label_names: tuple[str, ...]
    label_units: tuple[str, ...]
    labels: np.ndarray
    log_density: np.ndarray
    diverging: np.ndarray
    diagnostics: Diagnostics
    khat: np.ndarray
    sampler: np.ndarray
    flags: np.ndarray
    stars: dict[str, np.ndarray]
    attrs: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.labels.shape[2]

    def __repr__(self) -> str:
        chains, draws, stars, _ = self.labels.shape
        return f"Posterior({', '.join(self.label_names)}; {stars} stars, {chains} chains of {draws} draws)"

    def facts(self) -> dict[str, str]:
        """What this posterior is, in words, by topic."""
        return posterior_facts(self)

    def title(self) -> str:
        """What it is, in a line."""
        chains, draws, stars, _ = self.labels.shape
        return f"Posterior of {stars} star{'' if stars == 1 else 's'}, {chains} chains of {draws} draws"

    def _repr_html_(self) -> str:
        return html_card(self.title(), self.facts(), *brief_rows(self[:SHOWN].brief(), len(self)))

    @overload
    def __getitem__(self, key: str) -> np.ndarray: ...
    @overload
    def __getitem__(self, key: int | slice | np.ndarray | list[int] | list[bool]) -> Posterior: ...
    def __getitem__(self, key: Any) -> Any:
        """Draws (chain, draw, star) of a label, or the posterior of some stars.

        Parameters
        ----------
        key : str, int, slice, or array of int or bool
            A label's name; or positions of stars, or a mask (N,). A single integer gives a posterior of one star.

        Raises
        ------
        KeyError
            For a name that is not a label.
        IndexError
            For a position beyond the stars, or a mask of another length.
        TypeError
            For anything else.
        """
        if isinstance(key, str):
            if key not in self.label_names:
                raise KeyError(f"{key!r}; the labels are {', '.join(self.label_names)}")
            return self.labels[..., self.label_names.index(key)]
        rows = self._rows(key)
        quality = self.diagnostics
        return replace(
            self,
            labels=self.labels[:, :, rows],
            log_density=self.log_density[:, :, rows],
            diverging=self.diverging[:, :, rows],
            diagnostics=Diagnostics(quality.rhat[rows], quality.ess_bulk[rows], quality.ess_tail[rows]),
            khat=self.khat[rows],
            sampler=self.sampler[rows],
            flags=self.flags[rows],
            stars={name: values[rows] for name, values in self.stars.items()},
        )

    def _rows(self, key: Any) -> np.ndarray | slice:
        """Positions of the stars that an index means."""
        if isinstance(key, slice):
            return key
        rows = np.atleast_1d(np.asarray(key))
        if rows.size == 0 and not isinstance(key, tuple):
            return np.empty(0, int)
        if isinstance(key, tuple) or rows.ndim != 1 or rows.dtype.kind not in "biu":
            raise TypeError(f"index {key!r}; give a label's name, or positions of stars: an int, slice, list or mask")
        if rows.dtype.kind == "b":
            if rows.size != len(self):
                raise IndexError(f"the mask has {rows.size} elements; the posterior has {len(self)} stars")
            return np.flatnonzero(rows)
        beyond = rows[(rows < -len(self)) | (rows >= len(self))]
        if beyond.size:
            raise IndexError(f"star {beyond[0]}; the posterior has {len(self)} stars, 0 to {len(self) - 1}")
        return rows

    @cached_property
    def arviz(self) -> InferenceData:
        """The posterior as ArviZ InferenceData, made once; see `to_arviz`."""
        return self.to_arviz()

    def to_arviz(self) -> InferenceData:
        """The posterior as a new ArviZ InferenceData.

        Group posterior has one variable per label with dimensions chain, draw, star, where star is the row in the
        input; sample_stats has lp and diverging; constant_data has what is known of each star.
        """
        return to_inference_data(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a NetCDF file for `read`. No partial file is left if that fails.

        Raises
        ------
        SlamError
            If the file cannot be written, or ArviZ is not installed.
        """
        write_netcdf(self, path)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Posterior:
        """Read a file that `write` wrote.

        Raises
        ------
        SlamError
            If the file is missing, damaged or not a posterior, or ArviZ is not installed.
        """
        return cls(**read_netcdf(existing_file(path)))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (star, label) and covariance (star, label, label) of the draws."""
        flat = self.labels.reshape(-1, *self.labels.shape[2:]).astype(np.float64)
        mean = flat.mean(axis=0)
        centred = flat - mean
        return mean, np.einsum("dni,dnj->nij", centred, centred) / max(1, len(flat) - 1)

    def table(self) -> LabelTable:
        """Means, standard deviations, quantiles and diagnostics: one row per star, as of `slamjax.fit`.

        Returns
        -------
        LabelTable
            Columns: those of ``stars``; for each label <label>, <label>_err (standard deviation), <label>_ref (where
            the input has it), <label>_q2_5 … <label>_q97_5, all Quantities, and <label>_rhat, <label>_ess_bulk,
            <label>_ess_tail; then ``n_divergent``, ``khat``, ``sampler``, ``flags``, and ``cov`` and ``corr``
            (label, label).
        """
        mean, covariance = self.moments()
        sd = np.sqrt(np.einsum("nll->nl", covariance))
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = covariance / (sd[:, :, None] * sd[:, None, :])
        quantiles = np.quantile(self.labels.astype(np.float64), list(QUANTILES.values()), axis=(0, 1))
        table = LabelTable({name: values for name, values in self.stars.items() if not name.endswith("_ref")})
        for name in {"rv", "rv_err"} & set(table.colnames):
            table[name] = table[name] * (u.km / u.s)
        for k, (name, unit) in enumerate(zip(self.label_names, self.label_units, strict=True)):
            table[name] = with_unit(mean[:, k], unit)
            table[f"{name}_err"] = with_unit(sd[:, k], unit)
            if f"{name}_ref" in self.stars:
                table[f"{name}_ref"] = with_unit(self.stars[f"{name}_ref"], unit)
            for suffix, values in zip(QUANTILES, quantiles, strict=True):
                table[f"{name}_{suffix}"] = with_unit(values[:, k], unit)
            table[f"{name}_rhat"] = self.diagnostics.rhat[:, k]
            table[f"{name}_ess_bulk"] = self.diagnostics.ess_bulk[:, k]
            table[f"{name}_ess_tail"] = self.diagnostics.ess_tail[:, k]
        table["n_divergent"] = self.diverging.sum(axis=(0, 1)).astype(np.int32)
        table["khat"] = self.khat
        table["sampler"] = self.sampler.astype(str)
        table["flags"] = self.flags.astype(np.int32)
        table["cov"] = covariance
        table["corr"] = correlation
        table.meta["labels"] = ",".join(self.label_names)
        return table

    def brief(self) -> BriefTable:
        """Each star's name, its labels rounded to their errors, and its flags in words; see `LabelTable.brief`."""
        return self.table().brief()

    def predictive(
        self,
        model: Model,
        n: int = 100,
        *,
        with_noise: bool = False,
        ivar: np.ndarray | None = None,
        spectra: Spectra | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Spectra predicted at n draws of each star, from all chains together.

        Nuisances that were sampled are applied. A polynomial that was marginalised is 1, and fixed velocities and
        extinctions are not applied.

        Parameters
        ----------
        model : Model
            The one that the posterior was sampled with.
        n : int
            Draws per star.
        with_noise : bool
            Add draws of the model's noise, times each star's ``stars["noise_scale"]``.
        ivar : (star, pixel) array, optional
            Inverse variances of the prepared spectra, for ``with_noise``; without them only the model error is drawn.
        spectra : Spectra, optional
            The prepared spectra, whose own line spreads are applied, if they state such.
        seed : int
            Of the choice of draws and of the noise.

        Returns
        -------
        (n, star, pixel) array
            Prepared flux.

        Raises
        ------
        SlamError
            If ``ivar`` has another shape.
        """
        flat = self.labels.reshape(-1, *self.labels.shape[2:])
        rows = np.random.default_rng(seed).choice(len(flat), n, replace=n > len(flat))
        flux = self._predict(model, flat[rows].astype(np.float64))
        if spectra is not None and spectra.has_own_line_spreads:
            flux = np.stack([model.as_seen(spectra, one) for one in flux])
        if not with_noise:
            return flux
        if ivar is None:
            ivar = np.full((len(self), flux.shape[-1]), np.inf)
        if ivar.shape != flux.shape[1:]:
            raise SlamError(f"ivar has shape {ivar.shape}; give one row per prepared spectrum, {flux.shape[1:]}")
        scaled = model.scaled()
        given = jnp.asarray(scaled.ivar(ivar))
        keys = jax.random.split(jax.random.key(seed), n)
        drawn = jax.lax.map(lambda key: scaled.noise.draw(key, given), keys)
        scale = scaled.unit * np.sqrt(np.atleast_1d(self.stars.get("noise_scale", 1.0)).astype(flux.dtype))
        return flux + np.asarray(drawn) * scale[:, None]

    def _predict(self, model: Model, draws: np.ndarray) -> np.ndarray:
        """Flux (n, star, pixel) at draws (n, star, variable)."""
        n_labels = len(model.label_names)
        if draws.shape[-1] == n_labels:
            return np.asarray(model.emulator(draws))
        velocities = {name: draws[..., n_labels + k] for k, name in enumerate(self.label_names[n_labels:])}
        if not all(np.isfinite(values).any() for values in velocities.values()):
            return np.full((*draws.shape[:-1], model.wave.size), np.nan, draws.dtype)
        bounds = {name: _bounds_about(name, values) for name, values in velocities.items()}
        if "extinction" in bounds:
            bounds.setdefault("r_v", float(self.attrs.get("r_v", R_V)))
        forward = model.with_nuisances(Nuisances(**bounds))
        flux = [
            np.asarray(forward(draws[k][..., :n_labels], **{name: values[k] for name, values in velocities.items()}))
            for k in range(len(draws))
        ]
        return np.stack(flux)


def _bounds_about(name: str, values: np.ndarray) -> Any:
    """Bounds of a nuisance that allow all of its draws."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if name == "resolution":
        return Free(0.99 * low, 1.01 * high)
    if name == "r_v":
        return "free"
    if name == "rv":
        low = -max(abs(low), abs(high))
    return Free(low - 1 if name in ("rv", "extinction") else 0.0, max(abs(low), abs(high)) + 1)
