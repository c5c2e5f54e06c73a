"""Numbers as people write them: a value rounded to its error."""

from __future__ import annotations

import math


def with_error(value: float, error: float) -> str:
    """A value and its error, both to two digits of the error; "-" if the value is unknown.

    Examples
    --------
    >>> from slamjax._util.rounding import with_error
    >>> with_error(4512.3, 43.1), with_error(-0.2137, 0.0996), with_error(2.5, float("inf"))
    ('4512 ± 43', '-0.21 ± 0.10', '2.5 ± inf')
    """
    if not math.isfinite(value):
        return "-"
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g} ± {error:g}"
    digits = decimals_of(error)
    return f"{value:z.{digits}f} ± {error:.{digits}f}"


def decimals_of(error: float) -> int:
    """Decimals at which an error has two digits; none for an error of 10 or more."""
    if not (math.isfinite(error) and error > 0):
        return 0
    exponent = int(f"{error:.1e}".partition("e")[2])  # of the rounded error: 0.0996 is 0.10
    return min(max(0, 1 - exponent), 12)
