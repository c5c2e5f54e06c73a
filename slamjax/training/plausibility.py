"""What cannot be true of training stars: absurd labels and pixels, contradictions, labels given twice."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from slamjax.errors import SlamWarning
from slamjax.spectra.identifiers import is_known
from slamjax.spectra.spectra import Spectra

#: Absolute values that tables write for unknown numbers; larger ones are unknown, too.
_SENTINELS, _LARGEST = (99, 99.9, 99.99, 999, 999.9, 999.99, 9999, 9999.9, 9999.99, 99999), 1e9
#: A label is absurd if it lies this many widths of the bulk (10 to 90 %) outside it, and this many from all others.
_FAR, _GAP = 12.0, 6.0
#: Fewer stars than these have no bulk.
_FEWEST = 10
#: Prepared flux this many spreads from the median, and stated errors of this many spreads, tell nothing.
_ABSURD_FLUX, _ABSURD_ERROR = 100.0, 10.0
#: Labels of two spectra of a star contradict each other if they differ by this part of the spread of all stars.
_CONTRADICTION = 0.5
#: Correlation from which two labels are the same.
_SAME = 1 - 1e-9
_MEDIAN_DEVIATION = 0.6744897501960817


@dataclass(frozen=True)
class LeftOut:
    """A star that does not train, and why.

    Attributes
    ----------
    row : in the table that was read
    star : its identifier, or its row
    reason : in words
    """

    row: int
    star: str
    reason: str


def star_names(stars: Spectra) -> list[str]:
    """An identifier of each star, or its row."""
    columns, names = stars.columns(), [f"row {row}" for row in stars.rows]
    for name in reversed(stars.identifiers()):
        known = is_known(columns[name])
        names = [str(value) if ok else old for value, ok, old in zip(columns[name], known, names, strict=True)]
    return names


def left_out(stars: Spectra, reasons: Mapping[int, str]) -> list[LeftOut]:
    """Stars with the given reasons, by their index among ``stars``."""
    names = star_names(stars)
    return [LeftOut(int(stars.rows[n]), names[n].strip(), reason) for n, reason in sorted(reasons.items())]


def absurd_labels(values: np.ndarray, names: Sequence[str], log: Sequence[str] = ()) -> dict[int, str]:
    """Stars with a label that no star has, and why.

    Either the value is one that tables write for unknown numbers and lies outside the labels of the other stars, or it
    is many times as far from all others as the bulk of them is wide.

    Parameters
    ----------
    values : (N, L) labels, NaN where they are missing
    names : L names
    log : those to compare in log10

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.training.plausibility import absurd_labels
    >>> absurd_labels(np.append(np.linspace(3600, 5600, 50), [-9999, 1e10])[:, None], ["teff"])
    {50: 'teff is -9999, which stands for an unknown number', 51: 'teff is 1e+10, which stands for an unknown number'}
    """
    reasons: dict[int, str] = {}
    for k, name in enumerate(names):
        value = values[:, k]
        unknown = np.isin(np.abs(value), _SENTINELS) | (np.abs(value) >= _LARGEST)
        scale = np.log10(np.where(value > 0, value, np.nan)) if name in log else value
        usual = scale[~unknown & np.isfinite(scale)]
        if usual.size < _FEWEST:
            continue
        low, high = np.percentile(usual, [10, 90])
        width = high - low
        with np.errstate(invalid="ignore"):
            unknown &= ~((scale >= low - width) & (scale <= high + width))
        far = ~unknown & _isolated(scale, unknown, low, high)
        for n in np.flatnonzero(unknown):
            reasons.setdefault(int(n), f"{name} is {value[n]:g}, which stands for an unknown number")
        for n in np.flatnonzero(far):
            bulk = f"{np.percentile(value[~unknown], 10):g} to {np.percentile(value[~unknown], 90):g}"
            reasons.setdefault(int(n), f"{name} is {value[n]:g}, far from the {bulk} of most stars")
    return reasons


def _isolated(value: np.ndarray, without: np.ndarray, low: float, high: float) -> np.ndarray:
    """(N,) bool: far outside the bulk from ``low`` to ``high``, with a gap between."""
    width, found = high - low, np.zeros(value.size, bool)
    if not width > 0:
        return found
    for outward in (value - high, low - value):
        rows = np.flatnonzero(~without & (outward > 0))
        rows = rows[np.argsort(outward[rows])]
        distance = np.concatenate([[0.0], outward[rows]])
        beyond = (np.diff(distance) > _GAP * width) & (distance[1:] > _FAR * width)
        if beyond.any():  # the first gap parts all that lies behind it
            found[rows[np.argmax(beyond) :]] = True
    return found


def absurd_pixels(prepared: Spectra) -> Bool[np.ndarray, "star pixel"]:
    """Good pixels of prepared spectra that tell nothing, by the robust spread of the stars' flux there.

    Flux a hundred spreads from the median, as where a continuum near zero was divided out, or a stated error of ten.
    """
    good = prepared.good
    flux = np.where(good, prepared.flux.astype(float), np.nan)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels without a good star
        apart = np.abs(flux - np.nanmedian(flux, axis=0))
        spread = np.nanmedian(apart, axis=0) / _MEDIAN_DEVIATION
        error = np.where(np.isfinite(prepared.ivar), 1 / np.sqrt(prepared.ivar.astype(float)), 0)
        absurd = (apart > _ABSURD_FLUX * spread) | (error > _ABSURD_ERROR * spread)
    return good & (spread > 0) & absurd


def warn_of_contradictions(stars: Spectra, names: Sequence[str]) -> None:
    """Warn if spectra of one star have different labels, or if two labels are the same."""
    values, group = stars.values(names), stars.star_groups()
    spread = np.subtract(*np.nanpercentile(values, [84, 16], axis=0)) / 2
    found = []
    for number in np.flatnonzero(np.bincount(group) > 1):
        members = np.flatnonzero(group == number)
        apart = np.nan_to_num(np.ptp(values[members], axis=0))  # NaN: one of them lacks the label
        label = int(np.argmax(apart / np.where(spread > 0, spread, np.inf)))
        if apart[label] > _CONTRADICTION * spread[label] > 0:
            found.append((members[0], names[label], np.sort(values[members, label])[[0, -1]]))
    if found:
        first, label_name, (low, high) = found[0]
        _warn(
            f"{len(found)} star{'s are' if len(found) > 1 else ' is'} listed more than once with labels that "
            "contradict each other (first: "
            f"{star_names(stars)[first].strip()}, {label_name} {low:g} and {high:g}); keep the right row of each",
            callers=3,
        )
    for a, b in itertools.combinations(range(len(names)), 2):
        pair = values[:, [a, b]]
        pair = pair[np.isfinite(pair).all(axis=1)]
        pair = pair - pair.mean(axis=0) if len(pair) > 2 else np.zeros((1, 2))
        norm = np.sqrt(np.sum(np.square(pair), axis=0))
        if np.all(norm > 0) and abs(pair[:, 0] @ pair[:, 1]) >= _SAME * norm.prod():
            _warn(
                f"labels {names[a]!r} and {names[b]!r} are the same but for their scale: no spectrum tells them apart; "
                "leave one out",
                callers=3,
            )


def warn_of_left_out(screened: Sequence[LeftOut], n_stars: int) -> None:
    """One warning for all stars that are left out."""
    if screened:
        shown = "; ".join(f"{star.star} ({star.reason})" for star in screened[:5])
        more = f"; and {len(screened) - 5} more, see model.info.screened" if len(screened) > 5 else ""
        _warn(
            f"{len(screened)} of {n_stars} stars are left out of training as outliers: {shown}{more}. To keep them: "
            "DataSpec(screen=False), --no-screen",
            callers=2,
        )


def _warn(message: str, callers: int) -> None:
    """Warn at the line of the user, who is so many functions above the caller of this one."""
    warnings.warn(message, SlamWarning, stacklevel=callers + 2)
