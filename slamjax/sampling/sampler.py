"""`Sampler` and `sample`: posteriors of many stars at once."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import QTable

from slamjax._util.batching import power_of_two_above, power_of_two_below
from slamjax._util.checkpoint import Checkpoint
from slamjax._util.progress import reporter
from slamjax._version import __version__
from slamjax.errors import SlamError
from slamjax.fitting import Fitter
from slamjax.forward.nuisances import Nuisances
from slamjax.forward.scaled import ScaledModel
from slamjax.model.model import Model
from slamjax.model.own_covariance import errors_of
from slamjax.model.own_line_spread import half_width, line_spread_grid, own_sigma
from slamjax.noise.dense import DenseErrors
from slamjax.sampling.assemble import assemble
from slamjax.sampling.batches import BatchDraws, Stars, sample_batch, select, star_keys
from slamjax.sampling.checkpoint import fingerprint, read_draws, write_draws
from slamjax.sampling.conditions import Prior, PriorFactors, describe_prior, fixed_labels
from slamjax.sampling.density import Shared
from slamjax.sampling.importance import AT_ONCE
from slamjax.sampling.likelihoods import FluxLikelihood, Likelihood, ProjectedLikelihood
from slamjax.sampling.nuisances import ForwardLikelihood, start_velocities
from slamjax.sampling.posterior import Posterior
from slamjax.sampling.projection import Choice, choose_components
from slamjax.sampling.specs import Method, SamplerSpec
from slamjax.sampling.starts import start_labels
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

_LARGEST_BATCH = 128
#: Stars that are prepared together: bounds memory.
_PREPARED_TOGETHER = 1024
#: Components are kept for further spectra whose inverse variances are larger by this factor at most: their error, in
#: units of the noise, is then larger by its square root.
_IVAR_MARGIN = 1.5


class Sampler:
    """Draws from the posteriors of the labels of any number of spectra.

    Each star starts from its `slamjax.fit`, moves to the posterior's mode and is whitened by the curvature there. Where
    it is cheaper, χ² is evaluated in components of the emulator instead of pixels (`slamjax.sampling.projection`);
    ``Posterior.attrs["likelihood"]`` says which, and with what error. A sampler is built once and used for many parts
    of a data set: the fit, the components and all compiled functions are kept.

    Parameters
    ----------
    model : Model
    nuisances : Nuisances, optional
        What shapes the spectra besides their labels. Free ones are sampled, in their units, as variables after the
        labels; the polynomial is marginalised analytically.
    sampler : "auto", "importance", "nuts", "hmc" or SamplerSpec
        How to sample, and how many draws.
    memory : float
        GiB that a batch may take on the device.

    Raises
    ------
    SlamError
        For an unknown sampler, or options that do not fit the model.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> stars = stars.on_pixels(slice(100, 120))
    >>> model = slamjax.train(stars[:100], ["teff", "logg"], emulator=slamjax.Polynomial(), noise="diagonal")
    >>> sampler = slamjax.Sampler(model, sampler=slamjax.SamplerSpec("hmc", draws=50, warmup=20))
    >>> sampler.sample(stars[100:104])
    Posterior(teff, logg; 4 stars, 2 chains of 50 draws)
    >>> table = sampler.sample(stars[104:108], seed=1).table()
    >>> bool((table["teff_err"] > 0).all())
    True
    """

    def __init__(
        self,
        model: Model,
        *,
        nuisances: Nuisances | None = None,
        sampler: Method | SamplerSpec = "auto",
        memory: float = 1.0,
    ) -> None:
        self._fitter = Fitter(model, nuisances=nuisances, memory=memory)
        self.model, self.memory, self.nuisances = model, memory, self._fitter.nuisances
        self.spec = SamplerSpec.from_option(sampler)
        self._choice: Choice | None = None
        self._wider: Sampler | None = None
        self._chosen_for: np.ndarray | None = None
        self._is_for_any = False
        self._seconds = 0.0

    def __repr__(self) -> str:
        return f"Sampler({self.model!r}, {self.spec!r})"

    @property
    def options(self) -> dict[str, Any]:
        """The options it was made with."""
        return {"nuisances": self.nuisances, "sampler": self.spec, "memory": self.memory}

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of what is drawn: the labels, and velocities that are free."""
        return (*self.model.label_names, *(() if self.nuisances is None else self.nuisances.free))

    @property
    def seconds_preparing(self) -> float:
        """Seconds that spectra were prepared for."""
        return self._fitter.seconds_preparing + self._seconds

    def for_any_spectra(self) -> Sampler:
        """A sampler like this one whose components hold for spectra however bright.

        Components are otherwise chosen for the brightest star of a call, and kept for the next one. With these, draws
        depend on no other star: a survey has the same ones however it is divided.
        """
        sampler = Sampler(self.model, **self.options)
        sampler._is_for_any = True
        return sampler

    def check(self, spectra: Spectra) -> None:
        """Raise SlamError for spectra that cannot be sampled, before anything is computed."""
        self._fitter.check(spectra)

    def sample(
        self,
        spectra: Spectra,
        *,
        prior: Prior | Sequence[Prior] = None,
        fixed: Mapping[str, Any] | None = None,
        seed: int = 0,
        numbers: np.ndarray | None = None,
        checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
        on_progress: Progress | bool | None = True,
    ) -> Posterior:
        """Draws from the posterior of every spectrum.

        Parameters
        ----------
        spectra : Spectra
            N spectra as read; they are prepared by the model's recipe.
        prior : optional
            Density of one star's labels, in physical units. By default "uniform", `training_range`: uniform where
            there are training stars, falling off smoothly outside. Or "training", `training_density`: that of the
            training stars; any NumPyro distribution of event shape (L,) and batch shape () or (N,); a dict
            ``{"teff": (values, errors)}`` of labels known from elsewhere, numbers or arrays of N stars (NaN: unknown
            for that star), which multiplies the default; or a list of these, which are multiplied.
        fixed : dict, optional
            Labels that are not sampled: ``{"logg": values}``, one number or N.
        seed : int
            The draws of a star depend on the seed, its number and, within their error, on the components in use.
        numbers : (N,) or (N, 2) int array, optional
            What tells the stars' random numbers apart; by default their positions among the spectra. Where a data set
            is sampled part by part, give the positions in all of it. A second number tells apart spectra with the same
            first one.
        checkpoint : path or Checkpoint, optional
            A folder that keeps finished batches, so that the same call continues where a run was stopped. It is
            removed at the end; a `slamjax.Checkpoint` keeps it until the posterior is saved.
        on_progress : callable or bool
            Called with (stars done, stars in all). By default a line in terminals and notebooks; False for none.

        Returns
        -------
        Posterior

        Raises
        ------
        SlamError
            If the spectra do not cover the model, a prior or fixed label does not fit, or the checkpoint is of another
            run.
        """
        n = len(spectra)
        if n == 0:
            raise SlamError(f"{spectra.source} holds no spectra to sample")
        spectra = self._fitter.as_given(spectra)
        matched = self._matched(spectra)
        if matched is not self:
            options: dict[str, Any] = {"checkpoint": checkpoint, "on_progress": on_progress}
            return matched.sample(spectra, prior=prior, fixed=fixed, seed=seed, numbers=numbers, **options)
        factors = PriorFactors.from_option(self.model, prior, n)
        values = fixed_labels(self.model, fixed, n)
        if numbers is not None and np.shape(numbers) not in ((n,), (n, 2)):
            raise SlamError(f"numbers has shape {np.shape(numbers)}; give one, or a pair, for each of the {n} spectra")
        keys = star_keys(seed, np.arange(n) if numbers is None else numbers)
        with Checkpoint.of_option(checkpoint) as kept, reporter(on_progress) as report:
            report.stage("fitting stars", shared=False)
            if kept is not None:
                kept.begin(self._fingerprint(spectra, prior=prior, fixed=fixed, seed=seed, numbers=numbers))
            table = self._fitter.fit(spectra, on_progress=lambda *at: report(*at))
            report.stage("sampling stars")
            stars, rows = self._prepare(spectra, table, values, factors.per_star, keys)
            choice, shared = self._shared(stars, factors.shared, np.isnan(values).all(axis=0))
            grid = line_spread_grid(
                self.model.info, self.model.trained, half_width(self.model.info, spectra), self._scaled.dtype
            )
            shared = dataclasses.replace(shared, line_spread=grid)
            n_near = 0 if grid is None else len(grid.away)
            # a whitener of P × P numbers is kept and used as the weights of P neighbours are
            n_near += self.model.wave.size if spectra.covariance is not None else 0
            size = self._batch_size(choice, len(rows), n_near)
            batches: list[tuple[np.ndarray, BatchDraws]] = []
            for start in range(0, len(rows), size):
                in_batch = np.arange(start, min(start + size, len(rows)))
                draws = None if kept is None else read_draws(kept, start, len(in_batch), self.spec)
                if draws is None:
                    draws = sample_batch(shared, select(stars, in_batch), self.spec, size)
                    if kept is not None:
                        write_draws(kept, start, draws)
                batches.append((rows[in_batch], draws))
                report(n - len(rows) + start + len(in_batch), n)
            if not len(rows):
                report(n, n)
            attrs = self._provenance(choice, spectra) | {
                "seed": seed,
                "prior": describe_prior(prior),
                "fixed": ",".join(fixed or ()),
            }
            return assemble(self.model, self._scaled.forward, table, batches, self.spec, attrs)

    def _matched(self, spectra: Spectra) -> Sampler:
        """The sampler whose model predicts lines as wide as those of the spectra."""
        model = self.model.matched(spectra)
        if model is self.model:
            return self
        if self._wider is None or self._wider.model is not model:
            wider = Sampler(model, **self.options)
            self._wider = wider.for_any_spectra() if self._is_for_any else wider
        return self._wider

    @cached_property
    def _scaled(self) -> ScaledModel:
        """Emulator and noise on the device; with nuisances the compressed emulator, if the model is large."""
        return self.model.scaled() if self.nuisances is None else self.model.quick().scaled(self.nuisances)

    def _prepare(
        self, spectra: Spectra, table: QTable, fixed: np.ndarray, priors: tuple[Any, ...], keys: np.ndarray
    ) -> tuple[Stars, np.ndarray]:
        """The stars whose fit succeeded, and their rows among the spectra."""
        model, n = self.model, len(spectra)
        if model.needs_rv(spectra):
            # to the rest frame, or to where the sampling of the velocity starts
            samples_rv = self.nuisances is not None and self.nuisances.rv is not None
            spectra = model.place(spectra, np.zeros(n) if samples_rv else np.asarray(table["rv"].value))
        x, usable = start_labels(model, table, fixed)
        if self._scaled.forward is not None:
            x = np.concatenate([x, start_velocities(self._scaled.forward, table)], axis=1)
        rows = np.flatnonzero(usable)
        flux, errors, own = self._arrays(spectra, rows)
        scale = np.asarray(table["noise_scale"], float)[rows]
        scale = np.where(scale > 0, scale, 1.0)
        # by way of the device: unlike a NumPy array, a JAX array has the precision that JAX runs in
        priors = select(jax.tree_util.tree_map(lambda leaf: np.asarray(jnp.asarray(leaf)), priors), rows)
        scale, x = scale.astype(flux.dtype), x[rows].astype(flux.dtype)
        return Stars(flux, errors, scale, x, priors, keys[rows], own), rows

    def _arrays(self, spectra: Spectra, rows: np.ndarray) -> tuple[np.ndarray, Any, np.ndarray | None]:
        """Prepared flux and errors (rows, P), as the device has them, and line spreads if these are the stars' own."""
        model, scaled = self.model, self._scaled
        used = model.trained if scaled.forward is None else np.asarray(scaled.forward.usable)
        flux, own = (np.zeros((len(rows), model.wave.size), scaled.low.dtype) for _ in range(2))
        dense, errors = spectra.covariance is not None, []
        for start in range(0, len(rows), _PREPARED_TOGETHER):
            block = slice(start, start + _PREPARED_TOGETHER)
            began = time.perf_counter()
            prepared = model.prepare(spectra[rows[block]], covariance=True)
            self._seconds += time.perf_counter() - began
            flux[block] = scaled.flux(prepared.flux)
            errors.append(errors_of(model, scaled, prepared, prepared.good & used, dense))
            own[block] = own_sigma(model.info, prepared)
        joined = jax.tree_util.tree_map(lambda *each: np.concatenate(each), *errors) if errors else np.zeros_like(flux)
        return flux, joined, own if half_width(model.info, spectra) else None

    def _shared(self, stars: Stars, priors: tuple[Any, ...], is_free: np.ndarray) -> tuple[Choice, Shared]:
        """How the likelihood is evaluated, and what all stars have in common, on the device."""
        scaled, free = self._scaled, tuple(np.flatnonzero(is_free).tolist())
        likelihood: Likelihood
        if scaled.forward is not None:
            choice = Choice(None, 0.0, f"flux space, with nuisances: {self.nuisances}")
            free += tuple(range(len(self.model.label_names), stars.x.shape[1]))
            likelihood = ForwardLikelihood(scaled.forward, scaled.noise)
        elif isinstance(stars.ivar, DenseErrors):
            choice = Choice(None, 0.0, "flux space, with covariances of the stars' own")
            likelihood = FluxLikelihood(scaled.emulator, scaled.noise)
        else:
            choice = self._choose_components(stars.ivar.max(axis=0, initial=0))
            if choice.components is None:
                likelihood = FluxLikelihood(scaled.emulator, scaled.noise)
            else:
                likelihood = ProjectedLikelihood(scaled.emulator, scaled.noise, choice.components)
        shared = Shared(likelihood, self.model.host_emulator.scaling, priors, free)
        return choice, jax.tree_util.tree_map(jnp.asarray, shared)

    def _choose_components(self, ivar: np.ndarray) -> Choice:
        """Components for spectra with inverse variances (P,) of at most ``ivar``, chosen anew only where needed."""
        if self._is_for_any:  # a pixel without photon noise still has the model's own
            ivar = np.full_like(ivar, np.inf)
        kept, before = self._choice, self._chosen_for
        if kept is not None and before is not None and before.dtype == ivar.dtype:
            if np.all(ivar <= _IVAR_MARGIN * before):
                return kept
            ivar = np.maximum(ivar, before)
        model, unit = self.model, self._scaled.unit
        emulator, noise = model.host_emulator.in_unit(unit), model.noise.in_unit(unit)
        self._choice = choose_components(emulator, noise, model.training_labels, ivar)
        self._chosen_for = ivar
        return self._choice

    def _batch_size(self, choice: Choice, n: int, n_near: int) -> int:
        """Stars per batch for n stars: a power of two, within the memory budget.

        ``n_near`` is the number of neighbours whose weights are kept of line spreads that are the stars' own.
        """
        emulator, components, n_pix = self.model.host_emulator, choice.components, self.model.wave.size
        n_support = emulator.n_terms if components is None else components.n_support
        rank = n_pix if components is None else components.rank
        forward = self._scaled.forward
        if forward is not None:  # intermediate Fourier transforms, and rows of the polynomial
            rank *= 1 + forward.nuisances.n_coefficients + (4 if forward.grid is not None else 0)
        per_draw = 3 * n_support * (emulator.n_labels + 3) + 8 * rank
        per_star = 4 * n_pix * (8 if components is None else rank) + (0 if components is None else rank**2)
        per_star += n_near * n_pix * (1 if components is not None else 1 + self.spec.chains)
        numbers = max(self.spec.chains, AT_ONCE) * per_draw + per_star
        fit_in = self.memory * 2**30 / (jax.dtypes.canonicalize_dtype(float).itemsize * numbers)
        return min(power_of_two_below(int(np.clip(fit_in, 1, _LARGEST_BATCH))), power_of_two_above(n))

    def _fingerprint(
        self, spectra: Spectra, *, prior: Any, fixed: Any, seed: int, numbers: np.ndarray | None
    ) -> dict[str, str]:
        nuisances = self.nuisances and (str(self.nuisances), self.nuisances.polynomial_sd)
        settings = {"sampler": repr(self.spec), "memory": self.memory, "seed": seed, "numbers": numbers}
        return fingerprint(self.model, spectra, prior=prior, fixed=fixed, nuisances=nuisances, **settings)

    @property
    def _fixed_r_v(self) -> dict[str, float]:
        """R_V, which predictions of the posterior need, where it is not drawn."""
        nuisances = self.nuisances
        if nuisances is None or nuisances.r_v is None or "r_v" in nuisances.free:
            return {}
        return {"r_v": nuisances.bounds("r_v")[0]}

    def _provenance(self, choice: Choice, spectra: Spectra) -> dict[str, Any]:
        return {
            "likelihood": choice.reason,
            "projection_error": float(choice.error),
            "sampler": self.spec.method,
            "warmup": self.spec.warmup,
            "nuisances": "none" if self.nuisances is None else str(self.nuisances),
            **self._fixed_r_v,
            "source": spectra.source,
            "model": repr(self.model),
            "model_provenance": {key: str(value) for key, value in self.model.info.provenance.items()},
            "slamjax": __version__,
        }
