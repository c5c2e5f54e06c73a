"""Selections: random and hostile expressions. Each must keep the rows that it means, or be refused in one sentence."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from helpers import xp_giants

from campaigns.frame import Campaign, Outcome, Report, judged

_NAMES = ["teff", "logg", "fe_h", "source_id", "apogee_snr", "nothing", "__class__", "np", "teff.real", "teff[0]", "é"]
_NUMBERS = [
    "0",
    "3",
    "-1",
    "4000",
    "1e400",
    "nan",
    "inf",
    "1_000",
    "0x10",
    "9" * 400,
    "'a'",
    '"b"',
    "True",
    "None",
    "1j",
]
_OPERATORS = [
    "<",
    "<=",
    ">",
    ">=",
    "==",
    "!=",
    "&",
    "|",
    "+",
    "-",
    "*",
    "/",
    "**",
    "//",
    "%",
    "^",
    "<<",
    "@",
    "in",
    "is",
]
_WHOLE = [
    "",
    " ",
    "~" * 100_000 + "(teff > 0)",
    "(" * 100_000 + "teff > 0" + ")" * 100_000,
    "-" * 100_000 + "teff > 0",
    "teff > 0 & " * 50_000 + "teff > 0",
    "teff" + " > teff" * 50_000,
    "teff" + " + teff" * 50_000 + " > 0",
    "teff > " + "9" * 100_000,
    "9**9**9**9 > teff",
    "teff > 10 ** 10 ** 10",
    "(teff > 0) * 10 ** 400",
    "\ud800 > 0",
    "teff > '\ud800'",
    "teff > 0\x00",
    "__import__('os').system('true')",
    "().__class__.__bases__[0].__subclasses__()",
    "lambda: 0",
    "[x for x in teff]",
    "teff := 3",
    "f'{teff}' == 'a'",
    "teff > 0\nteff > 0",
    "teff > 0; 1",
    "teff > 0 # a comment",
    "exec('1')",
    "teff if teff else 0",
    "not teff > 0",
    "teff > 0 and logg > 0",
    "0 < teff < logg",
    "*teff",
    "'a' * 10000000000 == 'b'",
    "'a' * (10 ** 8) == 'b'",
    "[0] * 10 ** 9",
    "teff @ teff > 0",
    "teff << 10 ** 6 > 0",
    "1 << 10 ** 10 > 0",
    "True",
    "1",
    "teff",
    "teff == teff",
]


@cache
def _stars():
    return xp_giants()[:20]


def attempt(number: int, folder: Path) -> Report:
    if number >= len(_WHOLE) and number % 3 == 1:
        return judged(lambda: _known(np.random.default_rng(number)))
    expression = _written(number)

    def select() -> Report:
        kept = _stars().select(expression)
        if not 0 < len(kept) <= len(_stars()):
            return Report(Outcome.WRONG, f"{expression!r} keeps {len(kept)} rows")
        return Report(Outcome.SAME, f"{len(kept)} rows")

    return judged(select)


def _known(rng: np.random.Generator) -> Report:
    """A sound expression must keep the rows that NumPy keeps."""
    stars = _stars()
    text, truth = "", np.zeros(len(stars), bool)
    for term in range(int(rng.integers(1, 4))):
        name = str(rng.choice(["teff", "logg", "fe_h"]))
        values = np.asarray(stars.table[name])  # limits are rounded to the precision of the column
        limit = float(f"{rng.choice(values) + rng.choice([0, 1e-3]):.6g}")
        sign, compare = [("<", np.less), (">=", np.greater_equal), (">", np.greater), ("!=", np.not_equal)][
            int(rng.integers(4))
        ]
        one, kept = f"{name} {sign} {limit!r}", compare(values, limit)
        if rng.random() < 0.3:
            one, kept = f"~({one})", ~kept
        both = rng.random() < 0.5
        joined = f"({text}) & {one}" if both else f"({text}) | {one}"
        text, truth = (one, kept) if term == 0 else (joined, truth & kept if both else truth | kept)
    if not truth.any():
        stars.select(text)  # must be refused
        return Report(Outcome.WRONG, f"{text} keeps rows")
    rows = stars.select(text).rows
    same = np.array_equal(rows, stars.rows[truth])
    return Report(Outcome.SAME if same else Outcome.WRONG, text)


def _written(number: int) -> str:
    if number < len(_WHOLE):
        return _WHOLE[number]
    rng = np.random.default_rng(number)
    if number % 3 == 0:
        text = "logg < 3 & teff > 4000 | fe_h >= -0.5"
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.integers(len(text)))
            text = text[:place] + chr(int(rng.choice([*range(32, 127), 0, 233, 0x3B1, 0xD800]))) + text[place + 1 :]
        return text
    words = [str(rng.choice(_NAMES))]
    for _ in range(int(rng.integers(1, 8))):
        words += [str(rng.choice(_OPERATORS)), str(rng.choice(_NAMES + _NUMBERS))]
    return " ".join(words)


CAMPAIGN = Campaign("`--select`", attempt, tried=1600, short=60, seconds=10)
