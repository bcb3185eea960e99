"""A prediction that depends on the other samples in the batch.

## What it finds

In eval mode, a normalization by the statistics of the current batch: batch norm without running statistics
(`track_running_stats=False`), `F.batch_norm(…, training=True)`, or a hand-written mean, variance or standard deviation
over the samples of the batch that enters each sample's prediction. The rule ignores normalization of weights, instance,
layer and group norm, and outputs that are one number for the batch or a table of pairs of samples (losses, contrastive
scores). It finds hand-written statistics only where rows are samples: not where an input links rows, as the edges of a
graph do. A scan, which knows no shapes, finds standardizations alone: in a model that the program scores, of the only
input that linear layers read, or of maps over all axes but that of channels.

If `torch.export` or `torch.jit.trace` traces a model in train mode, its batch norms normalize by the batch for ever,
whatever running statistics they hold: `eval()` no longer reaches them.

## Why it matters

The same sample gets another prediction in another batch, and none at all on its own. Scores depend on the batch
size and the order of the test data.

## How it is confirmed

In eval mode the first sample of the batch stays and the others are exchanged, twelve times. Each time its output must
move farther than in any of the same batches with the statistics of this call fixed at their first values (an exact rank
test): those differences are rounding.

A traced batch norm whose input holds one sample has no others to exchange. It uses its running statistics in twelve
runs, each of which must differ from the prediction by more than any replay does.

## When to keep the code

If the whole test set is one batch by definition, as in transductive few-shot learning: declare it on the line.

## References

Ioffe and Szegedy, "Batch normalization", ICML 2015, section 3.1: at inference the output is to depend on the input
only, deterministically.
Bronskill et al., "TaskNorm: rethinking batch normalization for meta-learning", ICML 2020 (transductive use).
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion
from regcheck.core.graph import Flow, Graph, Kind, Op, Reach, Wholeness
from regcheck.core.measurements.batch_dependence import BatchDependence
from regcheck.core.measurements.running_statistics import RunningStatistics
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.functions import INDEXING, SPREADS, STATISTICS

CODE = "REG205"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.BATCH_STATISTICS,)


def check(graph: Graph) -> Iterator[Suspicion]:
    flow = graph.eval
    size = batch_size(flow)
    linked = any(links_rows(flow, op, size) for op in flow)
    for op in flow:
        if holds_train_mode(op) and flow.outputs_reached(op):
            because = f"the code that {op.traced_by} wrote holds train mode as a constant"
            yield Suspicion(
                op,
                f"`{op.call}` normalizes by its batch after `eval()`: {because}",
                fix="call `eval()` before it is traced, so that it uses its running statistics",
            )
            continue
        by_batch = normalizes_by_batch(flow, op, size)
        by_hand = not linked and (standardizes_rows(flow, op) if graph.assumed else reduces_the_batch(flow, op, size))
        by_hand = by_hand and (not graph.assumed or graph.wholeness is Wholeness.SCORED)
        if not (by_batch or by_hand) or not enters_predictions(flow, op, size):
            continue
        if by_batch:
            yield Suspicion(
                op,
                f"`{op.call}` normalizes by its batch in eval mode, so a prediction depends on the rest of its batch",
                fix="keep running statistics, or normalize each sample separately (`nn.GroupNorm`, `nn.LayerNorm`)",
            )
        else:
            yield Suspicion(
                op,
                f"`{op.call}` reduces over the batch in eval mode, so a prediction depends on the rest of its batch",
                fix="use a running statistic from training, or reduce over each sample separately",
            )


def batch_size(flow: Flow) -> int | None:
    """The number of samples in the inputs; None where shapes are not known or say nothing."""
    sizes = [op.shape[0] for op in flow if op.kind is Kind.INPUT and op.shape]
    size = max(sizes, key=sizes.count, default=None)
    return size if size is not None and size > 1 else None


def links_rows(flow: Flow, op: Op, size: int | None) -> bool:
    """Whether an input, as it is given, tells which rows are brought together: by indices, or as a matrix of pairs."""

    def as_given(each: Op) -> bool:
        return each.kind is not Kind.INPUT and not each.learned

    def reads_input(each: Op) -> bool:
        return each.kind is Kind.INPUT or any(source.kind is Kind.INPUT for source in flow.behind(each, as_given))

    inputs = flow.inputs_of(op)
    if op.site.function in INDEXING and len(inputs) > 1:
        rows = inputs[0] if op.site.function == "index_select" else op
        return (
            rows.kind is not Kind.PARAMETER
            and rows.shape is not None
            and rows.shape[:1] == (size,)
            and reads_input(inputs[1])
        )
    pairs = inputs if op.kind is Kind.MATMUL or op.site.function == "sparse_mm" else ()
    return any(each.shape == (size, size) and reads_input(each) for each in pairs)


def holds_train_mode(op: Op) -> bool:
    """Whether a tracer wrote a batch norm that ignores its running statistics."""
    return op.kind is Kind.BATCH_NORM and op.active is True and op.has_running_stats and bool(op.traced_by)


def normalizes_by_batch(flow: Flow, op: Op, size: int | None) -> bool:
    """Whether a batch norm of activations has no running statistics to use, or is told not to use them."""
    if op.kind is not Kind.BATCH_NORM or not op.active:
        return False
    if op.has_running_stats and op.reach in (Reach.REGISTERED, Reach.HIDDEN):
        return False  # its mode is at fault, not its statistics
    if op.shape is not None:
        samples_first = op.shape[:1] == (size,)
    else:
        samples_first = all(each.kind is not Kind.RESHAPE for each in flow.inputs_of(op)[:1])
    return samples_first and any(each.kind is Kind.INPUT for each in flow.behind(op, is_no_input))


def is_no_input(op: Op) -> bool:
    return op.kind is not Kind.INPUT


def reduces_the_batch(flow: Flow, op: Op, size: int | None) -> bool:
    """Whether a statistic is taken over the samples, so that none of them has a row of its own."""
    if size is None or op.site.function not in STATISTICS or op.shape is None:
        return False
    shapes = [each.shape for each in flow.inputs_of(op)[:1]]
    rows = any(shape is not None and shape[:1] == (size,) and shape[1:2] != (size,) for shape in shapes)
    return rows and op.shape[:1] != (size,)


def standardizes_rows(flow: Flow, op: Op) -> bool:
    """Whether source standardizes the samples of a batch by a statistic over them, without knowing shapes.

    The samples are the rows of the only input, which linear layers alone read, or the first axis of maps where other
    axes but the second one are reduced as well, as a batch norm does.
    """
    if op.site.function not in STATISTICS or not op.reduces_first_axis or not joins_its_input(flow, op):
        return False
    inputs = [each for each in flow if each.kind is Kind.INPUT]
    axes = dict(op.axis_arguments)["dim"]
    over_maps = axes != 0 and len(axes) > 1 and 1 not in axes
    layers = {each.kind for each in flow if each.learned} - {Kind.LINEAR, Kind.NORM, Kind.BATCH_NORM}
    behind = flow.behind(op, keeps_samples)
    if len(inputs) != 1 or behind != inputs or (layers if not over_maps else layers - {Kind.CONV}):
        return False
    spreads = (each for each in flow if each.site.function in SPREADS and each.reduces_first_axis)
    return any(joins_its_input(flow, each) for each in spreads) and any(
        over_maps or flow.outputs_reached(each, keeps_samples) for each in flow.users_of(op)
    )


def joins_its_input(flow: Flow, op: Op) -> bool:
    """Whether a statistic and what it is taken of meet in a sum or a product, as in a standardization."""
    sources = {each.id for each in flow.inputs_of(op)}
    _, stopped = flow.ahead(op, lambda each: each.kind in (Kind.IDENTITY, Kind.SCALE, Kind.RESHAPE) or is_root(each))
    return any(
        each.kind is Kind.COMBINE
        and any(operand.id in sources or not sources.isdisjoint(operand.inputs) for operand in flow.inputs_of(each))
        for each in stopped
    )


def is_root(op: Op) -> bool:
    return op.site.function in ("sqrt", "rsqrt")


def keeps_samples(op: Op) -> bool:
    """Whether an op computes each row of its result from the same row of its input, or from a statistic."""
    kinds = (
        Kind.LINEAR,
        Kind.ACTIVATION,
        Kind.SIGMOID,
        Kind.IDENTITY,
        Kind.SCALE,
        Kind.DROPOUT,
        Kind.COMBINE,
        Kind.NORM,
    )
    return op.kind in (*kinds, Kind.BATCH_NORM, Kind.CONV, Kind.SOFTMAX, Kind.PARAMETER) or is_root(op)


def enters_predictions(flow: Flow, op: Op, size: int | None) -> bool:
    """Whether an output is reached that has one row for each sample and is no table of pairs of samples."""
    producers = dict(flow.outputs)
    unpaired = {*flow.outputs_reached(op, lambda each: each.kind is not Kind.MATMUL)}
    for name in flow.outputs_reached(op):
        shape = flow.ops[producers[name]].shape
        rows = shape is None or shape[:1] == (size,)
        if rows and (name in unpaired or (shape is not None and shape[1:2] != (size,))):
            return True
    return False


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    measured: BatchDependence | RunningStatistics
    if holds_train_mode(suspicion.op) and suspicion.op.shape is not None and suspicion.op.shape[:1] == (1,):
        measured = probe.measure(RunningStatistics, suspicion.op)  # there are no other samples to exchange
    else:
        measured = probe.measure(BatchDependence, suspicion.op)
    return probe.evidence(measured.verdict, measured.describe("this call"), measured)


BAD = (
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.norm = nn.BatchNorm2d(16, track_running_stats=False)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))  # <-
        return self.head(x.mean((2, 3)))


model = Net()
inputs = (torch.randn(8, 3, 12, 12),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.scale = nn.Parameter(torch.ones(32))
        self.shift = nn.Parameter(torch.zeros(32))
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = self.hidden(x)
        x = F.batch_norm(x, None, None, self.scale, self.shift, training=True)  # <-
        return self.head(torch.relu(x))


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
        self.conv = nn.Conv2d(3, 16, 3)
        self.norm = nn.BatchNorm2d(16)
        self.instance = nn.InstanceNorm2d(16)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.instance(self.norm(self.conv(x))))
        x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)
        return self.head(self.drop(x.mean((2, 3))))


model = Net()
inputs = (torch.randn(8, 3, 12, 12),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.conv(x)
        maps = F.batch_norm(x.reshape(1, -1, *x.shape[2:]), None, None, training=True)
        return self.head(torch.relu(maps.reshape(x.shape)).mean((2, 3)))


model = Net()
inputs = (torch.randn(8, 3, 12, 12),)
"""),
)
