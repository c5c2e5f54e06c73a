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
        raise SlamError(f"cannot parse the selection {expression!r}: {error.args[0]}") from error
    return " ".join(words)


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
    if not expression.strip():
        raise SlamError('the selection is empty; write, for example, "logg < 3.6 & teff > 3600"')
    try:
        tree = ast.parse(_to_python(expression.strip()), mode="eval")
        with np.errstate(all="ignore"):
            result = np.asarray(_value(tree.body, columns))
    except SyntaxError as error:
        raise SlamError(f"cannot parse the selection {expression!r}: {error.msg}") from error
    except RecursionError as error:
        raise SlamError("the selection is nested too deeply to be parsed; write it more simply") from error
    except (TypeError, np.exceptions.DTypePromotionError, OverflowError, ZeroDivisionError) as error:
        raise SlamError(f"the selection {expression!r} mixes values that cannot be compared: {error}") from error
    if result.dtype != bool:
        raise SlamError(f"the selection {expression!r} is not true or false for each row; compare it with something")
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
            return -_value(operand, columns)
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
    raise SlamError(f"a selection cannot contain {ast.unparse(node)!r}; use columns, numbers and comparisons")


def _is_known(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return ~np.isnan(array) if array.dtype.kind == "f" else np.ones(array.shape, dtype=bool)


def _arithmetic(operation: Callable[[Any, Any], Any], *values: Any) -> Any:
    if any(np.asarray(value).dtype.kind not in "iufb" for value in values):
        raise SlamError("a selection can calculate with numbers only; compare strings with == or !=")
    return operation(*(np.asarray(value) for value in values))


def _truth(node: ast.expr, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    value = np.asarray(_value(node, columns))
    if value.dtype != bool:
        raise SlamError(f"{ast.unparse(node)!r} in the selection is not true or false; compare it with something")
    return value


def _column(name: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    if name in columns:
        return columns[name]
    near = difflib.get_close_matches(name, list(columns), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(columns)}"
    raise SlamError(f"the selection names a column {name!r} that the table does not have; {hint}")
