"""Dropout before an activation that is not zero at zero.

## What it finds

A hidden layer with dropout between the linear layer or convolution (or the norm after it) and an activation f with f(0)
≠ 0: sigmoid, log-sigmoid, hard sigmoid, softplus, exp or cos. It counts only if the whole result of the activation goes
on to learned layers or norms, through pooling, reshaping and concatenation: the rule ignores gates, variances and
outputs, and activations that are zero at zero, such as ReLU, GELU and tanh.

## Why it matters

A dropped unit should pass on nothing. Here it passes on f(0), half of a sigmoid's maximum, and often more than the unit
itself would have. The next layer still receives every unit, some of them stuck at a constant.

## How it is confirmed

In train mode, with all other random ops fixed: dropping everything gives the activation's value for a dropped unit,
which must not be zero anywhere, and the share of units with this value must lie in the exact binomial interval around
p. The figure is the value that a dropped unit passes on, where dropout after the activation gives zero. If it is zero
everywhere the suspicion is refuted. The mean over masks does not measure this: it moves before tanh too, which does
silence dropped units, and hardly moves before a sigmoid near its middle.

## When to keep the code

If f(0) stands for an unknown unit on purpose, as the middle of a sigmoid may.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 4: the
outputs of a layer, its activation included, are multiplied with the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Flow, Graph, Kind, Mode, Op
from regcheck.core.measurements import percent
from regcheck.core.measurements.activation_of_zero import ActivationOfZero
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.functions import KINDS, NOT_ZERO_AT_ZERO

CODE = "REG104"
SEVERITY = Severity.INFO
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)

LAYERS = (Kind.LINEAR, Kind.CONV, Kind.BATCH_NORM, Kind.NORM)


def check(graph: Graph) -> Iterator[Suspicion]:
    flow = graph.train
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        if drop.kind is not Kind.DROPOUT or "alpha" in drop.site.function:
            continue
        activations = stops(flow, drop, reshaping)
        hidden = all(op.site.function in NOT_ZERO_AT_ZERO and feeds_layers(flow, op) for op in activations)
        if activations and hidden and all(op.kind in LAYERS for op in flow.behind(drop, reshaping)):
            yield Suspicion(
                drop,
                f"`{drop.call}` silences no unit: `{activations[0].call}` maps the dropped zeros to another constant",
                fix="drop after the activation",
            )


def stops(flow: Flow, op: Op, through: Callable[[Op], bool]) -> list[Op]:
    """What uses the result of `op`, seen through some ops; empty where it leaves the model that way too."""
    return [] if flow.outputs_reached(op, through) else flow.ahead(op, through)[1]


def feeds_layers(flow: Flow, activation: Op) -> bool:
    """Whether all that an activation makes goes on to learned layers or norms."""
    users = stops(flow, activation, combining)
    return bool(users) and all(op.kind in (*LAYERS, Kind.RECURRENT) for op in users)


def reshaping(op: Op) -> bool:
    return op.kind in (Kind.IDENTITY, Kind.RESHAPE) or (op.kind is Kind.DROPOUT and not op.active)


def combining(op: Op) -> bool:
    pools = KINDS.get(op.site.function) is Kind.POOL  # whether or not a map is left
    return reshaping(op) or pools or op.kind in (Kind.CONCAT, Kind.DROPOUT)


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    zero = probe.measure(ActivationOfZero, suspicion.op)
    if zero.value == 0:
        return probe.evidence(Verdict.REFUTED, "dropped units are still zero after the activation", zero)
    if zero.value is None or zero.is_too_small_a_sample or not zero.is_expected:
        because = "not all dropped units can be identified after the activation"
        return probe.evidence(Verdict.UNMEASURED, because, zero)
    because = f"dropped units ({percent(zero.share)} of all) leave `{zero.activation}` at {zero.value:.2f}, not at 0"
    because += f"; without this dropout units average {zero.level:.2f}"
    return probe.evidence(Verdict.CONFIRMED, because, zero)


BAD = (
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(16, 64),
            nn.Dropout(0.3),  # <-
            nn.Sigmoid(),
            nn.Linear(64, 4),
        )

    def forward(self, x):
        return self.body(x)


model = Net()
inputs = (torch.randn(32, 16),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.norm = nn.BatchNorm2d(16)
        self.drop = nn.Dropout2d(0.2)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.drop(self.norm(self.conv(x)))  # <-
        x = F.adaptive_avg_pool2d(F.softplus(x), 1)
        return self.head(x.flatten(1))


model = Net()
inputs = (torch.randn(32, 3, 8, 8),)
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(16, 64),
            nn.Sigmoid(),
            nn.Dropout(0.3),
            nn.Linear(64, 4),
        )

    def forward(self, x):
        return self.body(x)


model = Net()
inputs = (torch.randn(32, 16),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.norm = nn.BatchNorm2d(16)
        self.drop = nn.Dropout2d(0.2)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.drop(self.norm(self.conv(x)))
        x = F.adaptive_avg_pool2d(torch.tanh(x), 1)
        return self.head(x.flatten(1))


model = Net()
inputs = (torch.randn(32, 3, 8, 8),)
"""),
)
