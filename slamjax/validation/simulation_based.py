"""Is a sampler's posterior the posterior? Simulated stars whose labels are drawn from the prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from astropy.table import Table

from slamjax.errors import SlamError
from slamjax.forward.nuisances import Nuisances
from slamjax.model.model import Model
from slamjax.typing import Progress
from slamjax.validation.calibration import Comparison, compare_draws
from slamjax.validation.ranks import RankTest, rank_test, scale_draws, thin_draws
from slamjax.validation.regions import RegionTest, tarp
from slamjax.validation.report import markdown
from slamjax.validation.simulation import draw_nuisances, prepared_model, simulate

#: Widths wrong by this factor must be noticed, or a test that is passed says little.
_WRONG = 1.2
#: The part of the simulated stars that must have a posterior: what a few lost ones do to a test does not show.
_SAMPLED = 0.99


@dataclass(frozen=True, eq=False)
class SimulatedCalibration:
    """Simulated stars, their posteriors, and every test of them.

    Attributes
    ----------
    truth : (N, L) labels drawn from the prior
    draws : (N, D, L) nearly independent draws from each posterior
    ranks : rank test of each label
    regions : TARP test of the labels together
    comparison : pulls, PIT and distances, for `calibration_table`
    """

    truth: np.ndarray
    draws: np.ndarray
    ranks: RankTest
    regions: RegionTest
    comparison: Comparison

    @classmethod
    def of(
        cls,
        truth: np.ndarray,
        draws: np.ndarray,
        names: Sequence[str],
        *,
        seed: int = 0,
        flags: np.ndarray | None = None,
    ) -> SimulatedCalibration:
        """All tests of truths (N, L), drawn from the prior, and nearly independent posterior draws (N, D, L)."""
        return cls(
            truth,
            draws,
            rank_test(truth, draws, names),
            tarp(truth, draws, seed=seed),
            compare_draws(truth, draws, names, flags=flags),
        )

    def widened(self, factor: float) -> SimulatedCalibration:
        """The same stars with posteriors ``factor`` times as wide: what the tests say if errors are wrong by it."""
        return SimulatedCalibration.of(self.truth, scale_draws(self.draws, factor), self.ranks.names)

    def passes(self, level: float = 0.01) -> bool:
        """Whether ranks and regions are as they should be at this level (each after Bonferroni)."""
        return self.ranks.passes(level) and self.regions.passes(level)

    def __str__(self) -> str:
        ranks, regions = self.ranks, self.regions
        wide, narrow = self.widened(_WRONG), self.widened(1 / _WRONG)
        inside = np.abs(self.comparison.pit - 0.5) < 0.34
        shown = Table()
        shown["label"] = ranks.names
        shown["chi2"] = [f"{value:.1f}" for value in ranks.chi2]
        shown["p"] = [_probability(value) for value in ranks.p]
        shown["p (Bonferroni)"] = [_probability(value) for value in ranks.p_bonferroni]
        shown["in 68 %"] = [f"{100 * value:.1f}" for value in np.nanmean(inside, axis=0)]
        shown[f"p if x {_WRONG:g}"] = [_probability(value) for value in wide.ranks.p_bonferroni]
        shown[f"p if / {_WRONG:g}"] = [_probability(value) for value in narrow.ranks.p_bonferroni]
        n_bins = len(ranks.expected)
        return "\n".join(
            [
                f"ranks of {len(self.truth)} truths among {ranks.n_draws} draws in {n_bins} bins: "
                f"{'uniform' if ranks.passes() else 'NOT uniform'} (chi2, {n_bins - 1} degrees of freedom, p > 0.01)",
                markdown(shown),
                f"regions (TARP): {'as they should be' if regions.passes() else 'NOT as they should be'}; "
                f"largest |coverage - credibility| {regions.deviation:.3f} (p {_probability(regions.p)}), "
                f"width {regions.width:+.1f} standard errors (p {_probability(regions.width_p)}; "
                f"if x {_WRONG:g}: {wide.regions.width:+.1f}, if / {_WRONG:g}: {narrow.regions.width:+.1f})",
            ]
        )


def _probability(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def sbc(
    model: Model,
    ivar: np.ndarray,
    *,
    n_stars: int = 500,
    prior: Any = None,
    nuisances: Nuisances | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    **options: Any,
) -> SimulatedCalibration:
    """Simulation-based calibration of `slamjax.sample`: labels from the prior, spectra from the likelihood, posteriors.

    The prior must be the very one that the sampler uses, so both get ``prior``; that the model's likelihood is the
    stars' is not tested (for that, see `slamjax.validate`), but that a posterior is what prior and likelihood make it.

    Parameters
    ----------
    model : Model
        Its recipe is set aside, see `prepared_model`.
    ivar : (M, P) array
        Inverse variances of the prepared flux, as ``model.prepare(stars).ivar``; a row with a good pixel is drawn for
        each simulated star.
    n_stars : int
        500 notice widths wrong by a fifth.
    prior : "uniform", "density" or a NumPyro distribution of event shape (L,), optional
        Of labels in physical units, as of `slamjax.sample`: uniform where the training stars are, or as dense as they
        are. It must be able to draw.
    nuisances : Nuisances, optional
        Drawn from their priors, put into the spectra, and sampled or integrated out. Free velocities are ranked beside
        the labels.
    seed : int
        Of labels, errors, noise and sampler. Fix it before you look.
    on_progress : callable, optional
        As of `slamjax.sample`.
    **options
        Handed to `slamjax.sample`: ``sampler``, ``memory``.
    """
    from slamjax.sampling import priors, sample  # numpyro is loaded where it is needed

    if n_stars < 2:
        raise SlamError(f"n_stars is {n_stars}; simulate some hundreds")
    given = np.atleast_2d(np.asarray(ivar, float))
    fits = given.shape[1] == model.wave.size
    usable = np.flatnonzero(np.any((given > 0) & model.trained, axis=1)) if fits else np.empty(0, int)
    if usable.size == 0:
        raise SlamError(f"ivar has shape {given.shape}; give rows with good pixels, as model.prepare(stars).ivar")
    rows = np.random.default_rng(seed).choice(usable, n_stars)
    named: dict[Any, Any] = {
        None: priors.training_range,
        "uniform": priors.training_range,
        "density": priors.training_density,
    }
    density = named[prior](model) if prior is None or (isinstance(prior, str) and prior in named) else prior
    if not hasattr(density, "sample"):
        raise SlamError(f"prior is {prior!r}; give 'uniform', 'density' or a NumPyro distribution")
    own = tuple(density.batch_shape) == (n_stars,)
    truth = np.asarray(density.sample(jax.random.key(seed), () if own else (n_stars,)), float)
    names = model.label_names
    if nuisances is None:
        spectra = simulate(model, truth, given[rows], seed=seed + 1)
    else:
        values = draw_nuisances(nuisances, n_stars, seed + 3)
        spectra = simulate(model, truth, given[rows], seed=seed + 1, nuisances=nuisances, values=values)
        names = (*names, *nuisances.free)
        truth = np.concatenate([truth, *(values[name][:, None] for name in nuisances.free)], axis=1)
        options["nuisances"] = nuisances
    posterior = sample(prepared_model(model), spectra, prior=density, seed=seed + 2, on_progress=on_progress, **options)
    draws = np.stack([np.asarray(posterior[name], float) for name in names], axis=-1)
    chains = np.moveaxis(draws, 2, 0)  # (chain, draw, star, label) to star first
    sampled = np.all(np.isfinite(chains), axis=(1, 2, 3))
    if np.mean(sampled) < _SAMPLED:
        raise SlamError(
            f"{np.sum(~sampled)} of {n_stars} simulated stars have no posterior; without them no test holds: look at "
            "the flags of slamjax.sample"
        )
    flags = np.asarray(getattr(posterior, "flags", np.zeros(n_stars, int)))[sampled]
    return SimulatedCalibration.of(truth[sampled], thin_draws(chains[sampled]), names, seed=seed, flags=flags)
