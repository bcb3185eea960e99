"""Two dropouts in a row.

## What it finds

A dropout whose input comes from another dropout with nothing but reshaping or scaling in between.

## Why it matters

Together they drop 1 - (1 - p₁)(1 - p₂) of the activations, more than either rate says. Mostly one of them is redundant:
a block that ends in dropout meets a head that begins with it.

## How it is confirmed

In train mode the share of activations that are zero after the second dropout, and are not without the two, must lie in
the exact binomial interval around 1 - (1 - p₁)(1 - p₂), and an exact test must reject the second rate alone.

## When to keep the code

If both rates are intended: a single dropout with the combined rate does the same.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 4.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Kind, Mode
from regcheck.core.measurements import percent
from regcheck.core.measurements.stacked_masks import StackedMasks
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG106"
SEVERITY = Severity.INFO
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)


def check(graph: Graph) -> Iterator[Suspicion]:
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        before = graph.dropouts_right_before(drop) if drop.kind is Kind.DROPOUT else []
        if before:
            yield Suspicion(
                drop,
                f"`{drop.call}` directly follows `{before[0].call}`, so together they drop more than either rate",
                fix="keep one of the two",
            )


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    masks = probe.measure(StackedMasks, suspicion.op)
    because = f"{percent(masks.share)} of the units are dropped, though this call's rate is {masks.rate:g}"
    more = probe.at_least(masks.share, masks.units, masks.rate) <= probe.alpha
    if masks.together == masks.rate or (not more and not masks.is_expected):
        return probe.evidence(Verdict.REFUTED, because, masks)
    because += f"; without the dropout before it {percent(masks.alone)} are"
    alone = probe.at_least(masks.alone, masks.units, masks.rate) > probe.alpha
    if more and masks.is_expected and alone:
        return probe.evidence(Verdict.CONFIRMED, because, masks)
    because += f", and {percent(masks.together)} are expected of all together"
    return probe.evidence(Verdict.UNMEASURED, because, masks)


BAD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Dropout(0.2))
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = self.body(x).flatten(1)
        x = F.dropout(x, 0.3, self.training)  # <-
        return self.head(x)


model = Classifier()
inputs = (torch.randn(32, 16),)
"""),
)

GOOD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Dropout(0.2))
        self.hidden = nn.Linear(64, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = self.hidden(self.body(x))
        x = F.dropout(x, 0.3, self.training)
        return self.head(x)


model = Classifier()
inputs = (torch.randn(32, 16),)
"""),
)
