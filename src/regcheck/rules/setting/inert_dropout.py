"""A dropout that never drops.

## What it finds

A functional dropout with a rate above zero that is off in train mode as in eval mode: an explicit `training=False`, or
the default of `F.alpha_dropout` and `F.feature_alpha_dropout`. The rule ignores layers that are pinned to eval mode.

Also a dropout layer with a rate above zero that a constructor registers and nothing calls, though all other layers with
parameters of that module run; or a container of nothing but dropouts. No code may read the attribute: no method of the
class, of its bases or its subclasses, and no other code of the project, whether or not the program loads it. The rule
ignores classes that read attributes by computed names, run their `children()`, or restore pickled objects. It ignores a
layer that any branch reads, also if no run takes the branch, and one of several in a container that code reads.

## Why it matters

The model trains without the regularization that its code shows.

## How it is confirmed

In train mode, with all other random ops fixed: runs with other draws of this call only, and a run with it replaced by
identity, must not differ from one another by more than replays do. If every run with other draws lies above the replays
(an exact rank test), the suspicion is refuted. A layer that nothing calls is watched in train-mode runs with other
random numbers: none may call it.

## When to keep the code

If the rate documents a former setting, or a flag that is off today switches it on. A layer that nothing calls may also
be a remnant beside another call that drops at the same rate, as in the attentions of many libraries: it is advice.

## References

The documentation of `torch.nn.functional.alpha_dropout`: `training` is False by default, unlike that of `dropout`.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Drops, Gate, Graph, Kind
from regcheck.core.measurements.layer_calls import LayerCalls
from regcheck.core.measurements.output_change import OutputChange
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG207"
SEVERITY = Severity.INFO
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS, Trait.UNCALLED)


def check(graph: Graph) -> Iterator[Suspicion]:
    for drop in graph.train:
        inert = drop.kind is Kind.DROPOUT and drop.reach is None and graph.gate(drop) is Gate.NEVER
        if inert and drop.rate and drop.drops is not Drops.ATTENTION:
            yield Suspicion(
                drop,
                f"`{drop.call}` never drops: its `training` is False in train mode too",
                fix="pass `training=self.training`, or remove the call",
            )
    for drop in graph.uncalled:
        name = drop.module.rpartition(".")[2]
        yield Suspicion(
            drop,
            f"`{drop.call}` never drops: it is built as `self.{name}`, and no code calls it",
            fix=f"call `self.{name}` where it is to drop, or remove it",
        )


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    if suspicion.op.reach is not None:
        calls = probe.measure(LayerCalls, suspicion.op)
        verdict = Verdict.REFUTED if calls.calling else Verdict.CONFIRMED
        return probe.evidence(verdict, f"{calls.calling} of {calls.runs} train runs call it", calls)
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
        x = F.alpha_dropout(F.selu(self.hidden(x)), 0.1)  # <-
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 16),)
"""),
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
        x = F.dropout(torch.relu(self.hidden(x)), 0.5, training=False)  # <-
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.drop = nn.Dropout(0.3)  # <-
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(x)))


model = Net()
inputs = (torch.randn(8, 16),)
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))


model = Net()
inputs = (torch.randn(8, 16),)
"""),
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
        x = F.alpha_dropout(F.selu(self.hidden(x)), 0.1, self.training)
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 16),)
"""),
)
