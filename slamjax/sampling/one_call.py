"""`sample`: posteriors by a sampler that is built and used once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from slamjax._util.checkpoint import Checkpoint
from slamjax.errors import SlamError
from slamjax.model.joint import JointModel, joint_model
from slamjax.sampling.joint import sample_joint
from slamjax.sampling.posterior import Posterior
from slamjax.sampling.sampler import Sampler
from slamjax.sampling.specs import Method, SamplerSpec
from slamjax.typing import Progress


def sample(
    model: Any,
    spectra: Any,
    *,
    prior: Any = None,
    fixed: Mapping[str, Any] | None = None,
    nuisances: Any = None,
    sampler: Method | SamplerSpec = "auto",
    seed: int = 0,
    memory: float = 1.0,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    on_progress: Progress | bool | None = True,
) -> Posterior:
    """Draws from the posterior of the labels of every spectrum, or of every star from all of its spectra.

    With one model: `Sampler`, built and used once. With several, a star's spectra, of any number and kind, have their
    labels in common, see `slamjax.JointFitter`.

    Parameters
    ----------
    model : Model, or JointModel, or mapping of str to Model
    spectra : Spectra, or Observations, or mapping of str to Spectra
        As read; they are prepared by each model's recipe.
    prior, fixed, seed, checkpoint, on_progress : optional
        As of `Sampler.sample`. Several models have neither ``fixed`` nor ``checkpoint``; their prior is uniform where
        every model of which a star has spectra has training stars, times labels known from elsewhere,
        ``{"logg": (values, errors)}``, or a NumPyro distribution of the joint labels.
    nuisances, sampler, memory : optional
        As of `Sampler`; nuisances of several models are a mapping, see `slamjax.JointModel`.

    Returns
    -------
    Posterior
        Of several models: of the labels, the velocities that all spectra of a star share, and those of each,
        ``rv_<model>_1``, … in the order of a star's rows, NaN where it has fewer.

    Raises
    ------
    SlamError
        If the spectra do not cover the model, or the options do not fit together.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> stars = stars.on_pixels(slice(100, 120))
    >>> model = slamjax.train(stars[:100], ["teff", "logg"], emulator=slamjax.Polynomial(), noise="diagonal")
    >>> spec = slamjax.SamplerSpec("hmc", draws=50, warmup=20)
    >>> posterior = slamjax.sample(model, stars[100:104], sampler=spec)
    >>> posterior["teff"].shape  # chain, draw, star
    (2, 50, 4)
    """
    if isinstance(model, JointModel | Mapping):
        if fixed is not None or checkpoint is not None:
            raise SlamError("several models are sampled without fixed labels and without a checkpoint; leave both out")
        options: dict[str, Any] = {"prior": prior, "sampler": sampler, "seed": seed, "memory": memory}
        return sample_joint(joint_model(model, nuisances), spectra, on_progress=on_progress, **options)
    built = Sampler(model, nuisances=nuisances, sampler=sampler, memory=memory)
    return built.sample(
        spectra, prior=prior, fixed=fixed, seed=seed, checkpoint=checkpoint, on_progress=on_progress
    )  # fmt: skip
