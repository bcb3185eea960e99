"""A forward that is left out holds nothing that a rule starts from, and one that holds it is not left out."""

from __future__ import annotations

from textwrap import dedent, indent

import pytest

from regcheck.core.starting_points import StartingPoints
from regcheck.plugins import catalogue
from regcheck.static.models.constructors import Builder
from regcheck.static.models.emit import RegisteredModules
from regcheck.static.models.reachable_starts import can_start
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

STARTS = StartingPoints.of(rule.begins_at for rule in catalogue())
HEADER = (
    "import random\nimport numpy as np\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
    "from functools import partial\nfrom tools import *\nimport tools\nfrom tools import gate, thin\n"
)
TOOLS = """\
from torch.nn.functional import dropout as thin, relu as gate
import torch.nn.functional as functional
def helper(x):
    return inner(x)
def inner(x):
    return START
class Mixer:
    def mix(self, x):
        return START
"""
FAULTY, SOUND = "thin(x, 0.5)", "gate(x)"
REACHES = {
    "a function of another file": ("pass", "return tools.helper(x)"),
    "a star import": ("pass", "return helper(x)"),
    "a function in the object": ("self.f = tools.inner", "return self.f(x)"),
    "a partial function in a list": ("self.f = [partial(tools.inner)]", "return self.f[0](x)"),
    "a dictionary": ("self.f = {'a': tools.inner}", "return self.f['a'](x)"),
    "a lambda": ("self.f = lambda x: tools.inner(x)", "return self.f(x)"),
    "a nested function": ("pass", "def f(y):\n    return tools.inner(y)\nreturn f(x)"),
    "an import in the function": ("pass", "from tools import inner as f\nreturn f(x)"),
    "an object built on the way": ("pass", "return tools.Mixer().mix(x)"),
    "a bound method": ("self.f = tools.Mixer().mix", "return self.f(x)"),
    "an attribute by its name": ("pass", "return getattr(self, 'other')(x)"),
    "an attribute by a computed name": ("self.name = 'other'", "return getattr(self, self.name)(x)"),
    "a member of a package by a computed name": ("self.name = 'inner'", "return getattr(tools, self.name)(x)"),
    "a property": ("pass", "return self.seen"),
    "a class attribute": ("pass", "return self.table[0](x)"),
    "a default argument": ("pass", "return self.default(x)"),
}
METHODS = """\
    table = (tools.inner,)
    def other(self, x):
        return tools.inner(x)
    @property
    def seen(self):
        return tools.inner(torch.ones(1))
    def default(self, x, f=tools.inner):
        return f(x)
"""


def reaches_a_start(init: str, forward: str, tools: str = TOOLS, methods: str = "") -> bool:
    """Whether a rule can start in the forward of `Net`."""
    body = f"    def __init__(self):\n        super().__init__()\n{indent(dedent(init), ' ' * 8)}\n"
    run = f"    def forward(self, x):\n{indent(dedent(forward), ' ' * 8)}\n"
    net = f"{HEADER}class Net(nn.Module):\n{body}{methods}{run}"
    project = Project([Source("net.py", net.encode()), Source("tools.py", tools.encode())], STARTS)
    definition = next(each for each in project.definitions if each.name == "Net")
    return can_start(project, RegisteredModules(Builder(project).build(definition)))


@pytest.mark.parametrize(("init", "forward"), REACHES.values(), ids=REACHES)
def test_a_start_is_found_wherever_a_forward_can_reach_it(init: str, forward: str) -> None:
    """A forward that reaches a dropout runs; its twin, which reaches a ReLU there, does not."""
    assert reaches_a_start(init, forward, TOOLS.replace("START", FAULTY), METHODS)
    assert not reaches_a_start(init, forward, TOOLS.replace("START", SOUND), METHODS)


@pytest.mark.parametrize(
    ("init", "forward", "twin_init", "twin"),
    [
        ("self.a = nn.Dropout(0.5)", "return self.a(x)", "self.a = nn.Dropout(0.0)", "return self.a(x)"),
        ("self.a = [nn.Dropout(0.5)]", "return x", "self.a = [nn.Dropout(0.0)]", "return x"),
        ("self.a = nn.LSTM(4, 4, 2, dropout=0.5)", "return self.a(x)", "self.a = nn.LSTM(4, 4)", "return self.a(x)"),
        ("self.a = [nn.BatchNorm1d(4)]", "return self.a[0](x)", "self.a = nn.BatchNorm1d(4)", "return self.a(x)"),
        (
            "self.a = nn.BatchNorm1d(4)",
            "self.a.train()\nreturn self.a(x)",
            "self.a = nn.BatchNorm1d(4)",
            "self.a.float()\nreturn self.a(x)",
        ),
        (
            "self.a = nn.BatchNorm1d(4)",
            "self.a.training = True\nreturn self.a(x)",
            "self.a = nn.BatchNorm1d(4)",
            "y = self.a.training\nreturn self.a(x)",
        ),
        (
            "self.a = nn.BatchNorm1d(4, track_running_stats=False)",
            "return self.a(x)",
            "self.a = nn.BatchNorm1d(4, track_running_stats=True)",
            "return self.a(x)",
        ),
        ("pass", "return x.bernoulli_()", "pass", "return x.relu_()"),
        ("pass", "return x * random.random()", "pass", "return x * self.random()"),
        ("pass", "return x + np.random.rand()", "pass", "return x + np.ones(1)"),
        ("pass", "return nn.Dropout(0.1)(x)", "pass", "return isinstance(x, nn.Dropout)"),
        ("pass", "return getattr(F, 'drop' + 'out')(x)", "pass", "return getattr(F, 're' + 'lu')(x)"),
        (
            "self.a = nn.Dropout(0.0)",
            "return F.scaled_dot_product_attention(x, x, x, dropout_p=self.a)",
            "self.a = nn.Dropout(0.0)",
            "return F.scaled_dot_product_attention(x, x, x, dropout_p=self.a.p if self.training else 0.0)",
        ),
        (
            "self.a = nn.Linear(4, 4)",
            "return F.scaled_dot_product_attention(x, x, x, dropout_p=self.a.p if self.training else 0.0)",
            "self.a = nn.Linear(4, 4)",
            "return F.scaled_dot_product_attention(x, x, x)",
        ),
    ],
)
def test_the_setting_of_a_layer_decides(init: str, forward: str, twin_init: str, twin: str) -> None:
    """A forward runs if a layer or a call in it may drop, draw or use batch statistics, and its twin does not run."""
    assert reaches_a_start(init, forward)
    assert not reaches_a_start(twin_init, twin)


def test_code_that_does_not_run_is_no_start() -> None:
    """Annotations, decorators, raised errors and the constructor of the model itself are not in its forward."""
    forward = "def f(y: nn.Dropout) -> F.dropout:\n    raise F.dropout(y)\nassert F.dropout(x)\nreturn x"
    assert not reaches_a_start("self.weight = torch.rand(3)", forward)
