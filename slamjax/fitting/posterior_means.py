"""Means and standard deviations of the labels' posterior, by importance sampling about the minima that a fit found.

Points are drawn from a mixture of Student-t distributions, one at each minimum that counts, with the curvature there:
the same low-discrepancy numbers for every star, in pairs opposite to each other, so that a Gaussian's mean is exact. A
further round of points comes from a Student-t with the mean and covariance found so far, and more such rounds where the
weights are still uneven. All points of all rounds count, weighted by the posterior over the mixture of the proposals
(Cornuet, Marin, Mira & Robert 2012, Scand. J. Stat. 39, 798).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import gammaincinv, logsumexp, ndtri
from scipy.stats import qmc

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.emulators.scaling import LabelScaling
from slamjax.fitting.batches import StarRows
from slamjax.fitting.covariance import separation
from slamjax.fitting.postprocess import Ends
from slamjax.fitting.problem import Problem
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.label_density import log_volume

#: Points of a round, rounds of every star and at most, and the effective number of points that is enough.
POINTS, ROUNDS, MOST_ROUNDS, ENOUGH = 128, 2, 6, 128.0
#: Degrees of freedom of the proposals, and the factor by which their covariances are wider than the curvature says.
_NU, _WIDER = 7.0, 1.2
#: A minimum counts if its cost is within this of the lowest one's, and if it lies so many standard errors from it.
_COUNTS, _APART = 25.0, 1.0
#: The least part of the points of the first round that a minimum which counts gets.
_LEAST = 0.1


@dataclass(frozen=True, eq=False)
class _Proposal:
    """Mixtures of K Student-t distributions for each of N stars.

    Attributes
    ----------
    share : (N, K) parts of the mixture; 0 for one that does not count
    mean : (N, K, V)
    root : (N, K, V, V) Cholesky factors
    """

    share: np.ndarray
    mean: np.ndarray
    root: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> _Proposal:
        return _Proposal(self.share[rows], self.mean[rows], self.root[rows])

    def points(self, number: int) -> np.ndarray:
        """(N, M, V) points of a round."""
        normal, choice = _numbers(self.mean.shape[2], number)
        component = np.sum(np.cumsum(self.share, axis=1)[:, None, :-1] < choice[:, None], axis=2)
        row = np.arange(len(self.share))[:, None]
        return self.mean[row, component] + np.einsum("nmij,mj->nmi", self.root[row, component], normal)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """ln of the mixture (N, M) at x (N, M, V), up to a constant."""
        n_par = x.shape[2]
        with np.errstate(divide="ignore"):
            scale = np.log(self.share) - np.log(np.einsum("nkii->nki", self.root)).sum(axis=2)
        away = np.einsum("nkij,nkmj->nkmi", np.linalg.inv(self.root), x[:, None] - self.mean[:, :, None])
        square = np.sum(np.square(away), axis=3)
        return logsumexp(scale[:, :, None] - 0.5 * (_NU + n_par) * np.log1p(square / _NU), axis=1)


def _numbers(n_par: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard Student-t numbers (M, V) in opposite pairs, and uniform ones (M,), of a round."""
    uniform = qmc.Sobol(n_par + 2, seed=number).random(POINTS // 2)
    uniform = np.clip(uniform, 1e-6, 1 - 1e-6)
    chi2 = 2 * gammaincinv(0.5 * _NU, uniform[:, 0])
    t = ndtri(uniform[:, 2:]) * np.sqrt(_NU / chi2)[:, None]
    return np.concatenate([t, -t]), np.concatenate([uniform[:, 1]] * 2)


def posterior_means(
    problem: Problem, ends: Ends, stars: StarRows, block: int
) -> tuple[Float[np.ndarray, "star label"], Float[np.ndarray, "star label"]]:
    """Means and standard deviations (N, L) of the labels in physical units.

    Parameters
    ----------
    problem : with a prior; its labels stay within the box
    ends : where the fits ended
    stars : spectra, and the prior of each star
    block : stars that are worked on at once
    """
    scaling = problem.emulator.scaling
    host = LabelScaling(np.asarray(scaling.center, float), np.asarray(scaling.width, float), scaling.log)
    assert stars.prior is not None
    weight = np.asarray(stars.prior.weight, float)
    draws = _Draws.start(_of_minima(ends, weight, np.asarray(problem.high - problem.low, float)))
    rows = np.arange(len(weight))
    for number in range(MOST_ROUNDS):
        x = draws.proposals[-1][rows].points(number)
        some = jax.tree_util.tree_map(lambda a, rows=rows: a[rows], stars)
        log_p = map_padded(partial(_log_posterior, problem), (x.astype(stars.flux.dtype), some), block)
        draws.add(rows, x, log_p.astype(float))
        if number + 1 >= ROUNDS:
            rows = rows[draws.effective(rows) < ENOUGH]
        if not rows.size or number + 1 == MOST_ROUNDS:
            break
        draws.adapt(rows)
    labels = host.inverse(draws.x[..., : scaling.n_labels])
    share = draws.weights(np.arange(len(weight)))[..., None]
    mean = np.sum(share * labels, axis=1)
    return mean, np.sqrt(np.sum(share * np.square(labels - mean[:, None]), axis=1))


@dataclass(eq=False)
class _Draws:
    """Points of all rounds: x (N, M, V) with ln p (N, M), −inf for one that is not drawn, and their proposals.

    ``n_rounds`` (N,) is each star's number of rounds.
    """

    proposals: list[_Proposal]
    x: np.ndarray
    log_p: np.ndarray
    n_rounds: np.ndarray

    @classmethod
    def start(cls, proposal: _Proposal) -> _Draws:
        n, _, n_par = proposal.mean.shape
        return cls([proposal], np.zeros((n, 0, n_par)), np.zeros((n, 0)), np.zeros(n, int))

    def add(self, rows: np.ndarray, x: np.ndarray, log_p: np.ndarray) -> None:
        """The points of a round of some stars."""
        n = len(self.n_rounds)
        more, density = np.zeros((n, *x.shape[1:])), np.full((n, x.shape[1]), -np.inf)
        more[rows], density[rows] = x, np.where(np.isfinite(log_p), log_p, -np.inf)
        self.x, self.log_p = np.concatenate([self.x, more], axis=1), np.concatenate([self.log_p, density], axis=1)
        self.n_rounds[rows] += 1

    def weights(self, rows: np.ndarray) -> np.ndarray:
        """Normalised weights (rows, M)."""
        x = self.x[rows]
        drawn = np.arange(len(self.proposals)) < self.n_rounds[rows][:, None]
        log_q = np.stack([each[rows].log_density(x) for each in self.proposals], axis=1)
        log_q = logsumexp(np.where(drawn[:, :, None], log_q, -np.inf), axis=1)
        log_w = self.log_p[rows] - log_q
        most = log_w.max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            weight = np.exp(log_w - most)
        weight = weight / weight.sum(axis=1, keepdims=True)
        return np.where(np.isfinite(most), weight, np.nan)

    def effective(self, rows: np.ndarray) -> np.ndarray:
        """Effective number of points (rows,); infinite where no point counts, for more would not help."""
        number = 1 / np.sum(np.square(self.weights(rows)), axis=1)
        return np.where(np.isfinite(number), number, np.inf)

    def adapt(self, rows: np.ndarray) -> None:
        """One more proposal, with the mean and the covariance of the points so far."""
        first = self.proposals[0]
        share = np.nan_to_num(self.weights(rows))
        # no single point may make the covariance collapse
        share = np.minimum(share, 0.1)
        share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-30)
        mean = np.sum(share[..., None] * self.x[rows], axis=1)
        away = self.x[rows] - mean[:, None]
        covariance = np.einsum("nm,nmi,nmj->nij", share, away, away)
        before = first[rows].root[:, 0]
        doubt = 1 / (1 + 0.05 / np.maximum(np.sum(np.square(share), axis=1), 1e-30))[:, None, None]
        covariance = covariance + doubt * (before @ np.swapaxes(before, 1, 2))
        n = len(first.share)
        new = _Proposal(np.ones((n, 1)), np.array(first.mean[:, :1]), np.array(first.root[:, :1]))
        new.mean[rows, 0], new.root[rows, 0] = mean, np.linalg.cholesky(covariance)
        self.proposals.append(new)


def _of_minima(ends: Ends, weight: np.ndarray, span: np.ndarray) -> _Proposal:
    """The first proposal: at the best minimum of each star, and at others that count, the best ones first."""
    n, n_starts, n_par = ends.x.shape
    order = np.argsort(ends.objective, axis=1, kind="stable")
    order = np.concatenate([ends.best[:, None], order], axis=1)  # the best first, even if it does not converge
    row = np.arange(n)[:, None]
    x, cost = ends.x[row, order].astype(float), ends.objective[row, order] / weight[:, None]
    curvature = ((ends.curvature + ends.prior_curvature)[row, order]) / weight[:, None, None, None]
    sound = np.all(np.isfinite(curvature), axis=(2, 3)) & np.all(np.isfinite(x), axis=2)
    eye = np.eye(n_par)
    curvature = np.where(sound[:, :, None, None], curvature, 0) + np.diag(4 / np.square(span))
    counts = sound & np.isfinite(cost) & (cost < cost[:, :1] + _COUNTS)
    counts[:, 0] = True
    for k in range(1, n_starts + 1):
        for before in range(k):
            apart = separation(x[:, k : k + 1], x[:, before], curvature[:, k : k + 1], curvature[:, before], span)
            counts[:, k] &= ~counts[:, before] | (apart[:, 0] > _APART**2)
    covariance = np.linalg.inv(curvature)
    root = np.sqrt(_WIDER) * np.linalg.cholesky(0.5 * (covariance + np.swapaxes(covariance, 2, 3)) + 1e-12 * eye)
    volume = np.sum(np.log(np.einsum("nkii->nki", root)), axis=2)
    with np.errstate(invalid="ignore"):
        evidence = np.where(counts, -0.5 * (cost - cost[:, :1]) + volume - volume[:, :1], -np.inf)
    evidence[:, 0] = 0
    share = np.exp(evidence - logsumexp(evidence, axis=1, keepdims=True))
    share = np.where(counts, np.maximum(share, _LEAST), 0)
    x = np.where(sound[:, :, None], x, 0)
    return _Proposal(share / share.sum(axis=1, keepdims=True), x, root)


@compiled
def _log_posterior(
    problem: Problem, x: Float[Array, "star point parameter"], stars: StarRows
) -> Float[Array, "star point"]:
    """ln of the posterior density of scaled parameters, up to a constant of each star."""
    return jax.vmap(partial(_of_star, problem))(x, stars)


def _of_star(problem: Problem, x: Float[Array, "point parameter"], star: StarRows) -> Array:
    flux, own = star.flux, star.prior
    emulator, inv_cov = problem.of_star(None, star.line_spread).emulator, problem.noise.inverse_covariance(star.ivar)
    assert problem.prior is not None
    assert own is not None
    prior = dataclasses.replace(problem.prior, star=own)
    scaled = x[:, : emulator.scaling.n_labels]
    if isinstance(emulator, ForwardEmulator):
        chi2, logdet = jax.vmap(lambda at: emulator.marginal(inv_cov, at, flux, own.weight))(x)
        cost = chi2 + logdet + jax.vmap(emulator.velocity_cost)(x)
    else:
        residual = flux - emulator.at(x)
        cost = jnp.sum(jnp.square(jax.vmap(inv_cov.whiten)(residual)), axis=-1) / own.weight
    log_prior = jax.vmap(prior.log_density)(emulator.scaling.inverse(scaled))
    inside = jnp.all((x >= problem.low) & (x <= problem.high), axis=-1)
    return jnp.where(inside, log_prior + log_volume(emulator.scaling, scaled) - 0.5 * cost, -jnp.inf)
