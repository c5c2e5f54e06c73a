"""Training stars for the pixel view of a page, a quadratic through them, and what training chose for each pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from slamjax.emulators.polynomial import PolynomialEmulator, exponents_of, monomials
from slamjax.errors import SlamError
from slamjax.explorer.emulator_arrays import page_emulator
from slamjax.explorer.packing import compact, under
from slamjax.model.description import hyper_parameters
from slamjax.model.model import Model
from slamjax.model.named_labels import labels_of
from slamjax.spectra.spectra import Spectra
from slamjax.training.ridge import solve

#: Bytes of a pixel's flux.
_BYTES = 2
#: Fewer stars make no picture.
_FEWEST = 20
#: Columns of the table of pixels that a page shows beside the hyper-parameters.
_JUDGED = ("cv_mse", "model_error")


def page_pixels(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What training chose for each pixel, and how well it did."""
    table = model.info.pixels
    names = [name for name in (*hyper_parameters(model), *_JUDGED) if table[name].dtype.kind in "iuf"]
    status = {str(pixel): str(text) for pixel, text in enumerate(np.asarray(table["status"])) if text != "trained"}
    arrays = {name: np.asarray(table[name], np.float32) for name in names}
    return {"chosen": names, "status": status}, under("pixels", arrays)


def training_stars(model: Model, spectra: Spectra | None, training: Spectra | None) -> Spectra | None:
    """The training stars that are at hand: those given as such, or those among the spectra, if they are some dozens."""
    if training is not None:
        return training
    if spectra is None or any(name not in spectra.table.colnames for name in model.label_names):
        return None
    known = model.info.record.contains(spectra)
    return spectra[known] if known.sum() >= _FEWEST else None


def page_training(model: Model, training: Spectra, room: float) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Labels and flux of as many training stars as there is room for, in bytes, and a quadratic through all of them."""
    labels = np.asarray(labels_of(model, training), float)
    known = np.isfinite(labels).all(axis=1)
    training, labels = training[known], labels[known]
    velocity = None
    if model.needs_rv(training):
        if "rv" not in training.table.colnames:
            raise SlamError(
                f"the training stars of {training.source} are in the observed frame; give their velocities in a column "
                "rv, or leave them out"
            )
        velocity = training.values("rv")
    if len(training) < _FEWEST:
        raise SlamError(f"{len(training)} training stars of {training.source} have all labels; at least {_FEWEST} do")
    prepared = model.prepare(training, velocity)
    good = prepared.good & model.trained
    flux = np.where(good, prepared.flux, np.nan)
    most = max(_FEWEST, int(room // (_BYTES * model.wave.size)))
    rows = np.arange(len(training))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    arrays = under("seen", {"labels": labels[rows], **under("flux", compact(flux[rows]))})
    header: dict[str, Any] = {"seen": {"n": len(rows), "of": len(training)}}
    quadratic = _quadratic(model, labels, prepared.flux, good)
    if quadratic is not None:
        its_page = page_emulator(quadratic, model.training_labels)
        header["quadratic"] = its_page.header
        arrays |= under("quadratic", its_page.arrays)
    return header, arrays


def _quadratic(model: Model, labels: np.ndarray, flux: np.ndarray, good: np.ndarray) -> PolynomialEmulator | None:
    """Least squares through these stars; None where they are too few, or the model is a quadratic itself."""
    own = model.host_emulator
    exponents = exponents_of(len(model.label_names), 2)
    if len(labels) < 2 * len(exponents) or (isinstance(own, PolynomialEmulator) and own.degree == 2):
        return None
    terms = np.asarray(monomials(np.asarray(own.scaling(labels), float), exponents))
    known = good.sum(axis=0) >= 2 * len(exponents)
    basis, intercept = np.zeros((len(exponents), good.shape[1])), np.full(good.shape[1], np.nan)
    y = np.where(good, flux, 0).astype(float)
    (basis[:, known],), (intercept[known],) = solve(terms, y[:, known], good[:, known].astype(float), np.zeros(1))
    one = np.ones(good.shape[1])
    return PolynomialEmulator(own.scaling, basis, intercept, 0 * one, one, exponents)
