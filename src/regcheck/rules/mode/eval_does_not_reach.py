"""A layer in train mode after `eval()`, because the call does not reach it.

## What it finds

A mode-dependent layer (dropout, batch norm, recurrent dropout, attention dropout) that is still in train mode after
`train()` and then `eval()` of the model: it is in a plain list or dict or in a closure instead of being registered as a
submodule, or a class overrides `train()` or `eval()` and does not pass the mode on, or the forward itself switches the
layer back on. A training loop that is named `train()` is such an override: `eval()` calls it. The rule ignores layers
that the model pins to eval mode (frozen batch norm).

## Why it matters

`eval()` seems to work and does not. Predictions are random or depend on the batch. An unregistered layer is not moved
to the GPU, saved or optimized either.

## How it is confirmed

In eval mode. Random layers are measured as in dropout-ignores-mode: only the layer's random stream changes, replays
with the same stream give the noise floor, and runs with a changed stream must lie above it (an exact test); with the
layer called as in eval mode they agree again. Batch norm is measured as in batch-dependent-prediction: one sample's
output with other samples in the batch, and once more with the layer's statistics fixed.

## When to keep the code

If a layer stays on for Monte-Carlo predictions: declare it on the line.

## References

The documentation of `torch.nn.Module.eval`, `torch.nn.ModuleList` and `torch.nn.ModuleDict`.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Kind, Mode, Op, Reach
from regcheck.core.measurements.batch_dependence import BatchDependence
from regcheck.core.measurements.spread import Spread
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG204"
SEVERITY = Severity.ERROR
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS, Trait.BATCH_STATISTICS)


def check(graph: Graph) -> Iterator[Suspicion]:
    for op in graph.eval:
        if op.reach in (Reach.REGISTERED, Reach.HIDDEN) and trains(op) and graph.eval.outputs_reached(op):
            hidden = op.reach is Reach.HIDDEN
            if hidden:
                why = "a plain list, dict or closure holds it"
                fix = "store it in `nn.ModuleList` or `nn.ModuleDict`, or as an attribute of the module"
            else:
                why = "the model's own `train()`, `eval()` or `forward` leaves it on"
                fix = "pass the mode on in `train()` (`return super().train(mode)`), and do not change it in `forward`"
            yield Suspicion(op, f"`{op.call}` stays in train mode after `eval()`: {why}", fix)


def trains(op: Op) -> bool:
    """Whether a layer acts as in training though it has an eval mode."""
    if op.kind is Kind.BATCH_NORM:
        return op.active is True and op.has_running_stats
    return op.active is True and (op.drops is not None or op.kind is Kind.RECURRENT) and op.rate != 0


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    if suspicion.op.kind is Kind.BATCH_NORM:
        dependence = probe.measure(BatchDependence, suspicion.op)
        return probe.evidence(dependence.verdict, dependence.describe("this layer"), dependence)
    spread = probe.measure(Spread, suspicion.ops, Mode.EVAL)
    because = spread.describe("this layer")
    if spread.verdict is Verdict.CONFIRMED:
        condition = "this layer in eval mode" if spread.vanishes else "this layer's random numbers fixed"
        because += f"; with {condition} they are {spread.agreement}"
    return probe.evidence(spread.verdict, because, spread)


BAD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.ModuleList([nn.Linear(16, 16) for _ in range(3)])
        self.drops = [nn.Dropout(0.2) for _ in range(3)]
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        for hidden, drop in zip(self.hidden, self.drops):
            x = drop(torch.relu(hidden(x)))  # <-
        return self.head(x)


model = Classifier()
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norms = {"source": nn.BatchNorm2d(8), "target": nn.BatchNorm2d(8)}
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.norms["source"](self.conv(x))  # <-
        return self.head(torch.relu(x).mean((2, 3)))


model = Net()
inputs = (torch.randn(8, 3, 8, 8),)
"""),
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 16)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(16, 4)
        self.epochs = 0

    def train(self, mode=True):
        self.epochs += mode
        return super().train()

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))  # <-


model = Classifier()
inputs = (torch.randn(8, 16),)
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.ModuleList([nn.Linear(16, 16) for _ in range(3)])
        self.drops = nn.ModuleList([nn.Dropout(0.2) for _ in range(3)])
        self.norms = nn.ModuleDict({"source": nn.BatchNorm1d(16), "target": nn.BatchNorm1d(16)})
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.norms["source"](x)
        for hidden, drop in zip(self.hidden, self.drops):
            x = drop(torch.relu(hidden(x)))
        return self.head(x)


model = Classifier()
inputs = (torch.randn(8, 16),)
"""),
)
