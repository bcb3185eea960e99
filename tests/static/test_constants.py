"""Operations on constants: whatever a file says, what they make and what they take is bounded."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcheck.core.errors import CannotTrace
from regcheck.static.interpreter.constant_folding import BITS, BUILTINS, LARGEST, MATH, METHODS, fits
from regcheck.static.interpreter.values import Constant, Instance, Items, Unknown, Value, leaves
from regcheck.static.models.constructors import Builder
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

HEAD = """\
import math
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
"""
MOST_MEMORY = 100 << 20


def built(*lines: str) -> tuple[Builder, Instance]:
    """A model whose constructor has these lines, as the interpreter builds it."""
    text = HEAD + "".join(f"        {each}\n" for each in lines)
    project = Project([Source("net.py", text.encode(errors="surrogatepass"))])
    builder = Builder(project)
    (definition,) = project.definitions
    return builder, builder.build(definition)


def value_of(expression: str) -> Value:
    """What the interpreter takes an expression for."""
    found: Value = built(f"self.x = {expression}")[1].cells["x"]
    return found


@pytest.mark.parametrize(
    "expression",
    [
        "2 ** 10", "7 // 2 * 3 - 1", "-5 % 3", "~6 | 1", "0.5 * 1e9", "3 in range(10**12)", "10**9 in range(10**12)",
        "0.5 in range(100)", "max(range(100))", "min(4, 2)", "round(2.5678, 2)", "int('42')", "float('1.5')",
        "str(12) + 'a'", "'%03d' % 7", "'{:>8}'.format('ab')", "f'{1}-{2}'", "f'{3:03d}{4!r:>3}'",
        "'a,b'.replace(',', ';')",
        "'-'.join('abc')", "'x'.ljust(20)", "(255).bit_length()", "math.sqrt(16)", "math.prod(range(1, 6))",
        "math.floor(2.5)", "'abc'[1]", "range(10)[3]", "50257 * 768", "'a' < 'b'", "not 0",
    ],
)  # fmt: skip
def test_ordinary_constants_are_known(expression: str) -> None:
    """What a model's constructor computes with sizes and names is computed as Python does."""
    import math

    assert value_of(expression) == Constant(eval(expression, {"math": math}))


@pytest.mark.parametrize(
    "expression",
    [
        "10**10**10", "10**1000", "9999 ** 9999 ** 99", "1 << 10**10", "~10**400", "'x' * 10**12",
        "max(range(10**10))", "min(range(10**30))", "sum(range(10**12))", "0.5 in range(10**12)",
        "'a' in range(10**12)", "str(range(10**12))", "range(10**30)", "len(range(10**30))", "'a'.ljust(10**11)",
        "'a'.zfill(10**11)", "'a'.center(10**11)", "('\\t' * 1).expandtabs(10**11)", "'%999999999d' % 1",
        "'%*d' % 10**9", "'{:99999999}'.format(1)", "'{:{}}'.format(1, 10**9)", "f'{1:999999999d}'",
        "(5).to_bytes(99999999999, 'big')", "(5).__pow__(10**9)", "round(5, -10**9)", "math.prod(range(1, 10**9))",
        "math.factorial(10**9)", "math.comb(10**9, 10**8)", "pow(10, 10**10)", "bytes(10**12)", "bytearray(10**12)",
        "int('9' * 10**6)", "sorted(range(10**12))", "dict.fromkeys(range(10**9))", "1 / 0", "(1, 2)[10**30]",
    ],
)  # fmt: skip
def test_what_is_too_large_to_compute_is_unknown(expression: str) -> None:
    """A constant over the bound, or one that cannot be computed, is a value of which nothing is known."""
    found = value_of(expression)
    assert isinstance(found, Unknown) or (isinstance(found, Items) and not found.exact), found


@pytest.mark.parametrize("length", [BITS // 4, BITS])
def test_a_long_literal_is_unknown_from_the_bound_on(length: int) -> None:
    """A number written out is held to the same bound as a computed one."""
    assert isinstance(value_of("0x" + "f" * length), Constant) == (4 * length <= BITS)


@pytest.mark.parametrize("size", [LARGEST, LARGEST + 1])
@pytest.mark.parametrize("form", ["'{}'", "[{}]", "({})", "{{{}}}"])
def test_a_literal_is_known_up_to_the_bound(form: str, size: int) -> None:
    """A literal string, list, tuple or set of more than `LARGEST` parts is not told apart into them."""
    found = value_of(form.format("a" * size if "'" in form else "1, " * size))
    assert (isinstance(found, Constant) or (isinstance(found, Items) and found.exact)) == (size <= LARGEST)


@pytest.mark.parametrize(
    "lines",
    [
        "for _ in range(60): x = f'{x}{x}'", "for _ in range(60): x = x + x",
        "for _ in range(60): x = x.replace('a', x)",
        "for _ in range(60): x = x.join(x)", "for _ in range(60): x += x", "for _ in range(60): x = '%s%s' % (x, x)",
        "for _ in range(60): xs = [*xs, *xs]", "for _ in range(60): xs = xs + xs", "for _ in range(60): xs += xs",
        "for _ in range(60): xs.extend(xs)", "for _ in range(60): xs = xs * 2", "for _ in range(60): xs = [xs, xs]",
        "for _ in range(60): xs = {'a': xs, 'b': xs}", "[xs.extend(xs) for _ in range(60)]",
        "for _ in range(60): parts.extend(parts)", "[parts.extend(parts) for _ in range(60)]",
        "for _ in range(60): parts = nn.Sequential(parts, parts)", "for _ in range(60): xs = list(zip(xs, xs))",
        "for _ in range(60): xs = list(enumerate(xs + xs))", "for _ in range(60): xs = sorted(xs + xs)",
        "xs = [i for i in range(100) for j in range(100) for k in range(100)]",
    ],
)  # fmt: skip
def test_what_doubles_at_every_turn_stays_small(lines: str) -> None:
    """Strings, lists and containers that grow in a loop or a comprehension end at the bound, and so does the memory."""
    tracemalloc.start()
    try:
        builder, model = built("x, xs, parts = 'ab', [1, 2], nn.ModuleList([nn.ReLU()])", lines, "self.end = 1")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert model.cells["end"] == Constant(1), "the constructor was not followed to its end"
    assert peak < MOST_MEMORY and builder.interpreter.state.steps < builder.interpreter.state.limit


NUMBERS = st.sampled_from(
    "0 1 -1 2 3 7 10 63 64 255 4096 10**6 10**9 10**12 10**30 10**400 0.5 -1.5 1e9 1e308 True".split()
)
TEXTS = st.sampled_from(["''", "'a'", "'ab,cd'", "'%s%s'", "'%9999d'", "'{}{:>99}'", "'\\t\\n'", "'x' * 9", "None"])
SEQUENCES = st.sampled_from(["()", "[]", "range(3)", "range(10**4)", "range(10**10)", "range(10**30)", "'a b'.split()"])
BINARY_SIGNS = "+ - * / // % ** & | ^ << >> == != < >= in".split()


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions one level deeper."""
    names = sorted(name for _, name in METHODS)
    return st.one_of(
        st.tuples(inner, st.sampled_from(BINARY_SIGNS), inner).map(lambda each: "({} {} {})".format(*each)),
        st.tuples(st.sampled_from([*BUILTINS, "range", "list", "sorted", "len", "sum", "tuple", "set"]), inner).map(
            lambda each: "{}({})".format(*each)
        ),
        st.tuples(st.sampled_from(sorted(MATH)), inner, inner).map(lambda each: "math.{}({}, {})".format(*each)),
        st.tuples(inner, st.sampled_from(names), inner).map(lambda each: "({}).{}({})".format(*each)),
        st.tuples(inner, inner).map(lambda each: "[*[{}], {}]".format(*each)),
        st.tuples(inner, inner).map(lambda each: "({})[{}]".format(*each)),
        inner.map(lambda each: f"[{each} for _ in range(9)]"),
        st.tuples(inner, inner).map(lambda each: "{{{}: {}}}".format(*each)),
    )


@settings(max_examples=60, deadline=None)
@given(st.recursive(NUMBERS | TEXTS | SEQUENCES, combined, max_leaves=6))
def test_any_expression_stays_within_the_bound(expression: str) -> None:
    """Any expression of constants is followed, or given up for want of steps; what is known of it is small."""
    try:
        _, model = built(f"x = {expression}", "self.x = [x, f'{x}{x!r:>40}']")
    except CannotTrace:
        return
    found = [*leaves(model.cells.get("x", Unknown()))]
    assert len(found) <= 100 * LARGEST
    assert all(fits(each.value) for each in found if isinstance(each, Constant))
