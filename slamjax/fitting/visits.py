"""`fit_visits`: all visits of each star in one fit, beside the fit of their mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from slamjax.fitting.fitter import Fitter
from slamjax.fitting.joint.fitter import JointFitter
from slamjax.fitting.joint.tables import JointFit
from slamjax.forward.nuisances import Nuisances
from slamjax.io.label_table import LabelTable
from slamjax.model.joint import JointModel
from slamjax.model.model import Model
from slamjax.preprocessing.stacking import stack
from slamjax.spectra.observations import Observations
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress


def fit_visits(
    model: Model,
    spectra: Spectra,
    star: str | Any,
    *,
    nuisances: Nuisances | None = None,
    shared: Sequence[str] = (),
    prior: Any = None,
    n_starts: int = 3,
    memory: float = 1.0,
    velocity_floor: float = 0.0,
    on_progress: Progress | bool | None = True,
) -> JointFit:
    """Fit all visits of each star together, and the stack of them for comparison.

    Each visit keeps its pixels, errors, velocity and nuisances; labels are the star's. The stack is the mean of the
    visits at the velocities of the joint fit, see `slamjax.stack`.

    Parameters
    ----------
    model : Model
    spectra : Spectra
        A row for each visit.
    star : str or (M,) array
        The column that says whose a spectrum is, or its values; ``id`` of files that `slamjax.read` has read.
    nuisances : Nuisances, optional
        Of each visit; all but the velocity are those of the stack, too.
    shared : sequence of str
        Nuisances that are the same in all visits of a star, see `slamjax.JointModel`.
    prior, n_starts, memory, on_progress
        As of `slamjax.fit`.
    velocity_floor : float
        km/s by which wavelengths drift between visits, see `slamjax.JointFitter`.

    Returns
    -------
    JointFit
        As of `slamjax.fit`. ``labels`` has besides, of the fit of the stack, ``<label>_stack`` and
        ``<label>_stack_err``, ``chi2_stack`` and ``flags_stack``; ``spectra`` has the velocity of each visit. The flag
        VARIABLE_VELOCITY is set where a star's velocities differ by more than their errors.

    Raises
    ------
    SlamError
        If it is not known whose a spectrum is, or the spectra do not cover the model.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> fitted = slamjax.fit_visits(model, stars[[200, 200, 201]], "source_id")
    >>> fitted.labels["teff", "teff_stack", "n_visits"].colnames
    ['teff', 'teff_stack', 'n_visits']
    """
    observed = Observations({"visits": spectra}, star if isinstance(star, str) else {"visits": star})
    own = None if nuisances is None else {"visits": nuisances}
    joint = JointModel({"visits": model}, nuisances=own, shared=shared)
    options: dict[str, Any] = {"n_starts": n_starts, "prior": prior, "memory": memory}
    found = JointFitter(joint, velocity_floor=velocity_floor, **options).fit(observed, on_progress)
    rv = np.asarray(found.spectra["rv"].to_value("km/s")) if "rv" in found.spectra.colnames else None
    rest = None if nuisances is None else _without_rv(nuisances)
    of_stack = Fitter(model, nuisances=rest, **options).fit(stack(spectra, star, rv), on_progress)
    return JointFit(_beside(found.labels, of_stack, model.label_names), found.spectra)


def _without_rv(nuisances: Nuisances) -> Nuisances | None:
    """The stack is at rest."""
    rest = dataclasses.replace(nuisances, rv=None)
    return rest if rest.anything else None


def _beside(labels: LabelTable, of_stack: LabelTable, names: tuple[str, ...]) -> LabelTable:
    for name in names:
        labels[f"{name}_stack"], labels[f"{name}_stack_err"] = of_stack[name], of_stack[f"{name}_err"]
    labels["chi2_stack"], labels["flags_stack"] = of_stack["chi2"], of_stack["flags"]
    return labels
