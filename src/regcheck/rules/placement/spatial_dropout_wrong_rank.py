"""Channel dropout on an input whose rank makes it drop something else.

## What it finds

`Dropout1d`, `Dropout2d` or `Dropout3d` on an input where torch's dropped unit is no channel. On flat features,
`Dropout1d` (and `Dropout3d`) drop whole samples, `Dropout2d` drops single values. On tokens with features last, whole
positions are dropped. `Dropout3d` on (N, C, H, W) treats the batch as channels and drops whole samples. `Dropout2d` on
one image without a batch axis drops rows. The axis of the features is that of the last linear, convolutional, recurrent
or attention layer, wherever transposes move it. The rule ignores a dropout of another rank that still drops channels
(`Dropout2d` on (N, C, L)), and results of an embedding, where dropping whole words may be intended.

Where an op may move the axes in an unknown way, the dropout is not checked, and the report says so.

## Why it matters

torch does not refuse these inputs, and at most warns. Losing whole samples at random is label noise, losing single
values is plain dropout, and neither is the regularization that the code names.

## How it is confirmed

The call of train mode repeats, many times, on ones of its input's shape. A unit extends along the axes along which no
mask ever changes; independent draws look like that with a probability of at most (1 - 2p(1-p)) to the power of the
number of units, which must not exceed α. These axes must differ from those that follow the axis of the features.

## When to keep the code

If dropping whole samples, positions or single values is intended: declare it on the line.

## References

Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015, section 3.2.
The documentation of `torch.nn.Dropout1d`, `Dropout2d` and `Dropout3d` on input shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Mode
from regcheck.core.measurements.unit_mask import UnitMask
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.axes import AxesInFlow

CODE = "REG105"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)

RANKED = {"dropout1d": 1, "dropout2d": 2, "dropout3d": 3}


def check(graph: Graph) -> Iterator[Suspicion]:
    certain, assumed = AxesInFlow(graph.train), AxesInFlow(graph.train, assumed=True)
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        if drop.site.function not in RANKED:
            continue
        axes = assumed if certain.of(drop) is None else certain
        layout = axes.of(drop)
        if layout is None or layout.features is None:
            continue
        extents = -layout.features - 1
        wrong = dropped_instead(RANKED[drop.site.function], layout.rank, extents)
        if wrong:
            right = f"nn.Dropout{extents}d" if extents else "nn.Dropout"
            yield Suspicion(
                drop,
                f"`{drop.call}` drops {wrong} here, not channels",
                fix="add a batch axis" if wrong == "rows of an image" else f"use `{right}`",
                undecided=assumed.assumed_at(drop) if axes is assumed else None,
            )


def dropped_instead(named: int, rank: int | None, extents: int) -> str:
    """The unit that `Dropout1d`, `2d` or `3d` drops if it is not a channel, else an empty string.

    `extents` axes follow that of the features; the `rank` is None where it is unknown.
    """
    if rank is None and extents == 0:
        return {1: "whole samples or positions", 2: "single values or whole positions", 3: "whole samples"}[named]
    rank = rank or extents + 2
    features, last = rank - 1 - extents, 0 if (named, rank) == (1, 2) or (named == 3 and rank != 5) else 1
    if features > last:
        return "whole samples" if last == 0 else "whole positions"
    if features < last:
        return "rows of an image" if rank > 2 else "single values"
    return "" if extents else "single values"


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    mask = probe.measure(UnitMask, suspicion.op)
    rank = len(mask.shape)
    channel = rank - 1 if mask.channel is None and rank == 2 else mask.channel
    if channel is None:
        because = "no layer before this call shows which axis holds the features"
        return probe.evidence(Verdict.UNMEASURED, because, mask)
    if suspicion.op.site.function not in RANKED:
        return probe.evidence(Verdict.REFUTED, "this call does not drop channels", mask)
    same = 1 - 2 * mask.expected * (1 - mask.expected)
    if not 0 < mask.share < 1 or rank * same**mask.units > probe.alpha:
        because = "too few draws to decide which values are dropped together"
        return probe.evidence(Verdict.UNMEASURED, because, mask)
    spatial = {axis for axis in range(channel + 1, rank) if mask.shape[axis] > 1}
    size = "×".join(map(str, mask.shape))
    together = f"each draw drops {values_along(mask.axes, mask.shape)} of the {size} input"
    if channel < rank - 1 and set(mask.axes) == spatial:
        return probe.evidence(Verdict.REFUTED, f"{together}: one channel", mask)
    because = f"{together}; features lie along axis {channel}, and reference dropout of features drops"
    because += f" {values_along(mask.reference_axes, mask.shape)}"
    return probe.evidence(Verdict.CONFIRMED, because, mask)


def values_along(axes: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """`one value`, `all 64 values along axis 1`."""
    count = prod(shape[axis] for axis in axes)
    names = f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}"
    return f"all {count} values along {names}" if axes else "one value"


BAD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.drop = nn.Dropout1d(0.3)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        return self.head(self.drop(x))  # <-


model = Classifier()
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
        self.head = nn.Linear(16 * 36, 4)

    def forward(self, x):
        x = torch.flatten(torch.relu(self.conv(x)), 1)
        x = F.dropout2d(x, 0.5, self.training)  # <-
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 3, 8, 8),)
"""),
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.ReLU(),
            nn.Dropout3d(0.25),  # <-
            nn.Conv2d(16, 8, 3),
        )

    def forward(self, x):
        return self.features(x).mean((2, 3))


model = Net()
inputs = (torch.randn(8, 3, 12, 12),)
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.ReLU(),
            nn.Dropout2d(0.25),
            nn.Conv2d(16, 8, 3),
            nn.Flatten(),
            nn.Dropout(0.25),
        )
        self.head = nn.Linear(8 * 64, 4)

    def forward(self, x):
        return self.head(self.features(x))


model = Net()
inputs = (torch.randn(8, 3, 12, 12),)
"""),
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 16, 3)
        self.drop = nn.Dropout1d(0.25)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.conv(x))).mean(2))


model = Net()
inputs = (torch.randn(8, 3, 12),)
"""),
)
