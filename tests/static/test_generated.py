"""Whatever stands in a file: a scan ends, and says nothing of a bug of its own."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from regcheck.engine.scan import fresh_result
from regcheck.plugins import catalogue
from regcheck.static.project.files import Source

NAMES = st.sampled_from(
    "self x y model net loss p layers config torch nn F Net Base optimizer loader np random".split()
)
ATTRIBUTES = st.sampled_from(
    "training eval train forward dropout Dropout p drop layers append extend items Linear Conv2d BatchNorm1d Sequential"
    " ModuleList no_grad backward step parameters functional scaled_dot_product_attention shape view mean rand"
    " bernoulli weight Module state_dict to cuda optim Adam weight_decay update get format join copy".split()
)
CONSTANTS = st.sampled_from(["0", "1", "0.5", "-1", "None", "True", "False", "''", "'mean'", "10 ** 6", "b'x'", "..."])


def expressions() -> st.SearchStrategy[str]:
    """Expressions about models, sensible or not."""

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        several = st.lists(inner, max_size=3)
        named = st.builds("{}={}".format, st.sampled_from(("p", "training", "dropout_p", "dim", "weight_decay")), inner)
        given = st.lists(
            st.one_of(inner, named.map(str), inner.map("*{}".format), inner.map("**{}".format)), max_size=3
        )
        return st.one_of(
            st.builds("{}.{}".format, inner, ATTRIBUTES),
            st.builds(lambda callee, args: f"{callee}({', '.join(_in_order(args))})", inner, given),
            st.builds(
                "({} {} {})".format, inner, st.sampled_from("+ - * / @ % ** and or is in < == if not".split()), inner
            ),
            st.builds("({} if {} else {})".format, inner, inner, inner),
            st.builds("{}[{}]".format, inner, inner),
            st.builds("{}[{}:{}]".format, inner, inner, inner),
            several.map(lambda items: f"[{', '.join(items)}]"),
            several.map(lambda items: f"({''.join(f'{each}, ' for each in items)})"),
            st.builds("{{{}: {}, **{}}}".format, inner, inner, inner),
            st.builds("[{} for {} in {} if {}]".format, inner, NAMES, inner, inner),
            st.builds("(lambda {}, *y, **p: {})".format, st.just("x"), inner),
            st.builds("(not {})".format, inner),
            st.builds("(-{})".format, inner),
            st.builds("f'{{{}}}'".format, NAMES),
            st.builds("({} := {})".format, NAMES, inner),
        )

    return st.recursive(st.one_of(NAMES, CONSTANTS), larger, max_leaves=8)


def _in_order(args: list[str]) -> list[str]:
    """Arguments in an order that Python allows, keywords once."""
    named = {each.partition("=")[0]: each for each in args if each.split("=")[0].isidentifier() and "=" in each}
    stars = [each for each in args if each.startswith("**")]
    return [*(each for each in args if each not in named.values() and each not in stars), *named.values(), *stars]


def statements() -> st.SearchStrategy[list[str]]:
    """Blocks of statements, line by line."""
    one = expressions()
    simple = st.one_of(
        one,
        st.builds("{} = {}".format, NAMES, one),
        st.builds("self.{} = {}".format, ATTRIBUTES, one),
        st.builds("{}, *{} = {}".format, NAMES, NAMES, one),
        st.builds("{} += {}".format, NAMES, one),
        st.builds("{}[{}] = {}".format, NAMES, one, one),
        st.builds("return {}".format, one),
        st.builds("del {}".format, NAMES),
        st.builds("import {} as {}".format, st.sampled_from(("torch", "torch.nn.functional", "numpy")), NAMES),
        st.builds("from {} import {}".format, st.sampled_from(("torch", "torch.nn", ".", ".net")), ATTRIBUTES),
        st.sampled_from(("pass", "raise", "break", "continue", "global x", "assert x")),
    ).map(lambda line: [line])

    def larger(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
        heads = st.one_of(
            st.builds("if {}:".format, one),
            st.builds("for {} in {}:".format, NAMES, one),
            st.builds("while {}:".format, one),
            st.builds("with {} as {}:".format, one, NAMES),
            st.builds("with {}:".format, one),
            st.builds("def {}({}=0, *, p=1, **y):".format, ATTRIBUTES, st.sampled_from(("self", "model", "x"))),
            st.builds("class {}({}):".format, NAMES, one),
            st.builds("match {}:\n case {{'p': x}}:".format, one),
        )
        block = st.lists(inner, min_size=1, max_size=3).map(
            lambda parts: [f"  {line}" for part in parts for line in part]
        )
        tries = st.builds(lambda body, rest: ["try:", *body, "except Exception as x:", *rest], block, block)
        either = st.builds(
            lambda head, body, rest: [head, *body, "else:", *rest], heads.filter(_may_have_else), block, block
        )
        return st.one_of(st.builds(lambda head, body: [*head.split("\n"), *body], heads, block), tries, either)

    return st.recursive(simple, larger, max_leaves=10)


def _may_have_else(head: str) -> bool:
    return head.startswith(("if", "for", "while"))


HEAD = """\
import torch, random
import numpy as np
import torch.nn.functional as F
from torch import nn, optim

class Base(nn.Module):
    def __init__(self, p=0.5, layers=2):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(layers)])
        self.drop = nn.Dropout(p)

"""


def check(inside: list[list[str]], outside: list[list[str]]) -> None:
    """Scan a file that holds these statements in a model's two methods and at its top, and hold the promise."""
    halves = inside[: len(inside) // 2], inside[len(inside) // 2 :]
    build, forward = ("".join(f"        {line}\n" for part in half for line in part) for half in halves)
    rest = "".join(f"{line}\n" for part in outside for line in part)
    text = (
        f"{HEAD}class Net(Base):\n    def __init__(self, x=1, **config):\n        super().__init__()\n{build}"
        f"\n    def forward(self, x, y=None):\n        x = self.drop(x)\n{forward}        return x\n\n"
        f"model = Net()\noptimizer = optim.Adam(model.parameters(), weight_decay=0.1)\n{rest}"
    )
    result = fresh_result([Source("net.py", text.encode(), True)], catalogue())
    assert [each.reason for each in result.not_checked if "bug of regcheck" in each.what_to_do] == []


@seed(20)
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[*HealthCheck])
@given(st.lists(statements(), max_size=6), st.lists(statements(), max_size=4))
def test_generated_code_is_read_or_told(inside: list[list[str]], outside: list[list[str]]) -> None:
    """No code about models, right or wrong, makes a scan crash or take a reading for its own bug."""
    check(inside, outside)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@seed(21)
@settings(max_examples=5_000, deadline=None, database=None, suppress_health_check=[*HealthCheck])
@given(st.lists(statements(), max_size=6), st.lists(statements(), max_size=4))
def test_much_generated_code_is_read_or_told(inside: list[list[str]], outside: list[list[str]]) -> None:
    """The same of far more code."""
    check(inside, outside)
