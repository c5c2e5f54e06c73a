"""Export: scikit-learn's SVRs as the arrays of a `KernelEmulator`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.svm import SVR, NuSVR

from slamjax.emulators.kernels import KERNELS
from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.errors import SlamError

#: Up to this many (kernel, γ, c₀) groups each become their own matrix product; more are padded and looped over on the
#: device, so that one γ per pixel does not become a program of thousands of products.
MAX_OWN_BLOCKS = 8

#: Kernel, degree, γ, c₀, the indices of the labels that it depends on (empty: all), and the metric (empty: ones).
KernelKey = tuple[str, int, float, float, tuple[int, ...], tuple[float, ...]]


class Machine(NamedTuple):
    """A fitted SVR: its kernel, support vectors (S, L), their coefficients (S,), and b."""

    key: KernelKey
    vectors: np.ndarray
    dual: np.ndarray
    intercept: float

    @property
    def n_labels(self) -> int:
        return self.vectors.shape[1]


def kernel_key(
    kernel: str,
    degree: int,
    gamma: float,
    coef0: float,
    labels: tuple[int, ...] = (),
    metric: tuple[float, ...] = (),
) -> KernelKey:
    """Pixels with equal keys share a kernel matrix; parameters that a kernel ignores do not count."""
    if kernel == "linear":
        return ("linear", 1, 1.0, 0.0, labels, metric)
    if kernel == "rbf":
        return ("rbf", 1, float(gamma), 0.0, labels, metric)
    return (kernel, int(degree) if kernel == "poly" else 1, float(gamma), float(coef0), labels, metric)


def assemble(
    support: np.ndarray,
    dual: np.ndarray,
    intercept: np.ndarray,
    keys: Sequence[KernelKey],
    scaling: LabelScaling,
    flux_mean: np.ndarray,
    flux_scale: np.ndarray,
    *,
    whole: bool = False,
) -> KernelEmulator:
    """A KernelEmulator in float64 on the host.

    Parameters
    ----------
    support : (N, L) scaled labels
    dual : (N, P) coefficients, zero where a star is no support vector
    intercept : (P,) NaN for a pixel that has no SVR
    keys : P kernel keys
    whole : keep stars that are no support vector of any pixel, so that several emulators have the same shape
    """
    n_pix = dual.shape[1]
    untrained = ~np.isfinite(intercept)
    dual = np.where(untrained, 0.0, dual)
    used = np.arange(len(dual)) if whole else np.flatnonzero(np.any(dual != 0, axis=1))
    if used.size == 0:
        used = np.arange(1)  # all pixels flat within epsilon: keep one row so that shapes stay valid
    groups: dict[KernelKey, list[int]] = defaultdict(list)
    for pixel in np.flatnonzero(~untrained):
        groups[keys[int(pixel)]].append(int(pixel))
    if not groups:
        raise SlamError("no pixel has an SVR; there is nothing to export")
    # pixels without an SVR need a slot too; they predict NaN from any of them
    groups[next(iter(groups))].extend(int(p) for p in np.flatnonzero(untrained))

    buckets: dict[tuple[Any, ...], list[KernelKey]] = defaultdict(list)
    for key, pixels in sorted(groups.items()):
        few = len(groups) <= MAX_OWN_BLOCKS
        buckets[(key[0], key[1], key[4], key[5], key if few else int(np.ceil(np.log2(len(pixels)))))].append(key)

    blocks, order, offset = [], np.zeros(n_pix, dtype=np.int32), 0
    for (kernel, degree, labels, metric, _), members in buckets.items():
        width = max(len(groups[key]) for key in members)
        padded = np.zeros((len(members), used.size, width))
        for g, key in enumerate(members):
            columns = np.array(sorted(groups[key]))
            padded[g, :, : columns.size] = dual[np.ix_(used, columns)]
            order[columns] = offset + g * width + np.arange(columns.size)
        blocks.append(
            KernelBlock(
                gamma=np.array([key[2] for key in members]),
                coef0=np.array([key[3] for key in members]),
                dual=padded,
                kernel=kernel,
                degree=degree,
                labels=labels,
                metric=np.array(metric) if metric else None,
            )
        )
        offset += len(members) * width
    in_order = offset == n_pix and np.array_equal(order, np.arange(n_pix))
    return KernelEmulator(
        scaling=scaling,
        support=np.asarray(support, dtype=np.float64)[used],
        blocks=tuple(blocks),
        intercept=np.asarray(intercept, dtype=np.float64),
        flux_mean=np.asarray(flux_mean, dtype=np.float64),
        flux_scale=np.asarray(flux_scale, dtype=np.float64),
        order=None if in_order else order,
    )


def from_sklearn(
    svrs: Any,
    *,
    scaling: LabelScaling | None = None,
    flux_mean: Any = 0.0,
    flux_scale: Any = 1.0,
) -> KernelEmulator:
    """Export fitted scikit-learn SVRs to a `KernelEmulator`.

    Parameters
    ----------
    svrs : sequence (or array, or nested sequences) of fitted ``sklearn.svm.SVR`` or ``NuSVR``
        One per pixel, in pixel order (C order if nested); of a fitted search such as GridSearchCV its
        ``best_estimator_`` is taken; None is a pixel without an SVR. Kernels (rbf, linear, poly, sigmoid) and
        hyper-parameters may differ, and each SVR may have been fitted to other stars.
    scaling : LabelScaling, optional
        From physical labels to those that the SVRs were fitted to; default: they are the same.
    flux_mean, flux_scale : float or (P,) array
        The flux is flux_mean + flux_scale · SVR.

    Returns
    -------
    KernelEmulator
        ``emulator(labels)`` has shape (..., P).

    Raises
    ------
    SlamError
        For an SVR that is not fitted, or has another kernel or number of labels; it names the pixel.

    Examples
    --------
    >>> import numpy as np
    >>> import slamjax
    >>> from sklearn.svm import SVR
    >>> labels = np.random.default_rng(0).uniform(size=(50, 2))
    >>> svrs = [SVR().fit(labels, np.sin(labels @ slope)) for slope in ([1, 2], [2, 1], [3, 0])]
    >>> emulator = slamjax.from_sklearn(svrs)
    >>> np.allclose(emulator(labels[0]), [svr.predict(labels[:1])[0] for svr in svrs], atol=1e-5)
    True
    """
    machines = [_machine(svr, pixel) for pixel, svr in enumerate(_flatten(svrs))]
    fitted = [m for m in machines if m is not None]
    if not fitted:
        raise SlamError("from_sklearn was given no fitted SVR; give one per pixel")
    n_labels, n_pix = fitted[0].n_labels, len(machines)
    for pixel, machine in enumerate(machines):
        if machine is not None and machine.n_labels != n_labels:
            raise SlamError(f"the SVR of pixel {pixel} has {machine.n_labels} labels, others have {n_labels}")
    if scaling is None:
        scaling = LabelScaling(np.zeros(n_labels), np.ones(n_labels), (False,) * n_labels)
    elif scaling.n_labels != n_labels:
        raise SlamError(f"scaling has {scaling.n_labels} labels but the SVRs have {n_labels}; they must agree")
    for name, value in (("flux_mean", flux_mean), ("flux_scale", flux_scale)):
        if np.shape(value) not in ((), (n_pix,)):
            raise SlamError(
                f"{name} has shape {np.shape(value)} but there are {n_pix} SVRs; give a number or ({n_pix},)"
            )
    return assemble_machines(
        machines, scaling,
        np.broadcast_to(np.asarray(flux_mean, float), (n_pix,)),
        np.broadcast_to(np.asarray(flux_scale, float), (n_pix,)),
    ).on_device()  # fmt: skip


def assemble_machines(
    machines: Sequence[Machine | None], scaling: LabelScaling, flux_mean: np.ndarray, flux_scale: np.ndarray
) -> KernelEmulator:
    """A KernelEmulator in float64 on the host, of one SVR per pixel; None is a pixel without."""
    fitted = [m for m in machines if m is not None]
    vectors = np.concatenate([m.vectors for m in fitted])
    rows = np.concatenate([np.full(len(m.vectors), p) for p, m in enumerate(machines) if m is not None])
    values = np.concatenate([m.dual for m in fitted])
    n_labels = scaling.n_labels
    support, index = np.unique(vectors, axis=0, return_inverse=True) if len(vectors) else (np.zeros((1, n_labels)), [])
    dual = np.zeros((len(support), len(machines)))
    np.add.at(dual, (np.asarray(index, dtype=int).ravel(), rows.astype(int)), values)
    keys = [kernel_key("linear", 1, 1.0, 0.0) if m is None else m.key for m in machines]
    intercept = np.array([np.nan if m is None else m.intercept for m in machines])
    return assemble(support, dual, intercept, keys, scaling, flux_mean, flux_scale)


def _flatten(svrs: Any) -> list[Any]:
    if isinstance(svrs, np.ndarray):
        return list(svrs.ravel())
    if isinstance(svrs, (list, tuple)):
        return [leaf for item in svrs for leaf in _flatten(item)]
    return [svrs]


def _machine(svr: Any, pixel: int) -> Machine | None:
    if svr is None:
        return None
    svr = getattr(svr, "best_estimator_", svr)
    if not isinstance(svr, (SVR, NuSVR)):
        raise SlamError(f"pixel {pixel} holds a {type(svr).__name__}; give a fitted sklearn.svm.SVR (or None)")
    if svr.kernel not in KERNELS:
        raise SlamError(
            f"the SVR of pixel {pixel} has kernel {svr.kernel!r}; only {', '.join(KERNELS)} can be exported"
        )
    if not hasattr(svr, "dual_coef_"):
        raise SlamError(f"the SVR of pixel {pixel} is not fitted; call its fit first")
    if not isinstance(svr.support_vectors_, np.ndarray):
        raise SlamError(f"the SVR of pixel {pixel} was fitted to a sparse matrix; fit it to an array")
    return Machine(
        key=kernel_key(svr.kernel, svr.degree, svr._gamma, svr.coef0),
        vectors=svr.support_vectors_.reshape(-1, svr.n_features_in_),
        dual=svr.dual_coef_[0],
        intercept=float(np.ravel(svr.intercept_)[0]),
    )
