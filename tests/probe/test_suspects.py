"""Suspects are told apart: each is changed and replaced alone, and again with the others taken out."""

from __future__ import annotations

import importlib.util
import sys
import textwrap

import pytest

from regcheck.core.finding import Verdict
from regcheck.engine.audit import audit
from regcheck.rules import load

THREE = """
    import torch
    from torch import nn
    from torch.nn import functional as F


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 32)
            self.head = nn.Linear(32, 2)

        def forward(self, x):
            x = F.dropout({first}, 0.3{switch})  # first
            x = F.dropout(self.second(x), 0.3, self.training)
            x = F.dropout(self.third(x), {rate})  # third
            return self.head(x)


    model, inputs = Net(), (torch.randn(8, 8),)
"""
SPLIT = """
    import torch
    from torch import nn
    from torch.nn import functional as F


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.gate, self.head = nn.Linear(8, 32), nn.Linear(8, 32), nn.Linear(32, 2)

        def forward(self, x):
            hidden = F.dropout(self.hidden(x), 0.3)  # hidden
            gate = F.dropout(self.gate(x), 1.0)  # gate
            return self.head(hidden * gate)


    model, inputs = Net(), (torch.randn(8, 8),)
"""

COUNTERFACTUALS = {
    "REG101": "without this call none are",
    "REG102": "with spatial dropout",
    "REG103": "reference dropout: ",
    "REG104": "without this dropout units average",
    "REG105": "reference dropout of features",
    "REG106": "without the dropout before it",
    "REG202": " in this call they are identical",
    "REG203": "with this call's random numbers fixed they are identical",
    "REG204": "this layer",
    "REG205": "with the batch statistics of this call fixed, only rounding remains",
    "REG403": "reference dropout at the same rate",
}
"""The counterfactual that a rule's evidence states, by its code."""

EXAMPLES = [
    pytest.param(rule.code, example.source, id=f"{rule.name}-{number}")
    for rule in load()
    if rule.code in COUNTERFACTUALS
    for number, example in enumerate(rule.bad, 1)
]


@pytest.fixture
def made(tmp_path):
    """Makes a module of a source."""
    names = []

    def make(source):
        path = tmp_path / f"suspects_{len(names)}.py"
        path.write_text(textwrap.dedent(source))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        names.append(path.stem)
        spec.loader.exec_module(module)
        return module, path

    yield make
    for name in names:
        del sys.modules[name]


def lines_of(path, *names):
    lines = path.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith(tuple(f"# {name}" for name in names))}


@pytest.mark.parametrize(("switch", "guilty"), [("", ["first", "third"]), (", self.training", ["third"])])
def test_each_suspect_is_told_apart(made, switch, guilty):
    """Of three dropouts those that are always on are reported, each by its own effect, and the right one is not."""
    module, path = made(THREE.format(first="self.first(x)", switch=switch, rate=0.3))
    report = audit(module.model, *module.inputs, options={"select": ["REG202"]})
    assert {each.line for each in report.findings} == lines_of(path, *guilty)
    assert {each.evidence.verdict for each in report.findings} == {Verdict.CONFIRMED}
    assert all(
        "with `training=False` in this call they are identical" in each.evidence.because for each in report.findings
    )


def test_a_suspect_that_another_one_hides_is_found(made):
    """A dropout whose effect another one wipes out is found with that one made identity, and the evidence says so."""
    module, path = made(SPLIT)
    report = audit(module.model, *module.inputs, options={"select": ["REG202"]})
    (hidden,) = (each for each in report.findings if {each.line} == lines_of(path, "hidden"))
    assert hidden.evidence.verdict is Verdict.CONFIRMED
    assert "with 1 more off that hide the effect" in hidden.evidence.because


def test_taking_the_others_out_makes_no_one_guilty(made):
    """A dropout that changes nothing is refuted beside another one that is at fault."""
    module, path = made(THREE.format(first="self.first(x) * 0", switch="", rate=0.3))
    report = audit(module.model, *module.inputs, options={"select": ["REG202"]})
    assert {each.line for each in report.findings} == lines_of(path, "third")
    assert {each.line for each in report.refuted} == lines_of(path, "first")


@pytest.mark.parametrize(("code", "source"), EXAMPLES)
@pytest.mark.filterwarnings("ignore:dropout")  # torch warns of some of what the faulty models do
def test_the_evidence_says_what_comes_out_otherwise(made, code, source):
    """What a rule confirms of a running model it measured with the call replaced as well, and it says so."""
    module, _ = made(source)
    found = audit(module.model, *module.inputs, options={"select": [code]}).findings
    assert {each.evidence.verdict for each in found} == {Verdict.CONFIRMED}
    assert [each.evidence.because for each in found if COUNTERFACTUALS[code] not in each.evidence.because] == []
