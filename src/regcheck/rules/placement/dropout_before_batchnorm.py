"""Dropout whose noise inflates the variance that batch norm learns.

## What it finds

A dropout whose result reaches a batch norm through linear layers, convolutions, activations or pooling, with no other
normalization between them. If the shift of variance is immaterial (see below), nothing is reported. In a scan, which
measures nothing, this is advice (`info`), from p = 0.2 up: dropout multiplies the variance of values with mean zero by
1 / (1 - p), and of others by more.

## Why it matters

Batch norm learns the variance of its input in train mode, dropout noise included, and divides by it in eval mode, where
the noise is gone. So in eval mode everything after it is too small, by a different factor in each channel, and the
following layers were never trained on such values.

## How it is confirmed

In train mode, with all other random ops fixed, the variance of each channel at the batch norm's input with this dropout
is divided by the variance with the dropout replaced by identity. The figure is the median over channels, beside that
under the reference dropout. It must exceed 1.25 for each of 20 masks: an exact sign test. With few samples masks differ
much, so where they disagree, means of five masks decide, as a running variance is a mean of batches: 37 of 40 must
exceed it. The false-alarm probability of both looks together is below 10⁻⁶. Why 1.25: the variance of a batch of 32
fluctuates by that much by itself (a relative standard deviation of √(2/31) = 25 %), and networks are known to train
well with that. If as many stay below, the suspicion is refuted; otherwise it is advice.

## How it is fixed

In an `nn.Sequential` without comments the dropout moves behind the last batch norm, and behind the activation that
follows that. It is unsafe: predictions stay as they are, but training changes, and the layers between get other names,
under which saved weights do not have them. There is no fix where `forward` calls the layers one by one, or where the
norm ends the sequence, because its result may be the model's output.

## When to keep the code

If predictions were found to be as good as without the dropout, or batch statistics are estimated again after training
without dropout.

## References

Li et al., "Understanding the disharmony between dropout and batch normalization by variance shift", CVPR 2019.
Ioffe and Szegedy, "Batch normalization", ICML 2015.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Kind, Mode, Op
from regcheck.core.measurements import percent
from regcheck.core.measurements.variance_shift import VarianceShift
from regcheck.core.patch import Code, Patch
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.layers import LAYERS

CODE = "REG103"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)

MATERIAL = 0.25
"""The share of its variance that a batch norm's input gains by the dropout where the effect is material."""

CARRIES_NOISE = {
    Kind.IDENTITY,
    Kind.RESHAPE,
    Kind.SCALE,
    Kind.ACTIVATION,
    Kind.LINEAR,
    Kind.CONV,
    Kind.POOL,
    Kind.CONCAT,
    Kind.COMBINE,
    Kind.JOIN,
}


def check(graph: Graph) -> Iterator[Suspicion]:
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        if graph.assumed and (drop.rate is None or drop.rate >= 1 or 1 / (1 - drop.rate) < 1 + MATERIAL):
            continue
        _, stopped = graph.train.ahead(drop, carries_noise)
        if drop.kind is Kind.DROPOUT and any(op.kind is Kind.BATCH_NORM and op.active for op in stopped):
            yield Suspicion(
                drop,
                f"`{drop.call}` inflates the next batch norm's running variance: its noise is absent in eval mode",
                fix="drop after the last batch norm, or remove the dropout",
                severity=Severity.INFO if graph.assumed else None,
            )


def carries_noise(op: Op) -> bool:
    return op.kind in CARRIES_NOISE or (op.kind is Kind.DROPOUT and not op.active)


def fix(code: Code) -> Patch | None:
    """Move the dropout behind the last batch norm of its sequence, and the activation that follows that norm."""
    if len(code.calls) != 1 or not code.around or not isinstance(code.around[0], ast.Call):
        return None
    drop, sequence = code.calls[0], code.around[0]
    if code.name_of(sequence.func) != "torch.nn.Sequential" or sequence.keywords or "#" in code.text_of(sequence):
        return None
    items = sequence.args
    begin = next((index for index, each in enumerate(items) if each is drop), None)
    kinds = [kind_of(code, each) for each in items]
    if begin is None or kinds[begin] is not Kind.DROPOUT or Kind.BATCH_NORM not in kinds[begin:]:
        return None
    end = len(kinds) - 1 - kinds[::-1].index(Kind.BATCH_NORM)
    end += kinds[end + 1 : end + 2] == [Kind.ACTIVATION]
    if kinds[end] is Kind.BATCH_NORM and end == len(items) - 1:
        return None  # the norm's result may be the model's output
    moved = [*items[begin + 1 : end + 1], drop]
    edits = (code.replaced(old, code.text_of(new)) for old, new in zip(items[begin : end + 1], moved, strict=True))
    return Patch("drop after the last batch norm; train again, layers get other names", False, tuple(edits))


def kind_of(code: Code, item: ast.expr) -> Kind | None:
    """The kind of the layer of torch that an item of a sequence builds; None of anything else."""
    package, _, name = code.name_of(item.func).rpartition(".") if isinstance(item, ast.Call) else ("", "", "")
    return LAYERS[name].kind if package == "torch.nn" and name in LAYERS else None


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    shift = probe.measure(VarianceShift, suspicion.op, 1 + MATERIAL)
    because = f"this dropout adds {percent(shift.median - 1)} to the variance of the batch norm's input"
    because += f" (reference dropout: {percent(shift.expected - 1)}); harmful from {percent(MATERIAL)}"
    verdict, lowers_to = Verdict.REFUTED, None
    if shift.is_above:
        verdict = Verdict.CONFIRMED
        because += f"; in eval mode its output is {percent(1 - shift.median**-0.5)} too small"
    elif shift.is_above is None:
        verdict, lowers_to = Verdict.UNMEASURED, Severity.INFO
        because += ", which some masks do not reach"
    return probe.evidence(verdict, because, shift, material_from=MATERIAL, lowers_to=lowers_to)


BAD = (
    Example(
        """\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(16, 64),
            nn.ReLU(),
            nn.Dropout(0.5),  # <-
            nn.Linear(64, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(self.body(x))


model = Classifier()
inputs = (torch.randn(64, 16),)
""",
    ),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3)
        self.second = nn.Conv2d(32, 32, 3)
        self.norm = nn.BatchNorm2d(32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = F.dropout2d(x, 0.4, self.training)  # <-
        x = torch.relu(self.norm(self.second(x)))
        return self.head(x.mean((2, 3)))


model = Net()
inputs = (torch.randn(16, 3, 12, 12),)
"""),
    Example(
        """\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU())  # <-
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.body(x))


model = Classifier()
inputs = (torch.randn(64, 8),)
""",
        fixed="""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.body(x))


model = Classifier()
inputs = (torch.randn(64, 8),)
""",
    ),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(16, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Linear(64, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Dropout(0.5),
        )
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(self.body(x))


model = Classifier()
inputs = (torch.randn(64, 16),)
"""),
)
