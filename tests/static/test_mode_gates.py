"""Layers of a program's own that act in train mode only, in programs that predict or train in the wrong mode."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from textwrap import indent

import pytest

from regcheck.core.rule import Example
from regcheck.engine.scan import scan

ACTS = {
    "one mask for all steps": (
        "self.p = 0.4",
        """
if not self.training or not self.p:
    return x
m = x.data.new(1, x.size(1)).bernoulli_(1 - self.p)
return x * m.div_(1 - self.p)
""",
    ),
    "whole samples, by a rate of what stays": (
        "self.keep = 0.7",
        """
if self.training and self.keep < 1:
    x = x * torch.empty(x.size(0), 1).bernoulli_(self.keep) / self.keep
return x
""",
    ),
    "noise on the choice": (
        "self.tau = 1.0",
        """
if self.training:
    return F.gumbel_softmax(x, tau=self.tau)
return F.softmax(x / self.tau, -1)
""",
    ),
    "noise in a conditional expression": (
        "self.std = 0.3",
        """
noise = torch.randn_like(x) * self.std if self.training else 0.0
return x + noise
""",
    ),
    "noise times the mode": (
        "self.std = 0.3",
        """
return x + self.std * torch.randn_like(x) * float(self.training)
""",
    ),
    "noise drawn in place": (
        "self.std = 0.3",
        """
if self.training:
    return x + x.new_empty(x.shape).normal_(0, self.std)
return x
""",
    ),
    "noise behind an early return": (
        "self.std = 0.3",
        """
if not self.training:
    return x
else:
    return x + torch.normal(0.0, self.std, size=x.shape)
""",
    ),
    "a layer skipped by Python's numbers": (
        "self.p = 0.5\nself.inner = nn.Linear(16, 16)",
        """
if self.training and random.random() < self.p:
    return x
return x + self.inner(x)
""",
    ),
    "a layer skipped by NumPy's numbers": (
        "self.p = 0.5\nself.inner = nn.Linear(16, 16)",
        """
if self.training:
    if np.random.rand() < self.p:
        return x
return x + self.inner(x)
""",
    ),
    "words blanked": (
        "self.rate = 0.3",
        """
if self.training:
    gone = torch.rand(x.shape, device=x.device) < self.rate
    x = x.masked_fill(gone, 0.0) / 0.7
return x
""",
    ),
    "samples mixed": (
        "self.alpha = 0.4",
        """
if self.training:
    order = torch.randperm(x.size(0))
    x = 0.7 * x + 0.3 * x[order]
return x
""",
    ),
    "statistics of the batch by hand": (
        "self.register_buffer('mean', torch.zeros(16))",
        """
if self.training:
    mean = x.mean(0)
    self.mean.mul_(0.9).add_(0.1 * mean.detach())
else:
    mean = self.mean
return x - mean
""",
    ),
    "a sample of a distribution": (
        "self.scale = nn.Parameter(torch.ones(16))",
        """
if self.training:
    return torch.distributions.Normal(x, F.softplus(self.scale)).rsample()
return x
""",
    ),
    "noise in place of rounding": (
        "self.step = 0.5",
        """
return x + torch.empty_like(x).uniform_(-self.step, self.step) if self.training else torch.round(x)
""",
    ),
    "a function that takes the mode": (
        "self.p = 0.4",
        """
return drop_some(x, self.p, self.training)
""",
    ),
    "a function that takes the mode by name": (
        "self.p = 0.4",
        """
return drop_some(x, training=self.training, p=self.p)
""",
    ),
    "the mode under a local name": (
        "self.p = 0.4",
        """
train = self.training
if train:
    x = x * (torch.rand_like(x) > self.p) / (1 - self.p)
return x
""",
    ),
    "functional dropout with a switch": (
        "self.p = 0.4",
        """
return F.dropout(x, self.p, training=self.training)
""",
    ),
    "functional dropout in a branch": (
        "self.p = 0.4",
        """
if self.training:
    x = F.dropout(x, self.p)
return x
""",
    ),
    "a method of its own": (
        "self.p = 0.4",
        """
return self._shake(x) if self.training else x
""",
    ),
    "a rate that the mode sets": (
        "self.p = 0.4",
        """
return F.dropout(x, self.p if self.training else 0.0)
""",
    ),
    "attention with a rate that the mode sets": (
        "self.p = 0.4",
        """
q = x[:, None, :, None]
return F.scaled_dot_product_attention(q, q, q, dropout_p=self.p if self.training else 0.0)[:, 0, :, 0]
""",
    ),
}
"""Layers whose results depend on the mode: what their constructor sets, and their forward."""

SAME = {
    "samples counted": (
        "self.seen = 0",
        """
if self.training:
    self.seen += len(x)
return x
""",
    ),
    "noise of no strength": (
        "self.std = 0.0",
        """
if self.training:
    x = x + self.std * torch.randn_like(x)
return x
""",
    ),
    "noise where gradients are recorded": (
        "self.std = 0.3",
        """
if torch.is_grad_enabled():
    x = x + self.std * torch.randn_like(x)
return x
""",
    ),
    "recomputed in the backward pass": (
        "self.inner = nn.Linear(16, 16)",
        """
if self.training:
    return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)
return self.inner(x)
""",
    ),
    "numbers drawn for the record": (
        "self.seen = 0",
        """
if self.training:
    self.probe = torch.rand(3)
return x
""",
    ),
    "a function with a rate of zero": (
        "self.p = 0.0",
        """
return drop_some(x, self.p, self.training)
""",
    ),
    "values checked now and then": (
        "self.limit = 1e6",
        """
if self.training and random.random() < 0.1 and x.abs().max() > self.limit:
    print("large")
return x
""",
    ),
}
"""Layers that read the mode, or draw, and give the same results in both modes."""

CODE = """
import random
import numpy as np
import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn import functional as F


def drop_some(x, p=0.0, training=False):
    if p == 0.0 or not training:
        return x
    keep = 1 - p
    mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
    return x * mask / keep


class Part(nn.Module):
    def __init__(self):
        super().__init__()
INIT

    def _shake(self, x):
        return x * (torch.rand_like(x) > self.p) / (1 - self.p)

    def forward(self, x):
BODY


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.part = Part()
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.part(torch.relu(self.first(x))))
"""

FORGETS = """

def evaluate(model, data):
    hits = 0
    with torch.no_grad():
        for x, y in data:
            hits += (model(x).argmax(-1) == y).sum().item()  # <-
    return hits



evaluate(Net(), [(torch.randn(64, 16), torch.zeros(64)) for _ in range(3)])
"""
LINGERS = """

def main():
    torch.manual_seed(0)
    net = Net()
    data = [(torch.randn(64, 16), torch.zeros(64).long()) for _ in range(2)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    net.train()
    for epoch in range(3):
        for x, y in data:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)  # <-
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            print([(net(x).argmax(-1) == y).float().mean().item() for x, y in data])



main()
"""
SOUND = LINGERS.replace(
    "    net.train()\n    for epoch in range(3):\n", "    for epoch in range(3):\n        net.train()\n"
)
PROGRAMS = {"REG201": FORGETS, "REG206": LINGERS, "": SOUND.replace("  # <-", "")}


def program(layer: str, code: str) -> str:
    init, body = {**ACTS, **SAME}[layer]
    text = CODE.replace("INIT", indent(init.strip(), " " * 8)).replace("BODY", indent(body.strip(), " " * 8))
    return text + (PROGRAMS[code] if layer in ACTS else PROGRAMS[code].replace("  # <-", ""))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], set[tuple[str, int]]]:
    """The findings in each program, all scanned at once."""
    folder = tmp_path_factory.mktemp("gates")
    cases = [*product({**ACTS, **SAME}, PROGRAMS)]
    for number, case in enumerate(cases):
        (folder / f"case{number}.py").write_text(program(*case), "utf-8")
    lines: dict[tuple[str, str], set[tuple[str, int]]] = {case: set() for case in cases}
    for each in scan([folder]).findings:
        lines[cases[int(Path(each.path).stem.removeprefix("case"))]].add((each.code, each.line))
    return lines


@pytest.mark.parametrize("code", PROGRAMS, ids=["forgotten eval", "lingering eval", "sound"])
@pytest.mark.parametrize("layer", [*ACTS, *SAME])
def test_a_layers_code_tells_whether_its_mode_matters(
    layer: str, code: str, found: dict[tuple[str, str], set[tuple[str, int]]]
) -> None:
    """A program that leaves its model in the wrong mode is reported if the mode changes what the model computes."""
    assert found[layer, code] == {(code, line) for line in Example(program(layer, code)).marked}
