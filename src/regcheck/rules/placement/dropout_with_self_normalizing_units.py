"""Plain dropout after SELU, or alpha dropout after another activation.

## What it finds

A dropout other than alpha dropout on the result of SELU, or alpha dropout on the result of another activation, with
nothing but reshaping in between.

## Why it matters

SELU keeps activations at mean zero and variance one without a normalization layer. Dropout that sets activations to
zero raises the variance to 1 / (1 - p), for every following layer and in train mode only. Alpha dropout sets them to
SELU's saturation value and corrects for that, so mean and variance stay; after an activation that is not at mean zero
and variance one it moves both.

## How it is confirmed

The call repeats, in train mode, on its actual activations, and so does the reference of the other kind at the same
rate: alpha dropout for plain dropout, plain dropout for alpha dropout. One figure measures how far each moves mean and
variance: the divergence between normal distributions with these moments. Over 20 sets of masks, each of 20,000 values
if 64 calls yield so many, the call must move them farther than the reference every time: an exact sign test, whose
false-alarm probability is 2⁻²⁰. If it moves them less every time, the suspicion is refuted, as after a SELU whose
activations are not near mean zero and variance one, where alpha dropout would not help.

## When to keep the code

If SELU is used for its shape alone, in a network with normalization layers or with another initialization than LeCun's.

## References

Klambauer et al., "Self-normalizing neural networks", NIPS 2017, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Drops, Graph, Kind, Mode, Op
from regcheck.core.measurements.moments import Moments
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG107"
SEVERITY = Severity.INFO
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)

ACTIVATIONS = (Kind.ACTIVATION, Kind.SIGMOID, Kind.SOFTMAX)


def check(graph: Graph) -> Iterator[Suspicion]:
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        before = graph.train.behind(drop, passive)
        if drop.kind is not Kind.DROPOUT or not before:
            continue
        whole = drop.drops is Drops.CHANNELS
        if "alpha" not in drop.site.function and all(op.site.function == "selu" for op in before):
            yield Suspicion(
                drop,
                f"`{drop.call}` breaks SELU's self-normalization: it raises the variance that SELU keeps at one",
                fix=f"use `nn.{'FeatureAlphaDropout' if whole else 'AlphaDropout'}`",
            )
        if "alpha" in drop.site.function and all(is_other_activation(op) for op in before):
            yield Suspicion(
                drop,
                f"`{drop.call}` suits SELU only: it shifts mean and variance of the output of `{before[0].call}`",
                fix=f"use `nn.{'Dropout2d' if whole else 'Dropout'}`",
            )


def passive(op: Op) -> bool:
    return op.kind in (Kind.IDENTITY, Kind.RESHAPE) or (op.kind is Kind.DROPOUT and not op.active)


def is_other_activation(op: Op) -> bool:
    return op.kind in ACTIVATIONS and op.site.function != "selu"


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    measured = probe.measure(Moments, suspicion.op)
    before, after, alternative = (
        f"{round(mean, 2) + 0.0:.2f} and {variance:.2f}"
        for mean, variance in (measured.before, measured.after, measured.alternative)
    )
    kind = "plain" if "alpha" in suspicion.op.site.function else "alpha"
    because = f"mean and variance change from {before} to {after}; with {kind} dropout they become {alternative}"
    if measured.is_worse:
        return probe.evidence(Verdict.CONFIRMED, because, measured)
    if measured.is_better:
        return probe.evidence(Verdict.REFUTED, because, measured)
    return probe.evidence(Verdict.UNMEASURED, f"{because}: too close to decide", measured)


BAD = (
    Example("""\
import torch.nn.functional as F
from torch import nn, randn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(32, 128)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(128, 4)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="linear")

    def forward(self, x):
        x = self.drop(F.selu(self.hidden(x)))  # <-
        return self.head(x)


model = Net()
inputs = (randn(64, 32),)
"""),
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(32, 128),
            nn.ReLU(),
            nn.AlphaDropout(0.2),  # <-
        )
        self.head = nn.Linear(128, 4)

    def forward(self, x):
        return self.head(self.body(x))


model = Net()
inputs = (torch.randn(64, 32),)
"""),
)

GOOD = (
    Example("""\
import torch.nn.functional as F
from torch import nn, randn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(32, 128)
        self.drop = nn.AlphaDropout(0.2)
        self.head = nn.Linear(128, 4)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="linear")

    def forward(self, x):
        x = self.drop(F.selu(self.hidden(x)))
        return self.head(x)


model = Net()
inputs = (randn(64, 32),)
"""),
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(32, 128),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        self.head = nn.Linear(128, 4)

    def forward(self, x):
        return self.head(self.body(x))


model = Net()
inputs = (torch.randn(64, 32),)
"""),
)
