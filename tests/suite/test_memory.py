"""What a session remembers of earlier tests: what is confirmed where, and which calls of a model told something."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is

SERVING = """
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.drop, self.out = nn.Linear(12, 24), nn.Dropout(0.4), nn.Linear(24, 3)

    def forward(self, x):
        return self.out(self.drop(torch.tanh(self.body(x))))


def scores_of(model, x):
    return model(x)


@torch.no_grad()
def label(model, x):
    return scores_of(model, x).argmax(-1)


@torch.no_grad()
def validate(model, x, y):
    model.eval()
    return (scores_of(model, x).argmax(-1) == y).float().mean()


def fit(model, x, y):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(scores_of(model, x), y).backward()
        optimizer.step()
        validate(model, x, y)
"""
LABELS = """
import torch
from serving import Tagger, label

def test_labels():
    assert label(Tagger(), torch.randn(16, 12)).shape == (16,)
"""
FITS = """
import torch
from serving import Tagger, fit

def test_fits():
    fit(Tagger(), torch.randn(16, 12), torch.zeros(16, dtype=torch.long))
"""


@pytest.mark.parametrize("labels_first", [True, False])
def test_what_is_confirmed_in_a_line_settles_no_other_rule_there(project: Project, labels_first: bool) -> None:
    """Two tests break two rules at one line: both are confirmed, whichever test comes first."""
    (project.folder / "test_models.py").unlink()
    project.write("serving.py", SERVING)
    project.write("test_a.py", LABELS if labels_first else FITS)
    project.write("test_b.py", FITS if labels_first else LABELS)
    _, document = project.report("-p", "no:randomly")
    verdicts = {each["code"]: each["evidence"]["verdict"] for each in document["findings"]}
    assert verdicts == {"REG201": "confirmed", "REG206": "confirmed"}
    assert len({each["line"] for each in document["findings"]}) == 1


NET = """
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 2)

    def forward(self, x):
        return self.b(F.dropout(torch.relu(self.a(x)), 0.5))
"""
HOOKED = """
import torch
from net import Net


def hooked():
    model = Net().eval()
    handle = model.register_forward_pre_hook(lambda module, args: (torch.cat(args[0]),))
    model((torch.zeros(1, 8), torch.ones(1, 8)))
    handle.remove()
"""
TWO_TESTS = """
def test_with_a_hook_for_a_while():
    hooked()

def test_plain():
    Net().eval()(torch.randn(3, 8))
"""
ONE_TEST = """
def test_both():
    hooked()
    Net().eval()(torch.randn(3, 8))
"""
UNKEPT = """
class Batch(torch.Tensor):
    pass

def test_with_inputs_that_are_not_copied():
    Net().eval()(torch.randn(3, 8).as_subclass(Batch))

def test_plain():
    Net().eval()(torch.randn(3, 8))
"""


@pytest.mark.parametrize("tests", [TWO_TESTS, ONE_TEST, UNKEPT], ids=["two tests", "one test", "not copied"])
def test_a_call_that_cannot_be_made_again_leaves_the_next_its_turn(project: Project, tests: str) -> None:
    """What one call of a model leaves open is closed by a later one, and is not told then."""
    project.write("net.py", NET)
    project.write("test_models.py", HOOKED + tests)
    _, document = project.report("-p", "no:randomly")
    found = [(each["code"], each["evidence"]["verdict"]) for each in document["findings"]]
    assert found == [("REG202", "confirmed")]
    assert document["not_checked"] == []


def test_what_no_call_tells_is_not_checked(project: Project) -> None:
    """A model of which no call can be made again is told once, however many tests run it."""
    project.write("net.py", NET)
    tests = "".join(f"def test_{number}():\n    hooked()\n\n" for number in range(8))
    project.write("test_models.py", HOOKED + tests)
    _, document = project.report("-p", "no:randomly")
    assert [each["subject"] for each in document["not_checked"]] == ["Net"]
    assert [each["evidence"]["verdict"] for each in document["findings"]] == ["unmeasured"]
