"""What is in a dump of the original SLAM (PyPI: astroslam): pixels, scalers and, in a full one, the training stars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slamjax.emulators.kernels import KERNELS
from slamjax.emulators.scaling import LabelScaling
from slamjax.errors import SlamError
from slamjax.io.inert_pickles import Inert, read_inert
from slamjax.training.svr.export import Machine, kernel_key
from slamjax.typing import Progress

_SLAM, _PIXEL = "slam.slam3.Slam3", "slam.model.SlamModel"
_MACHINES = ("sklearn.svm._classes.SVR", "sklearn.svm._classes.NuSVR")
_SEARCH = "sklearn.model_selection._search.GridSearchCV"
#: Classes and functions that dumps name, beside arrays.
ALLOWED = frozenset(
    {
        ("slam.slam3", "Slam3"),
        ("slam.model", "SlamModel"),
        ("sklearn.svm._classes", "SVR"),
        ("sklearn.svm._classes", "NuSVR"),
        ("sklearn.model_selection._search", "GridSearchCV"),
        ("sklearn.preprocessing._data", "StandardScaler"),
        ("sklearn.metrics._scorer", "_PredictScorer"),
        *(("sklearn.metrics._regression", f"{name}_error") for name in ("mean_squared", "mean_absolute")),
        *(("sklearn.metrics._regression", name) for name in ("median_absolute_error", "r2_score")),
        *(("numpy.ma.core", name) for name in ("MaskedArray", "_mareconstruct")),
        *(("astropy.table." + name.lower(), name) for name in ("Table", "Column")),
        ("collections", "OrderedDict"),
    }
)


@dataclass(frozen=True)
class Dump:
    """What a dump holds: that of ``save_dump_sms`` wavelengths and pixels only."""

    source: Path
    wave: np.ndarray
    pixels: list[Inert]
    slam: Mapping[str, Any]

    @property
    def is_scaled(self) -> bool:
        return isinstance(self.slam.get("tr_flux_scaler"), Inert)

    @property
    def all_bad(self) -> np.ndarray:
        """(P,) bool: pixels that were trained on bad flux."""
        bad = self.slam.get("ind_all_bad")
        return np.zeros(len(self.pixels), bool) if bad is None else numbers(bad, "ind_all_bad").astype(bool)

    @property
    def flux_mean(self) -> np.ndarray | None:
        return _scaler(self.slam, "tr_flux_scaler", "mean_")

    @property
    def flux_scale(self) -> np.ndarray | None:
        return _scaler(self.slam, "tr_flux_scaler", "scale_")

    def label_scaling(self, n_labels: int) -> LabelScaling:
        center = _scaler(self.slam, "tr_labels_scaler", "mean_")
        width = _scaler(self.slam, "tr_labels_scaler", "scale_")
        if center is None or width is None:
            center, width = np.zeros(n_labels), np.ones(n_labels)
        if center.shape != (n_labels,) or width.shape != (n_labels,):
            raise SlamError(f"its scaler has {center.size} labels but its SVRs have {n_labels}")
        return LabelScaling(center, width, (False,) * n_labels)

    @property
    def settings(self) -> dict[str, Any]:
        """How labels and flux were scaled."""
        robust = self.slam.get("init_kwargs", {}).get("robust")
        kind = ("robust" if robust else "standard") if self.is_scaled else "none (astroslam)"
        return {"label_scaling": kind, "flux_scaling": kind}


def open_dump(source: Path, report: Progress | None = None) -> Dump:
    """The dump in a file; raises SlamError if it is none."""
    content = read_inert(source, ALLOWED, "a dump of astroslam", report)
    if isinstance(content, Inert) and content.name == _SLAM:
        slam = content.attributes
        wave, pixels = slam.get("wave"), slam.get("sms", [])
    elif isinstance(content, tuple) and len(content) == 2:
        slam, (wave, pixels) = {}, content
    else:
        raise SlamError(f"{source} is no dump of Slam3; give a file of save_dump or of save_dump_sms")
    if not isinstance(wave, np.ndarray) or not isinstance(pixels, list):
        raise SlamError(f"{source} is no dump of Slam3; give a file of save_dump or of save_dump_sms")
    if len(pixels) != len(wave) or not pixels:
        raise SlamError(f"{source} has {len(pixels)} trained pixels for {len(wave)} wavelengths; train it first")
    return Dump(source, wave.astype(float), pixels, slam)


def numbers(value: Any, name: str) -> np.ndarray:
    """Numbers; an inert object is none."""
    if not isinstance(value, np.ndarray | int | float):
        raise SlamError(f"{name} holds no numbers")
    return np.asarray(value)


def _scaler(slam: Mapping[str, Any], scaler: str, name: str) -> np.ndarray | None:
    held = slam.get(scaler)
    return numbers(held.attributes[name], f"{name} of {scaler}").astype(float) if isinstance(held, Inert) else None


def svr_of(pixel: Any, number: int) -> Mapping[str, Any]:
    """The attributes of a pixel's SVR; of a grid search, of its best one."""
    regressor = pixel.attributes.get("regressor") if isinstance(pixel, Inert) and pixel.name == _PIXEL else pixel
    if isinstance(regressor, Inert) and regressor.name == _SEARCH:
        regressor = regressor.attributes.get("best_estimator_")
    if not isinstance(regressor, Inert) or regressor.name not in _MACHINES:
        name = regressor.name if isinstance(regressor, Inert) else type(regressor).__name__
        raise SlamError(f"pixel {number} holds a {name}, no fitted SVR or NuSVR")
    return regressor.attributes


def machine_of(pixel: Any, number: int) -> Machine:
    svr = svr_of(pixel, number)
    if svr["kernel"] not in KERNELS:
        raise SlamError(f"the SVR of pixel {number} has a kernel that is none of {', '.join(KERNELS)}")
    vectors = numbers(svr["support_vectors_"], f"support_vectors_ of pixel {number}").astype(float)
    dual = numbers(svr["dual_coef_"], f"dual_coef_ of pixel {number}").astype(float)
    if vectors.ndim != 2 or dual.shape != (1, len(vectors)):
        raise SlamError(f"the SVR of pixel {number} has {dual.size} coefficients for {len(vectors)} support vectors")
    key = kernel_key(svr["kernel"], int(svr["degree"]), float(svr["_gamma"]), float(svr["coef0"]))
    return Machine(key, vectors, dual[0], float(numbers(svr["intercept_"], f"intercept_ of pixel {number}").item()))
