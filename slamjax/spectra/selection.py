"""Selection of table rows by an expression, evaluated without Python's ``eval``.

The grammar is Python's, except that ``&``, ``|`` and ``~`` mean *and*, *or* and *not*: they bind less tightly than
comparisons, so ``logg < 3.6 & teff > 3600`` needs no parentheses. Every comparison with NaN is false, so its negation
with ``~`` is true.
"""

from __future__ import annotations

import ast
import difflib
import io
import operator
import tokenize
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from slamjax.errors import SlamError

_WORDS = {"&": "and", "&&": "and", "|": "or", "||": "or", "~": "not", "!": "not"}
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: lambda a, b: np.logical_and(a != b, np.logical_and(_is_known(a), _is_known(b))),
}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: lambda a, b: np.power(np.asarray(a, float), b),  # floats overflow to inf, integers grow without limit
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "log10": np.log10,
    "isfinite": np.isfinite,
    "isnan": np.isnan,
}


#: Characters of an expression that a message repeats.
_SHOWN = 200
#: Texts of a column that a message lists at most.
_MOST_TEXTS = 6


class Selection:
    """Rows by an expression, in one table or part by part, and the reason where none of them is kept.

    Parameters
    ----------
    expression : str
        As of `evaluate_selection`.

    Examples
    --------
    >>> import numpy as np
    >>> selection = Selection("teff > 9000")
    >>> selection.keeps({"teff": np.array([4100.0, 4800.0, np.nan])}, 3)
    array([False, False, False])
    >>> print(selection.keeps_none_of("the 3 rows of stars.fits"))
    the selection 'teff > 9000' keeps none of the 3 rows of stars.fits, where teff goes from 4100 to 4800; loosen it
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._ranges: dict[str, tuple[Any, Any]] = {}
        self._texts: dict[str, dict[str, None]] = {}

    def keeps(self, columns: Mapping[str, np.ndarray], n_rows: int) -> Bool[np.ndarray, " row"]:
        """(n_rows,) bool: the rows of a table, or of a part of one, for which the expression is true."""
        kept = evaluate_selection(self.expression, columns, n_rows)
        if not kept.any():
            self._note(columns)
        return kept

    def keeps_none_of(self, rows: str) -> SlamError:
        """The error to raise where no row was kept; it says which values the named columns have."""
        ranges = [f"{name} goes from {_number(low)} to {_number(high)}" for name, (low, high) in self._ranges.items()]
        for name, texts in self._texts.items():
            listed = [repr(text) for text in list(texts)[:_MOST_TEXTS]]
            more = ", ..." if len(texts) > _MOST_TEXTS else ""
            ranges.append(f"{name} is {', '.join(listed)}{more}" if listed else f"{name} is not given")
        where = f", where {', '.join(ranges)}" if ranges else ""
        return SlamError(f"the selection {_shown(self.expression)} keeps none of {rows}{where}; loosen it")

    def _note(self, columns: Mapping[str, np.ndarray]) -> None:
        """Ranges of the columns that the expression names."""
        named = [node.id for node in ast.walk(_parsed(self.expression)) if isinstance(node, ast.Name)]
        for name in dict.fromkeys(name for name in named if name in columns):
            column = columns[name]
            if column.dtype.kind in "iuf":
                known = column[np.isfinite(column)]
                if known.size:
                    low, high = self._ranges.get(name, (known[0], known[0]))
                    self._ranges[name] = min(low, known.min()), max(high, known.max())
                    self._texts.pop(name, None)
                elif name not in self._ranges:
                    self._texts.setdefault(name, {})
            elif column.dtype.kind in "bU":
                texts = self._texts.setdefault(name, {})
                texts |= dict.fromkeys(column[: 1 if len(texts) > _MOST_TEXTS else None].tolist())


def _shown(expression: str) -> str:
    shown = expression[:_SHOWN] + "..." * (len(expression) > _SHOWN)
    return repr(shown) if shown.isprintable() else ascii(shown)


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, np.floating) else str(value)


def _to_python(expression: str) -> str:
    """The expression with its bit operators replaced by words."""
    words = []
    previous = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(expression).readline):
            text = token.string
            if token.type in (tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER):
                continue
            if token.type != tokenize.STRING and text in _WORDS:
                if text == previous and text in "&|":  # '&&' arrives as two tokens
                    previous = ""
                    continue
                words.append(_WORDS[text])
            else:
                words.append(text)
            previous = text
    except (tokenize.TokenError, SyntaxError) as error:
        raise SlamError(f"cannot parse the selection {_shown(expression)}: {error.args[0]}") from error
    return " ".join(words)


def _parsed(expression: str) -> ast.expr:
    """The expression as a tree.

    Raises
    ------
    SlamError
        If it is empty, cannot be parsed, or is too long or too deep for Python's parser.
    """
    if not expression.strip():
        raise SlamError('the selection is empty; write, for example, "logg < 3.6 & teff > 3600"')
    try:
        return ast.parse(_to_python(expression.strip()), mode="eval").body
    except SyntaxError as error:
        raise SlamError(f"cannot parse the selection {_shown(expression)}: {error.msg}") from error
    except UnicodeError as error:  # bytes of a command line that are no text
        raise SlamError(
            f"cannot parse the selection {_shown(expression)}: it holds characters that are no text"
        ) from error
    except (RecursionError, MemoryError) as error:  # Python's parser has a stack of its own
        raise SlamError("the selection is nested too deeply to be parsed; write it more simply") from error


def evaluate_selection(expression: str, columns: Mapping[str, np.ndarray], n_rows: int) -> Bool[np.ndarray, " row"]:
    """The rows of a table for which an expression is true.

    Parameters
    ----------
    expression : str
        Comparisons of columns and numbers joined by ``&``/``and``, ``|``/``or``, ``~``/``not``; also arithmetic,
        parentheses, quoted strings, chains such as ``3600 < teff < 5600`` and the functions abs, sqrt, exp, log, log10,
        isfinite, isnan.
    columns : mapping of str to (n_rows,) array
    n_rows : int

    Returns
    -------
    (n_rows,) bool array

    Raises
    ------
    SlamError
        If the expression cannot be parsed, names an unknown column, or is not true or false for each row.

    Examples
    --------
    >>> import numpy as np
    >>> evaluate_selection("logg < 3.6 & teff > 3600", {"teff": np.array([3500, 4800]), "logg": np.array([1, 2])}, 2)
    array([False,  True])
    """
    tree = _parsed(expression)
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(_value(tree, columns))
    except RecursionError as error:
        raise SlamError("the selection is nested too deeply to be parsed; write it more simply") from error
    except (TypeError, np.exceptions.DTypePromotionError, OverflowError, ZeroDivisionError) as error:
        shown = _shown(expression)
        raise SlamError(f"the selection {shown} mixes values that cannot be compared: {error}") from error
    if result.dtype != bool:
        shown = _shown(expression)
        raise SlamError(f"the selection {shown} is not true or false for each row; compare it with something")
    return np.array(np.broadcast_to(result, (n_rows,)))


def _value(node: ast.expr, columns: Mapping[str, np.ndarray]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return constant
        case ast.Name(id=name):
            return _column(name, columns)
        case ast.BoolOp(op=op, values=values):
            logical = np.logical_and if isinstance(op, ast.And) else np.logical_or
            result = _truth(values[0], columns)
            for part in values[1:]:
                result = logical(result, _truth(part, columns))
            return result
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return np.logical_not(_truth(operand, columns))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_wide(_value(operand, columns))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return +_value(operand, columns)
        case ast.BinOp(left=left, op=binary, right=right) if type(binary) in _ARITHMETIC:
            return _arithmetic(_ARITHMETIC[type(binary)], _value(left, columns), _value(right, columns))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            values = [_value(part, columns) for part in (left, *comparators)]
            result = np.asarray(True)
            for comparison, a, b in zip(ops, values[:-1], values[1:], strict=True):
                if type(comparison) not in _COMPARE:
                    raise SlamError("a selection can compare with <, <=, >, >=, == and != only")
                result = np.logical_and(result, _COMPARE[type(comparison)](a, b))
            return result
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_value(argument, columns))
    raise SlamError(f"a selection cannot contain {_shown(ast.unparse(node))}; use columns, numbers and comparisons")


def _is_known(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return ~np.isnan(array) if array.dtype.kind == "f" else np.ones(array.shape, dtype=bool)


def _arithmetic(operation: Callable[[Any, Any], Any], *values: Any) -> Any:
    if any(np.asarray(value).dtype.kind not in "iufb" for value in values):
        raise SlamError("a selection can calculate with numbers only; compare strings with == or !=")
    return operation(*(np.asarray(_wide(value)) for value in values))


def _wide(value: Any) -> Any:
    """Integers of a column in 64 bits with a sign, for sums and products; floats where they have too many digits."""
    if not (isinstance(value, np.ndarray) and value.dtype.kind in "iu"):
        return value
    fits = value.dtype != np.uint64 or value.max(initial=0) <= np.iinfo(np.int64).max
    return value.astype(np.int64 if fits else float)


def _truth(node: ast.expr, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    value = np.asarray(_value(node, columns))
    if value.dtype != bool:
        raise SlamError(f"{_shown(ast.unparse(node))} in the selection is not true or false; compare it with something")
    return value


def _column(name: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    if name in columns:
        return columns[name]
    near = difflib.get_close_matches(name, list(columns), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(columns)}"
    raise SlamError(f"the selection names a column {name!r} that the table does not have; {hint}")
