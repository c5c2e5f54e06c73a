"""The posterior of many stars: draws, diagnostics, tables, files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u
from astropy.table import QTable

from slamjax._util.files import atomic_path, existing_file
from slamjax.errors import SlamError
from slamjax.forward.nuisances import VELOCITIES, Free, Nuisances
from slamjax.model.model import Model
from slamjax.noise.models import ivar_in_unit
from slamjax.sampling.diagnostics import Diagnostics
from slamjax.spectra.units import with_unit

if TYPE_CHECKING:
    from arviz import InferenceData

#: Quantiles of the table, and how its columns are called.
QUANTILES = {"q2_5": 0.025, "q16": 0.16, "q50": 0.5, "q84": 0.84, "q97_5": 0.975}

#: What stands before an attribute that is no text and no number.
_DUMPED = "json:"
#: What ArviZ writes of itself beside our own provenance.
_ARVIZ_ATTRS = frozenset(
    {"created_at", "arviz_version", "creation_library", "creation_library_version", "creation_library_language"}
)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of the labels of N stars, and of the velocities that were sampled beside them.

    Attributes
    ----------
    label_names, label_units : of the model; fixed labels included; then rv, sigma_v, vsini, if sampled
    labels : (chain, draw, star, label) draws in physical units; NaN for a star that could not be sampled
    log_density : (chain, draw, star) ln of the posterior density of the scaled labels, without the evidence
    diverging : (chain, draw, star) whether a draw ended a diverging trajectory
    diagnostics : R-hat and effective sample sizes, (star, label); of importance draws the weights' effective size
    khat : (star,) Pareto shape of the importance weights, NaN where there are none
    sampler : (star,) which sampler the draws are from; "" where there are none
    flags : (star,) those of the fit, and `Flag.LOW_ESS` and the like
    stars : what is known of each star: row of the input, identifiers, reference labels, S/N
    attrs : provenance: settings, how the likelihood was evaluated, model
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

    @overload
    def __getitem__(self, which: str) -> np.ndarray: ...
    @overload
    def __getitem__(self, which: int | slice | np.ndarray | list[int]) -> Posterior: ...
    def __getitem__(self, which: Any) -> Any:
        """Draws (chain, draw, star) of one label by its name, or the posterior of some stars by their places.

        One integer gives the posterior of one star, N = 1.
        """
        if isinstance(which, str):
            if which not in self.label_names:
                raise KeyError(f"{which!r}; the labels are {', '.join(self.label_names)}")
            return self.labels[..., self.label_names.index(which)]
        if isinstance(which, (int, np.integer)):
            if not -len(self) <= which < len(self):
                raise IndexError(f"star {which} of {len(self)}")
            which = [int(which)]
        quality = self.diagnostics
        return replace(
            self,
            labels=self.labels[:, :, which],
            log_density=self.log_density[:, :, which],
            diverging=self.diverging[:, :, which],
            diagnostics=Diagnostics(quality.rhat[which], quality.ess_bulk[which], quality.ess_tail[which]),
            khat=self.khat[which],
            sampler=self.sampler[which],
            flags=self.flags[which],
            stars={name: values[which] for name, values in self.stars.items()},
        )

    @cached_property
    def arviz(self) -> InferenceData:
        """The ArviZ InferenceData: groups posterior, sample_stats, and constant_data (what is known a star)."""
        return self.to_arviz()

    def to_arviz(self) -> InferenceData:
        """A new ArviZ InferenceData: a variable a label with dimensions chain, draw, star; star is the input's row."""
        az = _arviz()
        star, per_label = ["star"], ["star", "label"]
        dims = {name: star for name in self.label_names}
        known = {f"star_{name}": values for name, values in self.stars.items()}
        data = {
            "flags": self.flags,
            "khat": self.khat,
            "sampler": self.sampler.astype(str),
            "rhat": self.diagnostics.rhat,
            "ess_bulk": self.diagnostics.ess_bulk,
            "ess_tail": self.diagnostics.ess_tail,
            **known,
        }
        dims |= {name: per_label if np.ndim(values) == 2 else star for name, values in data.items()}
        result = az.from_dict(
            posterior={name: self[name] for name in self.label_names},
            sample_stats={"lp": self.log_density, "diverging": self.diverging},
            constant_data=data,
            coords={"star": self.stars["row"], "label": list(self.label_names)},
            dims=dims | {"lp": star, "diverging": star},
        )
        for name, unit in zip(self.label_names, self.label_units, strict=True):
            result.posterior[name].attrs["unit"] = unit
        result.posterior.attrs.update({key: _plain(value) for key, value in self.attrs.items()})
        return result

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write NetCDF; see `read`. The file appears whole or not at all."""
        with atomic_path(path) as temporary:
            self.to_arviz().to_netcdf(str(temporary), engine="h5netcdf")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Posterior:
        """Read back what `write` wrote."""
        az = _arviz()
        source = existing_file(path)
        try:
            data = az.from_netcdf(str(source), engine="h5netcdf")
            data.load()
            data.close()
        except (OSError, ValueError, KeyError) as error:
            raise SlamError(f"{source} cannot be read as NetCDF ({error}); is it complete?") from error
        if not {"posterior", "sample_stats", "constant_data"} <= set(data.groups()):
            raise SlamError(f"{source} is not a posterior that slamjax has written: it lacks groups; give another file")
        posterior, known = data.posterior, data.constant_data
        names = tuple(str(name) for name in known["label"].values)
        prefix = "star_"
        return cls(
            label_names=names,
            label_units=tuple(str(posterior[name].attrs["unit"]) for name in names),
            labels=np.stack([posterior[name].values for name in names], axis=-1),
            log_density=data.sample_stats["lp"].values,
            diverging=data.sample_stats["diverging"].values.astype(bool),
            diagnostics=Diagnostics(*(known[name].values for name in ("rhat", "ess_bulk", "ess_tail"))),
            khat=known["khat"].values,
            sampler=known["sampler"].values.astype(str),
            flags=known["flags"].values,
            stars={
                str(name).removeprefix(prefix): _text(known[name].values)
                for name in known.data_vars
                if str(name).startswith(prefix)
            },
            attrs={key: _native(value) for key, value in posterior.attrs.items() if key not in _ARVIZ_ATTRS},
        )

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (star, label) and covariance (star, label, label)."""
        flat = self.labels.reshape(-1, *self.labels.shape[2:]).astype(np.float64)
        mean = flat.mean(axis=0)
        apart = flat - mean
        return mean, np.einsum("dni,dnj->nij", apart, apart) / max(1, len(flat) - 1)

    def table(self) -> QTable:
        """One row a star, as of `slamjax.fit`: mean and standard deviation of each label, and more.

        Columns: those of ``stars``; for each label <label>, <label>_err (standard deviation), <label>_q2_5 … _q97_5,
        <label>_rhat, <label>_ess_bulk, <label>_ess_tail; ``n_divergent``, ``khat``, ``sampler``, ``flags``, ``cov``
        and ``corr`` (label, label).
        """
        mean, covariance = self.moments()
        sd = np.sqrt(np.einsum("nll->nl", covariance))
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = covariance / (sd[:, :, None] * sd[:, None, :])
        quantiles = np.quantile(self.labels.astype(np.float64), list(QUANTILES.values()), axis=(0, 1))
        table = QTable({name: values for name, values in self.stars.items() if not name.endswith("_ref")})
        for name in {"rv", "rv_err"} & set(table.colnames):
            table[name] = table[name] * (u.km / u.s)
        for k, (name, unit) in enumerate(zip(self.label_names, self.label_units, strict=True)):
            table[name] = with_unit(mean[:, k], unit)
            table[f"{name}_err"] = with_unit(sd[:, k], unit)
            if f"{name}_ref" in self.stars:
                table[f"{name}_ref"] = with_unit(self.stars[f"{name}_ref"], unit)
            for (suffix, _), values in zip(QUANTILES.items(), quantiles, strict=True):
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

    def predictive(
        self, model: Model, n: int = 100, *, with_noise: bool = False, ivar: np.ndarray | None = None, seed: int = 0
    ) -> np.ndarray:
        """Spectra (n, star, pixel) predicted at n draws of each star, drawn without regard to chains.

        Velocities that were sampled are applied; a polynomial that was integrated out is 1, and velocities that were
        fixed are not known here.
        ``with_noise`` adds noise drawn from the model's, times the star's own scale (``stars["noise_scale"]``), with
        the photon errors ``ivar`` (star, pixel) of prepared spectra; without these the model's own error only.
        """
        flat = self.labels.reshape(-1, *self.labels.shape[2:])
        rows = np.random.default_rng(seed).choice(len(flat), n, replace=n > len(flat))
        flux = self._predict(model, flat[rows].astype(np.float64))
        if not with_noise:
            return flux
        if ivar is None:
            ivar = np.full((len(self), flux.shape[-1]), np.inf)
        if ivar.shape != flux.shape[1:]:
            raise SlamError(f"ivar has shape {ivar.shape}; give one a prepared spectrum, {flux.shape[1:]}")
        unit = model.host_emulator.flux_unit()
        noise = model.noise.in_unit(unit).on_device()
        keys = jax.random.split(jax.random.key(seed), n)
        drawn = jax.lax.map(lambda key: noise.draw(key, jnp.asarray(ivar_in_unit(ivar, unit))), keys)
        scale = unit * np.sqrt(np.atleast_1d(self.stars.get("noise_scale", 1.0)).astype(flux.dtype))
        return flux + np.asarray(drawn) * scale[:, None]

    def _predict(self, model: Model, drawn: np.ndarray) -> np.ndarray:
        """Flux (n, star, pixel) of draws (n, star, variable)."""
        n_labels = len(model.label_names)
        if drawn.shape[-1] == n_labels:
            return np.asarray(model(drawn))
        given = {name: drawn[..., n_labels + k] for k, name in enumerate(self.label_names[n_labels:])}
        if not all(np.isfinite(values).any() for values in given.values()):
            return np.full((*drawn.shape[:-1], model.wave.size), np.nan, drawn.dtype)
        ends = {name: float(np.nanmax(np.abs(values))) + 1 for name, values in given.items()}
        bounds = {name: Free(-end if name == "rv" else 0.0, end) for name, end in ends.items()}
        rv, sigma_v, vsini = (bounds.get(name) for name in VELOCITIES)
        forward = model.with_nuisances(Nuisances(rv=rv, sigma_v=sigma_v, vsini=vsini))
        parts = [
            np.asarray(forward(drawn[k][..., :n_labels], **{name: values[k] for name, values in given.items()}))
            for k in range(len(drawn))
        ]
        return np.stack(parts)


def _arviz() -> Any:
    try:
        import arviz
    except ImportError as error:
        raise SlamError("posterior files need ArviZ; install it with: pip install 'slamjax[posteriors]'") from error
    return arviz


def _text(values: np.ndarray) -> np.ndarray:
    return values.astype(str) if values.dtype.kind == "O" else values


def _native(value: Any) -> Any:
    """What was an attribute before NetCDF made it NumPy's, or `_plain` made it text."""
    if isinstance(value, np.generic):
        return value.item()
    return json.loads(value.removeprefix(_DUMPED)) if isinstance(value, str) and value.startswith(_DUMPED) else value


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else _DUMPED + json.dumps(value)
