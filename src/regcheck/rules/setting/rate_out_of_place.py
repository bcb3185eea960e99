"""A drop rate far above those that are usual at its place.

## What it finds

A dropout with a rate from 0.5 to below 0.8 at one of these places:

- **input**: it acts on what the model is called with, before the first layer;
- **convolution**: it acts on an image's or a volume's feature map, between two convolutions whose windows move;
- **attention**: it acts on the weights of dot-product attention, also inside `scaled_dot_product_attention`;
- **residual branch**: its result is added to an earlier value that the branch starts from.

| place | usual rates | source |
| --- | --- | --- |
| input | up to 0.2 | Srivastava et al. 2014: 0.2 for real-valued inputs |
| convolution | up to 0.4 | Srivastava et al. 2014: 0.25; Zagoruyko and Komodakis 2016: 0.3 and 0.4 |
| attention | up to 0.1 | Liu et al. 2019: 0.1 |
| residual branch | up to 0.3 | Vaswani et al. 2017: 0.1, in one large model 0.3; Dosovitskiy et al. 2021: 0 or 0.1 |

A low rate is never reported, and at hidden and last layers 0.5 is usual. From 0.8 on, `extreme-rate` reports it at any
place. The rule ignores stochastic depth; transposed convolutions, whose dropout is a generator's noise; maps with one
moving axis, as of sounds; attention in graphs, whose scores are no products of queries and keys; inputs of a model that
is a part of another one, that is a single layer on given features, or that has several inputs; and autoencoders, which
a run knows by their shapes, and a scan by the names of the class and its layers (`decoder`).

## Why it matters

What is dropped there has no copy: an input, an edge of an image or a token is gone, and a residual branch that keeps
half of its values doubles them, over and over through the depth. The model fits its training data worse and gains
nothing. Mostly the rate is torch's default of 0.5.

## How it is confirmed

The call of train mode repeats, many times, on ones of its input's shape. The share of dropped units must lie in the
exact binomial interval around the rate, and an exact test must reject 0.4, the highest rate of the table. If the test
rejects a rate of 0.5, the suspicion is refuted.

## When to keep the code

If tuning found the rate. Networks for few or redundant data use such rates: EEG (Schirrmeister et al. 2017), human
poses (Martinez et al. 2017), bags of words, Monte Carlo dropout for segmentation (Kendall et al. 2015).

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 6.1.2
and appendix A.4.
Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015, section 3.2.
Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016, section 3.3.
Vaswani et al., "Attention is all you need", NeurIPS 2017, section 5.4 and table 3.
Liu et al., "RoBERTa: a robustly optimized BERT pretraining approach", 2019, table 9.
Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, table 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Drops, Flow, Graph, Kind, Mode, Op, Wholeness
from regcheck.core.measurements import percent
from regcheck.core.measurements.unit_mask import UnitMask
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.axes import AxesInFlow

CODE = "REG407"
SEVERITY = Severity.INFO
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)

FAR = 0.5
USUAL = 0.4
"""The highest rate that is usual at any of the places."""
EXTREME = 0.8
"""The rate from which REG401 reports a dropout at any place."""

INPUT = "of the model's input", 0.2
CONVOLUTION = "of a feature map between two convolutions", 0.4
ATTENTION = "of the attention weights", 0.1
RESIDUAL = "of a residual branch", 0.3
"""The places in words, with the highest rate that is usual at each."""

RECONSTRUCTING = re.compile(r"autoenc|decod|denois|reconstr")
"""The words in the names of a class or a layer by which source shows an autoencoder."""
LAYERS = (Kind.LINEAR, Kind.CONV, Kind.RECURRENT)
PASSIVE = (Kind.IDENTITY, Kind.RESHAPE, Kind.SCALE)
MASKING = (*PASSIVE, Kind.COMBINE, Kind.JOIN, Kind.OTHER)
"""The kinds of op between a product of queries and keys and its softmax."""
POINTWISE = (Kind.ACTIVATION, Kind.SIGMOID, Kind.BATCH_NORM, Kind.NORM, Kind.DROPOUT)
KEEPING_MAPS = (*PASSIVE, *POINTWISE, Kind.POOL, Kind.COMBINE, Kind.CONCAT, Kind.JOIN)


def check(graph: Graph) -> Iterator[Suspicion]:
    axes = AxesInFlow(graph.train)
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        if drop.rate is None or not FAR <= drop.rate < EXTREME or drop.keep_name or drop.discarded:
            continue
        place = place_of(graph, drop, axes)
        if place is not None:
            words, usual = place
            yield Suspicion(
                drop,
                f"`{drop.call}` drops {percent(drop.rate)} {words}{drop.by_default}; "
                f"up to {percent(usual)} is usual there",
                fix="use a lower rate here, such as 0.1",
            )


def place_of(graph: Graph, drop: Op, axes: AxesInFlow) -> tuple[str, float] | None:
    """The place where a dropout acts and the highest usual rate, if that is lower than at hidden layers."""
    flow = graph.train
    if drop.drops is Drops.ATTENTION or (drop.drops is Drops.ELEMENTS and is_on_attention(flow, drop)):
        return ATTENTION
    if drop.kind is not Kind.DROPOUT or drop.drops is Drops.PATHS:
        return None
    if is_on_input(graph, drop):
        return INPUT
    if is_on_residual_branch(flow, drop):
        return RESIDUAL
    return CONVOLUTION if is_between_convolutions(flow, drop, axes) else None


def passive(op: Op) -> bool:
    return op.kind in PASSIVE or (op.kind is Kind.DROPOUT and not op.active)


def is_on_attention(flow: Flow, drop: Op) -> bool:
    """Whether a softmax of products of two computed values is dropped, and multiplied with a third one."""
    softmaxes = [op for op in flow.behind(drop, passive) if op.kind is Kind.SOFTMAX]
    _, readers = flow.ahead(drop, lambda op: passive(op) or op.kind is Kind.JOIN)
    return any(op.kind is Kind.MATMUL for op in readers) and any(
        op.kind is Kind.MATMUL
        and len(op.inputs) > 1
        and all(each.kind is not Kind.PARAMETER for each in flow.inputs_of(op))
        for softmax in softmaxes
        for op in flow.behind(softmax, lambda op: op.kind in MASKING)
    )


def is_on_input(graph: Graph, drop: Op) -> bool:
    """Whether the one input of a whole model is dropped, before two layers or more, and is not reconstructed."""
    flow = graph.train
    names = (graph.subject, *(op.module for op in flow if op.kind in LAYERS))
    if graph.wholeness is Wholeness.UNKNOWN or any(RECONSTRUCTING.search(name.lower()) for name in names):
        return False
    sources = flow.behind(drop, passive)
    inputs = [op for op in flow if op.kind is Kind.INPUT and flow.users_of(op)]
    if sources != inputs or len(inputs) != 1 or inputs[0].integral:
        return False
    _, first = flow.ahead(drop, lambda op: op.kind not in LAYERS and op.kind is not Kind.OPAQUE)
    if not first or any(op.kind not in LAYERS for op in first):
        return False
    later = (each for op in first for each in flow.ahead(op, lambda op: op.kind not in LAYERS)[1])
    return any(later) and not any(is_as_wide(flow, inputs[0], output) for _, output in flow.outputs)


def is_as_wide(flow: Flow, source: Op, output: str) -> bool:
    """Whether an output has the sizes of the input behind the batch, as a reconstruction has."""
    shape = flow.ops[output].shape if output in flow.ops else None
    return shape is not None and source.shape is not None and shape[1:] == source.shape[1:]


def is_on_residual_branch(flow: Flow, drop: Op) -> bool:
    """Whether what is dropped is added to an earlier value that it was computed from."""
    passed, stopped = flow.ahead(drop, lambda op: passive(op) or op.drops is Drops.PATHS)
    branch = {drop.id, *(op.id for op in passed)}
    unchanged = {op.id for op in flow.behind(drop, passive)}
    sums = (op for op in stopped if op.kind is Kind.COMBINE and op.site.function in ("add", "radd"))
    shortcuts = {op.id for total in sums for op in flow.inputs_of(total)} - branch - unchanged
    return any(op.id in shortcuts for op in flow.behind(drop, lambda op: op.id not in shortcuts))


def is_between_convolutions(flow: Flow, drop: Op, axes: AxesInFlow) -> bool:
    """Whether a map with two moving axes or more runs from a convolution through the dropout to another one."""
    layout = axes.of(drop)
    if layout is None or not axes.is_map(drop) or len(layout.positions) < 2:
        return False
    if drop.shape is not None and sum(drop.shape[axis] > 1 for axis in layout.positions) < 2:
        return False
    behind = flow.behind(drop, lambda op: op.kind in KEEPING_MAPS)
    _, ahead = flow.ahead(drop, lambda op: op.kind in KEEPING_MAPS)
    from_windows = any(op.kind is Kind.CONV and op.window for op in behind)
    enlarged = any("transpose" in op.site.function for op in behind)
    return from_windows and not enlarged and any(op.kind is Kind.CONV and op.window for op in ahead)


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    mask = probe.measure(UnitMask, suspicion.op)
    because = f"in train mode {percent(mask.share)} of the units are dropped; usual is at most {percent(USUAL)}"
    verdict = Verdict.UNMEASURED
    if 1 - probe.at_least(mask.share + 1 / mask.units, mask.units, FAR) <= probe.alpha:
        verdict = Verdict.REFUTED
    elif mask.is_expected and probe.at_least(mask.share, mask.units, USUAL) <= probe.alpha:
        verdict = Verdict.CONFIRMED
    else:
        low, high = mask.interval
        because += f"; {mask.units} draws are too few to decide ({percent(low)} to {percent(high)} are possible)"
    return probe.evidence(verdict, because, mask, material_from=FAR)


BAD = (
    Example("""\
import torch
from torch import nn
from torch.nn import functional as F


class Encoding(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop, self.late = nn.Dropout(0.5), nn.Dropout(0.6)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        weights = (q @ k.transpose(-2, -1) / 5.6).softmax(-1)
        weights = self.drop(weights)  # <-
        x = x + self.late(self.out(weights @ v))  # <-
        return self.head(F.layer_norm(x, x.shape[-1:]).mean(1))


model = Encoding()
inputs = (torch.randn(8, 24, 32),)
"""),
    Example("""\
import torch
from torch import nn


class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3)
        self.drop = nn.Dropout2d()
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = self.drop(x)  # <-
        x = torch.relu(self.second(x)).mean((2, 3))
        return self.head(x)


model = Pictures()
inputs = (torch.randn(8, 3, 24, 24),)
"""),
    Example("""\
import torch
from torch import nn
from torch.nn import functional as F


class Readings(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(40, 64), nn.Linear(64, 4)

    def forward(self, x):
        x = F.dropout(x, 0.5, self.training)  # <-
        x = torch.relu(self.hidden(x))
        return self.head(F.dropout(x, 0.5, self.training))


model = Readings()
inputs = (torch.randn(32, 40),)
loss = F.cross_entropy(model(*inputs), torch.zeros(32, dtype=torch.long))
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3, padding=1)
        self.drop = nn.Dropout2d(0.2)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = self.drop(torch.relu(self.first(x)))
        x = x + self.drop(self.second(x))
        return self.head(x.mean((2, 3)))


model = Pictures()
inputs = (torch.randn(8, 3, 24, 24),)
"""),
)
