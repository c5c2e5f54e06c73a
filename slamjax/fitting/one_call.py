"""`fit`: a `Fitter`, or a `JointFitter`, built and used once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, overload

from slamjax._util.files import check_writable
from slamjax.errors import SlamError
from slamjax.fitting.best_fits import write_best_fits
from slamjax.fitting.fitter import Fitter
from slamjax.fitting.joint.fitter import JointFitter
from slamjax.fitting.joint.tables import JointFit
from slamjax.fitting.learnt_means import PosteriorMean
from slamjax.fitting.optimiser import Method, OptimiserSpec
from slamjax.fitting.prior_options import PriorOption
from slamjax.forward.nuisances import Nuisances
from slamjax.io.label_table import LabelTable
from slamjax.model.joint import JointModel, joint_model
from slamjax.model.model import Model
from slamjax.spectra.observations import Observations
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress


@overload
def fit(
    model: Model,
    spectra: Spectra,
    *,
    optimiser: Method | OptimiserSpec = ...,
    n_starts: int = ...,
    prior: PriorOption = ...,
    posterior_mean: PosteriorMean = ...,
    nuisances: Nuisances | None = ...,
    compress: bool = ...,
    memory: float = ...,
    spectra_out: str | os.PathLike[str] | None = ...,
    on_progress: Progress | bool | None = ...,
) -> LabelTable: ...
@overload
def fit(
    model: JointModel | Mapping[str, Model],
    spectra: Observations | Mapping[str, Spectra],
    *,
    n_starts: int = ...,
    prior: Any = ...,
    nuisances: Mapping[str, Nuisances] | None = ...,
    compress: bool = ...,
    memory: float = ...,
    on_progress: Progress | bool | None = ...,
) -> JointFit: ...
def fit(
    model: Any,
    spectra: Any,
    *,
    optimiser: Method | OptimiserSpec = "lm",
    n_starts: int = 3,
    prior: Any = None,
    posterior_mean: PosteriorMean = False,
    nuisances: Any = None,
    compress: bool = True,
    memory: float = 1.0,
    spectra_out: str | os.PathLike[str] | None = None,
    on_progress: Progress | bool | None = True,
) -> LabelTable | JointFit:
    """Labels, errors and flags of every spectrum, or of every star from all of its spectra.

    With one model: ``Fitter(model, ...).fit(spectra)``. With several: ``JointFitter(models, ...).fit(stars)``, in which
    the spectra of a star, of any number and kind, have their labels in common.

    Parameters
    ----------
    model : Model, or JointModel, or mapping of str to Model
    spectra : Spectra, or Observations, or mapping of str to Spectra
        As read; see `slamjax.Fitter.fit` and `slamjax.JointFitter.fit`.
    optimiser, n_starts, prior, posterior_mean, nuisances, compress, memory
        See `slamjax.Fitter` and `slamjax.JointFitter`, which has neither ``optimiser`` nor ``posterior_mean``;
        nuisances of several models are a mapping, see `slamjax.JointModel`.
    spectra_out : path, optional
        Also write the best-fit spectra there, see `slamjax.write_best_fits`; with one model.
    on_progress : callable or bool
        Called with (stars done, stars in all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    LabelTable, or JointFit
        One row per spectrum, or star: labels with errors and units, covariances, χ², flags. A failed fit has NaN labels
        and infinite errors.

    Raises
    ------
    SlamError
        If the spectra do not cover the model, or the options exclude each other.

    Examples
    --------
    >>> import slamjax
    >>> stars, new_stars = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> labels = slamjax.fit(model, new_stars[:3], n_starts=1)
    >>> labels["teff", "teff_err", "chi2", "flags"].colnames
    ['teff', 'teff_err', 'chi2', 'flags']
    >>> labels["teff_err"].unit
    Unit("K")
    """
    if isinstance(model, JointModel | Mapping):
        if optimiser != "lm" or posterior_mean:
            raise SlamError("several models are fitted by method 'lm' and without posterior means; leave both out")
        if spectra_out is not None:
            raise SlamError("best-fit spectra are those of one model; leave spectra_out out, or fit with one")
        fitter = JointFitter(
            joint_model(model, nuisances), n_starts=n_starts, prior=prior, compress=compress, memory=memory
        )
        return fitter.fit(spectra, on_progress)
    options: dict[str, Any] = {"prior": prior, "posterior_mean": posterior_mean, "nuisances": nuisances}
    if spectra_out is not None:
        check_writable(spectra_out)
    single = Fitter(model, optimiser=optimiser, n_starts=n_starts, compress=compress, memory=memory, **options)
    labels = single.fit(spectra, on_progress)
    if spectra_out is not None:
        write_best_fits(single, spectra, labels, spectra_out, on_progress=on_progress)
    return labels
