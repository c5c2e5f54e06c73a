"""``sbc``: are the sampled posteriors correct? Simulated stars whose labels are drawn from the prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from astropy.table import Table

from slamjax.errors import SlamError
from slamjax.forward.nuisances import Nuisances
from slamjax.model.model import Model
from slamjax.model.named_labels import warn_outside
from slamjax.typing import Progress
from slamjax.validation.pulls import Comparison, compare_draws
from slamjax.validation.ranks import RankTest, rank_test, scale_draws, thin_draws
from slamjax.validation.regions import RegionTest, tarp
from slamjax.validation.report import markdown
from slamjax.validation.simulation import draw_nuisances, prepared_model, spectra_at

if TYPE_CHECKING:
    from slamjax.sampling.specs import Method, SamplerSpec

#: Widths wrong by this factor must be noticed, or passing a test means little.
_WRONG = 1.2
#: Fraction of the simulated stars that must have a posterior: the effect of a few lost ones on a test is not visible.
_SAMPLED = 0.99


@dataclass(frozen=True, eq=False)
class SimulatedCalibration:
    """Simulated stars, their posteriors, and all tests of them.

    Attributes
    ----------
    truth : (N, L) array
        Labels drawn from the prior.
    draws : (N, D, L) array
        Nearly independent draws from each posterior.
    ranks : RankTest
        Of each label.
    regions : RegionTest
        TARP test of all labels together.
    comparison : Comparison
        Pulls, PIT and distances, for `calibration_table`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> truth, draws = rng.normal(size=(400, 2)), rng.normal(size=(400, 99, 2))
    >>> from slamjax.validation import SimulatedCalibration
    >>> result = SimulatedCalibration.from_draws(truth, draws, ["teff", "logg"])
    >>> result.passes(), result.widened(0.6).passes()
    (True, False)
    """

    truth: np.ndarray
    draws: np.ndarray
    ranks: RankTest
    regions: RegionTest
    comparison: Comparison

    @classmethod
    def from_draws(
        cls,
        truth: np.ndarray,
        draws: np.ndarray,
        names: Sequence[str],
        *,
        seed: int = 0,
        flags: np.ndarray | None = None,
    ) -> SimulatedCalibration:
        """All tests of true labels (N, L), drawn from the prior, and nearly independent posterior draws (N, D, L)."""
        return cls(
            truth,
            draws,
            rank_test(truth, draws, names),
            tarp(truth, draws, seed=seed),
            compare_draws(truth, draws, names, flags=flags),
        )

    def widened(self, factor: float) -> SimulatedCalibration:
        """The same stars with posteriors ``factor`` times as wide: what the tests say of errors that wrong."""
        return SimulatedCalibration.from_draws(self.truth, scale_draws(self.draws, factor), self.ranks.names)

    def passes(self, level: float = 0.01) -> bool:
        """Whether ranks and regions are as expected at this level (each after Bonferroni)."""
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
                f"regions (TARP): {'as expected' if regions.passes() else 'NOT as expected'}; "
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
    sampler: Method | SamplerSpec = "auto",
    memory: float = 1.0,
    seed: int = 0,
    on_progress: Progress | bool | None = True,
) -> SimulatedCalibration:
    """Simulation-based calibration of `slamjax.sample`.

    Labels are drawn from the prior, spectra from the likelihood, and posteriors are sampled with the same prior. This
    tests whether the sampler gives the posterior of prior and likelihood; whether the model's likelihood is that of
    real stars is for `slamjax.validate` to test.

    Parameters
    ----------
    model : Model
        Its recipe is not applied, see `prepared_model`.
    ivar : (M, P) array
        Inverse variances of the prepared flux, as ``model.prepare(stars).ivar``; each simulated star gets a random row
        among those with a good pixel.
    n_stars : int
        500 are enough to notice widths wrong by a fifth.
    prior : "uniform", "training" or a NumPyro distribution of event shape (L,), optional
        Of labels in physical units, as in `slamjax.sample`: uniform in the range of the training stars, or with their
        density. It must be able to draw.
    nuisances : Nuisances, optional
        Drawn from their priors, applied to the spectra, and sampled or integrated out. Free velocities are ranked like
        labels.
    sampler, memory : optional
        As in `slamjax.sample`.
    seed : int
        Of labels, errors, noise and sampler. Fix it before you look.
    on_progress : callable or bool
        Called with (stars sampled, stars in all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    SimulatedCalibration

    Raises
    ------
    SlamError
        For too few stars, unusable ivar or prior, or stars without a posterior.

    Examples
    --------
    >>> from slamjax.validation import sbc
    >>> test = sbc(model, model.prepare(stars).ivar, n_stars=500)  # doctest: +SKIP
    >>> test.passes()  # doctest: +SKIP
    True
    """
    from slamjax.sampling import priors, sample  # numpyro is loaded where it is needed

    if n_stars < 2:
        raise SlamError(f"n_stars is {n_stars}; simulate hundreds")
    given = np.atleast_2d(np.asarray(ivar, float))
    fits = given.shape[1] == model.wave.size
    usable = np.flatnonzero(np.any((given > 0) & model.trained, axis=1)) if fits else np.empty(0, int)
    if usable.size == 0:
        raise SlamError(f"ivar has shape {given.shape}; give rows with good pixels, as model.prepare(stars).ivar")
    rows = np.random.default_rng(seed).choice(usable, n_stars)
    named: dict[Any, Any] = {
        None: priors.training_range,
        "uniform": priors.training_range,
        "training": priors.training_density,
    }
    density = named[prior](model) if prior is None or (isinstance(prior, str) and prior in named) else prior
    if not hasattr(density, "sample"):
        raise SlamError(f"prior is {prior!r}; give 'uniform', 'training' or a NumPyro distribution")
    one_per_star = tuple(density.batch_shape) == (n_stars,)
    truth = np.asarray(density.sample(jax.random.key(seed), () if one_per_star else (n_stars,)), float)
    names = model.label_names
    if density is prior:
        warn_outside(model, truth)
    if nuisances is None:
        spectra = spectra_at(model, truth, given[rows], seed=seed + 1)
    else:
        values = draw_nuisances(nuisances, n_stars, seed + 3)
        spectra = spectra_at(model, truth, given[rows], seed=seed + 1, nuisances=nuisances, values=values)
        names = (*names, *nuisances.free)
        truth = np.concatenate([truth, *(values[name][:, None] for name in nuisances.free)], axis=1)
    posterior = sample(
        prepared_model(model),
        spectra,
        prior=density,
        nuisances=nuisances,
        sampler=sampler,
        seed=seed + 2,
        memory=memory,
        on_progress=on_progress,
    )
    draws = np.stack([np.asarray(posterior[name], float) for name in names], axis=-1)
    chains = np.moveaxis(draws, 2, 0)  # (chain, draw, star, label) to star first
    sampled = np.all(np.isfinite(chains), axis=(1, 2, 3))
    if np.mean(sampled) < _SAMPLED:
        raise SlamError(
            f"{np.sum(~sampled)} of {n_stars} simulated stars have no posterior, without which the tests are invalid: "
            "look at the flags of slamjax.sample"
        )
    flags = np.asarray(getattr(posterior, "flags", np.zeros(n_stars, int)))[sampled]
    return SimulatedCalibration.from_draws(truth[sampled], thin_draws(chains[sampled]), names, seed=seed, flags=flags)
