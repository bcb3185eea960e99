"""Dropout applied to the model's output.

## What it finds

A dropout on the result of the last learned layer that reaches a model output through passive ops only (reshape,
softmax, sigmoid, scaling). Each output of a tuple or a dict is judged separately. The rule ignores dropout before the
last layer, which is right; a block whose output has the shape of its input, because its dropout is inside a larger
model (integer inputs are ids, not features, so as many classes as word ids make no block); and features that leave a
backbone: the result of an activation counts as a hidden layer's. In source, a model counts as a whole one if its output
is scored or feeds a loss.

## Why it matters

In training, a share of the predictions is replaced by a constant whatever the network computed, and the loss pushes the
weights to answer for it. Nothing after the dropout can learn to compensate, so this is label noise, not regularization.

## How it is confirmed

In train mode, with all other random ops fixed: dropping everything gives the constant value of a dropped unit (zero, or
alpha dropout's value, after the ops that follow), which must be the same for all samples; the share of output units
equal to it must lie in the exact binomial interval around the rate p; and with this call replaced by identity no unit
may equal it.

## When to keep the code

A module that is a part of a larger model, and only runs on its own here.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 4.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Flow, Graph, Kind, Mode, Op, Wholeness
from regcheck.core.measurements import percent
from regcheck.core.measurements.dropped_outputs import DroppedOutputs
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG101"
SEVERITY = Severity.WARNING
BEGINS_AT = (Trait.DROPS,)

PASSIVE = {Kind.IDENTITY, Kind.RESHAPE, Kind.CONCAT, Kind.SCALE, Kind.SOFTMAX, Kind.SIGMOID}


def check(graph: Graph) -> Iterator[Suspicion]:
    if graph.wholeness is not Wholeness.WHOLE:
        return
    flow = graph.train
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        outputs = [name for name in flow.outputs_reached(drop, passive) if not as_wide_as_an_input(flow, name)]
        if drop.kind is Kind.DROPOUT and outputs and on_predictions(flow, drop):
            where = "the model's output" if outputs == ["output"] else f"output `{outputs[0]}`"
            yield Suspicion(
                drop,
                f"`{drop.call}` drops {where} itself: no learned layer follows it",
                fix="move it before the last layer, or remove it",
            )


def passive(op: Op) -> bool:
    return op.kind in PASSIVE or (op.kind is Kind.DROPOUT and not op.active)


def on_predictions(flow: Flow, drop: Op) -> bool:
    """Whether what is dropped comes straight from a linear or conv layer: predictions rather than hidden features."""
    return any(op.kind in (Kind.LINEAR, Kind.CONV) for op in flow.behind(drop, passive))


def as_wide_as_an_input(flow: Flow, output: str) -> bool:
    """Whether an output has the shape of an input of features, as the output of a block has."""
    produced = flow.ops[dict(flow.outputs)[output]].shape
    features = (op for op in flow if op.kind is Kind.INPUT and not op.integral)
    return produced is not None and any(op.shape == produced for op in features)


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    lost = probe.measure(DroppedOutputs, suspicion.op)
    low, high = lost.interval
    because = f"in train mode {percent(lost.share)} of the output units are lost"
    if not lost.constant:
        because = "at the output, dropped units still depend on the input"
        return probe.evidence(Verdict.REFUTED, because, lost)
    if lost.is_too_small_a_sample:
        because = f"no output unit is lost in {lost.draws} draws: too few to decide at p = {lost.expected:g}"
        return probe.evidence(Verdict.UNMEASURED, because, lost)
    if not lost.is_expected or lost.remaining > 0:
        because += f", which p = {lost.expected:g} does not explain ({percent(low)} to {percent(high)})"
        return probe.evidence(Verdict.REFUTED, because, lost)
    because += f" (p = {lost.expected:g}); without this call none are"
    return probe.evidence(Verdict.CONFIRMED, because, lost)


BAD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 10)
        self.drop = nn.Dropout(0.4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        return self.drop(self.head(x))  # <-


model = Classifier()
inputs = (torch.randn(32, 16),)
loss = nn.functional.cross_entropy(model(*inputs), torch.zeros(32, dtype=torch.long))
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        scores = self.head(F.relu(self.hidden(x)))
        scores = F.dropout(scores, 0.4, training=self.training)  # <-
        return F.log_softmax(scores, dim=1)


model = Classifier()
inputs = (torch.randn(32, 16),)
loss = F.nll_loss(model(*inputs), torch.zeros(32, dtype=torch.long))
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.drop = nn.Dropout(0.4)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        return self.head(self.drop(x)).softmax(-1)


model = Classifier()
inputs = (torch.randn(32, 16),)
loss = model(*inputs).log().mean()
"""),
    Example("""\
import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.hidden = nn.Linear(16, 64)
        self.out = nn.Linear(64, 16)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return x + self.drop(self.out(torch.relu(self.hidden(self.norm(x)))))


model = Residual()
inputs = (torch.randn(32, 16),)
loss = model(*inputs).square().mean()
"""),
)
