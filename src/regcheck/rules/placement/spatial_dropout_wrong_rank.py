"""Channel dropout on an input whose rank makes it drop something else.

## What it finds

`Dropout1d`, `Dropout2d` or `Dropout3d` on an input where torch's dropped unit is no channel. On flat features,
`Dropout1d` (and `Dropout3d`) drop whole samples, `Dropout2d` drops single values. On tokens with features last, whole
positions are dropped. `Dropout3d` on (N, C, H, W) treats the batch as channels and drops whole samples. `Dropout2d` on
one image without a batch axis drops rows. The rule ignores a dropout of another rank that still drops channels
(`Dropout2d` on (N, C, L)), and results of an embedding, where dropping whole words may be intended.

## Why it matters

torch does not refuse these inputs, and at most warns. Losing whole samples at random is label noise, losing single
values is plain dropout, and neither is the regularization that the code names.

## How it is confirmed

The call of train mode repeats, many times, on ones of its input's shape. A unit extends along the axes along which no
mask ever changes; independent draws look like that with a probability of at most (1 - 2p(1-p)) to the power of the
number of units, which must not exceed α. These axes must differ from the spatial axes of the last layer before the
dropout, which follow its features.

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
from regcheck.core.graph import Flow, Graph, Kind, Mode, Op
from regcheck.core.measurements.unit_mask import UnitMask
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG105"
SEVERITY = Severity.WARNING
BEGINS_AT = (Trait.DROPS,)

RANKED = {"dropout1d": 1, "dropout2d": 2, "dropout3d": 3}
KEEPS_THE_AXES = {Kind.IDENTITY, Kind.ACTIVATION, Kind.SIGMOID, Kind.BATCH_NORM, Kind.NORM, Kind.SCALE}


def check(graph: Graph) -> Iterator[Suspicion]:
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        if drop.site.function not in RANKED:
            continue
        extents = extents_behind(graph.train, drop)
        wrong = dropped_instead(drop, extents)
        if wrong:
            right = f"nn.Dropout{extents}d" if extents else "nn.Dropout"
            yield Suspicion(
                drop,
                f"`{drop.call}` drops {wrong} here, not channels",
                fix="add a batch axis" if wrong == "rows of an image" else f"use `{right}`",
            )


def extents_behind(flow: Flow, drop: Op) -> int | None:
    """How many axes follow that of the features, by the layers that made the input; None where they do not say."""
    found: set[int | None] = set()
    for op in flow.behind(drop, keeps_the_axes):
        flat = op.kind is Kind.LINEAR or op.site.function == "flatten"
        known = op.kind is Kind.CONV and op.site.function[-2:-1].isdigit()
        found.add(0 if flat else int(op.site.function[-2]) if known else None)
    return found.pop() if len(found) == 1 else None


def keeps_the_axes(op: Op) -> bool:
    return op.kind in KEEPS_THE_AXES or (op.kind is Kind.DROPOUT and not op.active)


def dropped_instead(drop: Op, extents: int | None) -> str:
    """The unit that is dropped if it is not a channel, else an empty string."""
    named = RANKED[drop.site.function]
    if drop.shape is not None:
        rank: int | None = len(drop.shape)
    else:
        rank = extents + 2 if extents else None
    if extents == 0 and rank is None:
        return {1: "whole samples or positions", 2: "single values or whole positions", 3: "whole samples"}[named]
    if rank == 2 and extents != 1:
        return "single values" if named == 2 else "whole samples"
    if extents == 0 and rank is not None and rank > 2:
        return "whole samples" if named == 3 and rank < 5 else "whole positions"
    if extents == 2:
        return "whole samples" if named == 3 and rank == 4 else "rows of an image" if rank == 3 else ""
    return ""


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    mask = probe.measure(UnitMask, suspicion.op)
    rank = len(mask.shape)
    channel = rank - 1 if mask.channel is None and rank == 2 else mask.channel
    if channel is None:
        because = "no linear layer or convolution shows which axis holds the features"
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
