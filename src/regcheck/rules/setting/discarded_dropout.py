"""A dropout whose result no code reads.

## What it finds

A dropout that is not in place, and whose result is lost: the call is a statement of its own, or the name that it is
bound to is assigned again, or never read, on every path through the function. The rule ignores results that code
stores, returns or logs, those that only one branch reads, results of a layer with a forward hook, and attention.

## Why it matters

The call draws a mask and drops nothing: the network goes on with the values that it had before. The model trains
without the regularization that its code shows, and a search over the rate compares equal models.

## How it is confirmed

In train mode, with all other random ops fixed: runs with other draws of this call only, and a run with it replaced by
identity, must not differ from one another by more than replays do. If every run with other draws lies above the replays
(an exact rank test), the suspicion is refuted.

## When to keep the code

If the call only advances the random generator, to repeat the numbers of an earlier program.

## References

The documentation of `torch.nn.functional.dropout`: the input is unchanged unless `inplace` is True.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Kind
from regcheck.core.measurements.output_change import OutputChange
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG405"
SEVERITY = Severity.WARNING
BEGINS_AT = (Trait.DROPS,)


def check(graph: Graph) -> Iterator[Suspicion]:
    for drop in graph.train:
        acts = drop.active is not False and drop.rate != 0 and not drop.latent
        if drop.kind is Kind.DROPOUT and drop.discarded and acts:
            yield Suspicion(
                drop,
                f"`{drop.call}` drops nothing: no code reads its result",
                fix="assign the result to the variable that the next layer reads, or remove the call",
            )


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    change = probe.measure(OutputChange, suspicion.op)
    runs = f"{len(change.changed)} train runs with new random numbers"
    if change.is_nothing:
        return probe.evidence(Verdict.CONFIRMED, f"{runs}, and one without this call, agree", change)
    if change.acts:
        return probe.evidence(Verdict.REFUTED, f"{runs} all differ", change)
    return probe.evidence(Verdict.UNMEASURED, f"only some of {runs} differ", change)


BAD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        F.dropout(x, 0.3, self.training)  # <-
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
from torch import nn


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 64)
        self.outer = nn.Linear(64, 16)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        hidden = torch.relu(self.inner(x))
        dropped = self.drop(hidden)  # <-
        return x + self.outer(hidden)


model = Scorer()
inputs = (torch.randn(8, 16),)
"""),
)

GOOD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)
        self.drop = nn.Dropout(0.3, inplace=True)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        self.drop(x)
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
from torch import nn


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 64)
        self.outer = nn.Linear(64, 16)
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        hidden = torch.relu(self.inner(x))
        dropped = self.drop(hidden)
        return x + self.outer(dropped if self.training else hidden)


model = Scorer()
inputs = (torch.randn(8, 16),)
"""),
)
