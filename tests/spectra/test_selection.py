"""Selections by expressions, compared with NumPy."""

import operator
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slamjax.errors import SlamError
from slamjax.spectra.selection import Selection, evaluate_selection

COLUMNS = {
    "teff": np.array([3500.0, 4200.0, np.nan, 5100.0, 4200.0, 1e9]),
    "fe_h": np.array([-2.5, -0.1, 0.3, np.nan, 0.0, np.inf], dtype=np.float32),
    "count": np.array([0, 1, 2, 3, -4, 5]),
    "survey": np.array(["apogee", "lamost", "apogee", "", "sdss & co", "x"]),
    "clean": np.array([True, False, True, True, False, False]),
}
N = 6

ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul}
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
FUNCTIONS = {"abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "log10": np.log10}


def select(expression):
    return evaluate_selection(expression, COLUMNS, N)


# Expressions are generated as pairs: the text, and a function that evaluates the same tree with NumPy.
numbers = st.one_of(
    st.sampled_from(["teff", "fe_h", "count"]).map(lambda name: (name, COLUMNS[name].astype(float))),
    st.sampled_from([-4.0, -0.1, 0.0, 0.3, 2.0, 4200.0]).map(lambda value: (repr(value), np.full(N, value))),
)
# dividing a number by a literal zero is an error, so only columns are divided by
columns = numbers.filter(lambda pair: pair[0].isalpha() or "_" in pair[0])
values = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(sorted(ARITHMETIC)), inner, inner).map(
            lambda t: (f"({t[1][0]} {t[0]} {t[2][0]})", ARITHMETIC[t[0]](t[1][1], t[2][1]))
        ),
        st.tuples(inner, columns).map(lambda t: (f"({t[0][0]} / {t[1][0]})", t[0][1] / t[1][1])),
        st.tuples(st.sampled_from(sorted(FUNCTIONS)), inner).map(
            lambda t: (f"{t[0]}({t[1][0]})", FUNCTIONS[t[0]](t[1][1]))
        ),
        inner.map(lambda t: (f"(-{t[0]})", -t[1])),
    ),
    max_leaves=4,
)
comparisons = st.one_of(
    st.tuples(st.sampled_from(sorted(COMPARE)), values, values).map(
        lambda t: (f"{t[1][0]} {t[0]} {t[2][0]}", COMPARE[t[0]](t[1][1], t[2][1]))
    ),
    values.map(lambda t: (f"isfinite({t[0]})", np.isfinite(t[1]))),
)
truths = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["&", "and", "&&"]), inner, inner).map(
            lambda t: (f"({t[1][0]}) {t[0]} ({t[2][0]})", t[1][1] & t[2][1])
        ),
        st.tuples(st.sampled_from(["|", "or", "||"]), inner, inner).map(
            lambda t: (f"({t[1][0]}) {t[0]} ({t[2][0]})", t[1][1] | t[2][1])
        ),
        st.tuples(st.sampled_from(["~", "not ", "!"]), inner).map(lambda t: (f"{t[0]}({t[1][0]})", ~t[1][1])),
    ),
    max_leaves=5,
)


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    """The reference divides by zero and takes logarithms of negative numbers, as the expressions do."""
    with np.errstate(all="ignore"):
        yield


@given(truths)
def test_any_expression_agrees_with_numpy(pair):
    text, expected = pair
    columns = {**COLUMNS, "fe_h": COLUMNS["fe_h"].astype(float)}  # so that both sides compute in float64
    np.testing.assert_array_equal(evaluate_selection(text, columns, N), expected)


@given(st.lists(st.lists(comparisons, min_size=1, max_size=3), min_size=1, max_size=3))
def test_bit_operators_bind_less_than_comparisons_and_and_binds_more_than_or(alternatives):
    """No parentheses: in Python itself ``a < 1 & b > 2`` is ``a < (1 & b) > 2``."""
    text = " | ".join(" & ".join(text for text, _ in terms) for terms in alternatives)
    expected = np.any([np.all([truth for _, truth in terms], axis=0) for terms in alternatives], axis=0)
    columns = {**COLUMNS, "fe_h": COLUMNS["fe_h"].astype(float)}
    np.testing.assert_array_equal(evaluate_selection(text, columns, N), expected)


@pytest.mark.parametrize("comparison", ["<", "<=", ">", ">=", "=="])
def test_a_comparison_with_nan_is_false(comparison):
    assert not select(f"teff {comparison} 4200")[2]
    assert not select(f"teff {comparison} teff")[2]


def test_an_unequal_comparison_with_nan_is_false_too():
    assert not select("teff != 4200")[2]


def test_chained_comparisons():
    np.testing.assert_array_equal(select("3600 < teff <= 5100"), [False, True, False, True, True, False])


def test_big_integer_ids_compare_exactly():
    """A Gaia source_id needs 19 digits; a float holds 16."""
    identifier = 4295806720123456789
    column = np.array([identifier - 1, identifier, identifier + 1])
    np.testing.assert_array_equal(evaluate_selection(f"id == {identifier}", {"id": column}, 3), [False, True, False])
    np.testing.assert_array_equal(evaluate_selection(f"id > {identifier}", {"id": column}, 3), [False, False, True])
    unsigned = column.astype(np.uint64) + np.uint64(2**63)
    result = evaluate_selection(f"id == {identifier + 2**63}", {"id": unsigned}, 3)
    np.testing.assert_array_equal(result, [False, True, False])


def test_a_float32_column_equals_the_typed_number():
    """0.3 in float32 is not 0.3 in float64."""
    np.testing.assert_array_equal(select("fe_h == 0.3"), [False, False, True, False, False, False])


def test_strings_are_compared_and_operators_within_them_kept():
    np.testing.assert_array_equal(select("survey == 'apogee'"), [True, False, True, False, False, False])
    np.testing.assert_array_equal(select('survey == "sdss & co" | clean'), [True, False, True, True, True, False])


def test_a_boolean_column_is_an_expression():
    np.testing.assert_array_equal(select("clean"), COLUMNS["clean"])
    np.testing.assert_array_equal(select("~clean & count >= 0"), [False, True, False, False, False, True])


def test_a_constant_expression_applies_to_every_row():
    np.testing.assert_array_equal(select("1 < 2"), np.ones(N, dtype=bool))


def test_lines_and_spaces_do_not_matter():
    np.testing.assert_array_equal(select("teff > 4000\n  & count < 3 "), select("teff>4000&count<3"))


def test_leading_spaces_do_not_matter():
    np.testing.assert_array_equal(select("  teff > 4000"), select("teff > 4000"))


def test_a_selection_does_not_change_the_column():
    chosen = select("clean")
    chosen[:] = False
    assert COLUMNS["clean"].any()


def test_huge_powers_overflow_instead_of_hanging():
    assert not select("count == 9**9**9").any()


def test_an_unknown_column_gets_a_hint():
    with pytest.raises(SlamError, match="'tef' that the table does not have; did you mean 'teff'"):
        select("tef > 4000")
    with pytest.raises(SlamError, match=r"'zzz'.*it has: teff, fe_h, count, survey, clean"):
        select("zzz > 4000")


@pytest.mark.parametrize("expression", ["teff", "teff + 1", "-count", "'apogee'", "3", "sqrt(teff)"])
def test_an_expression_that_is_not_boolean_is_refused(expression):
    with pytest.raises(SlamError, match="not true or false for each row"):
        select(expression)


@pytest.mark.parametrize("expression", ["teff & clean", "clean | 1", "~count", "clean and survey"])
def test_numbers_are_not_booleans(expression):
    with pytest.raises(SlamError, match="in the selection is not true or false"):
        select(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "__import__('os')",
        "teff.T > 1",
        "teff.__class__ == 1",
        "().__class__",
        "eval('1') == 1",
        "open('x') == 1",
        "abs.__call__(teff) > 1",
        "abs(teff, count) > 1",
        "abs(x=teff) > 1",
        "teff[0] > 1",
        "[teff for teff in count]",
        "(lambda: clean)()",
        "f'{teff}' == 'x'",
        "teff if clean else count",
        "survey in ('a', 'b')",
        "teff is None",
        "count @ count > 1",
        "count ^ 2 > 1",
        "1j > teff",
        "(clean, clean)",
    ],
)
def test_nothing_but_columns_numbers_and_comparisons_is_evaluated(expression):
    with pytest.raises(SlamError, match="selection"):
        select(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "teff >",
        "(teff > 1",
        "teff > 1)",
        "teff = 1",
        "teff := 1",
        "& clean",
        "'apogee",
        "$teff > 1",
        "a b",
        "teff > 1\0",
    ],
)
def test_an_expression_that_cannot_be_parsed_is_named(expression):
    with pytest.raises(SlamError, match="cannot parse the selection"):
        select(expression)


@pytest.mark.parametrize("expression", ["", "   ", "\n"])
def test_an_empty_expression_gets_an_example(expression):
    with pytest.raises(SlamError, match=r'is empty; write, for example, "logg < 3\.6'):
        select(expression)


@pytest.mark.parametrize("expression", ["survey < 3", "-survey == 'x'", "sqrt(survey) > 1", "-clean"])
def test_values_that_cannot_be_compared_are_an_error(expression):
    with pytest.raises(SlamError, match="mixes values that cannot be compared"):
        select(expression)


DEEP = ["(" * 5000 + "clean" + ")" * 5000, *(sign * 100_000 + "clean" for sign in ("~", "-", "not ", "(~"))]


@pytest.mark.parametrize("expression", DEEP, ids=["brackets", "tildes", "minus", "not", "both"])
def test_deep_nesting_is_an_error_and_no_crash(expression):
    with pytest.raises(SlamError, match="selection"):
        select(expression)


def test_a_long_expression_is_shortened_in_messages():
    with pytest.raises(SlamError) as told:
        select("(" * 100_000)
    assert len(str(told.value)) < 400


@pytest.mark.parametrize("expression", ["\ud800", "survey == '\udcff'", "te\udc80ff > 1"])
def test_bytes_that_are_no_text_are_an_error(expression):
    """Python hands bytes of a command line that are no UTF-8 on as lone surrogates."""
    with pytest.raises(SlamError, match="characters that are no text") as told:
        select(expression)
    assert str(told.value).isascii()


NAMES = ["abs", "sqrt", "log", "isnan", "not", "and", "or", "in", "is", "if", "else", "lambda", "é"]
VALUES = ["1", "0", "3.5", "1e400", "1j", "'a'", "9" * 5000, "**", "==", "!=", "<="]
SIGNS = "()&|~!<>=+-*/%.,'\"[]{}#;\\@:\n\0 \ud800"
pieces = st.sampled_from([*COLUMNS, *NAMES, *VALUES, *SIGNS])
any_text = st.text(st.characters(exclude_categories=()), max_size=30)


@given(st.one_of(any_text, st.lists(pieces, max_size=12).map(" ".join)))
@settings(max_examples=400)
def test_any_text_is_a_selection_or_one_sentence(text):
    """Nothing but a SlamError comes out of it."""
    with suppress(SlamError):
        assert select(text).shape == (N,)


@given(st.lists(st.integers(-128, 127), min_size=2, max_size=2), st.sampled_from(["int8", "int16", "uint8", "uint64"]))
def test_small_integers_do_not_wrap_around(pair, dtype):
    column = np.abs(pair).astype(dtype) if dtype[0] == "u" else np.array(pair, dtype)
    exact = [int(value) for value in column]
    for expression, expected in (
        ("n * n > 200", [value * value > 200 for value in exact]),
        ("n - n - n < 0", [-value < 0 for value in exact]),
        ("-n < 0", [-value < 0 for value in exact]),
    ):
        np.testing.assert_array_equal(evaluate_selection(expression, {"n": column}, 2), expected)


def test_none_kept_says_which_values_the_named_columns_have():
    selection = Selection("teff > 1e10 & count < -9 & survey == 'gaia' & ~clean")
    assert not selection.keeps(COLUMNS, N).any()
    assert str(selection.keeps_none_of("the 6 rows")) == (
        "the selection \"teff > 1e10 & count < -9 & survey == 'gaia' & ~clean\" keeps none of the 6 rows, "
        "where teff goes from 3500 to 1e+09, count goes from -4 to 5, "
        "survey is 'apogee', 'lamost', '', 'sdss & co', 'x', clean is True, False; loosen it"
    )


def test_ranges_of_parts_are_put_together():
    selection = Selection("teff > 1e10")
    for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
        assert not selection.keeps({"teff": COLUMNS["teff"][part]}, 2).any()
    assert "where teff goes from 3500 to 1e+09;" in str(selection.keeps_none_of("the 6 rows"))


def test_a_column_without_numbers_and_many_texts_are_told_in_short():
    columns = {"logg": np.full(40, np.nan), "name": np.array([f"star {k}" for k in range(40)])}
    selection = Selection("logg < 3 & name == 'x'")
    selection.keeps(columns, 40)
    message = str(selection.keeps_none_of("the 40 rows"))
    assert "where logg is not given, name is 'star 0', " in message
    assert "'star 5', ..." in message
    assert "star 6" not in message
