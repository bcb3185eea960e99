"""Elementwise dropout on a convolution's feature map.

## What it finds

`nn.Dropout` (elementwise) on a convolutional feature map with more than one spatial position. A map stays a map when it
is cropped, padded, enlarged, shuffled, gated or joined with another one. The rule ignores flattened features, single
positions, pooled 1×1 maps and patch tokens, also if the dropout is just before the map is flattened. It also ignores
maps made by 1×1 convolutions only, which act as linear layers on each position.

Where an op between the convolution and the dropout may move axes in an unknown way (a call of another library, a view
to computed sizes), the dropout is not checked. The report lists this once for each file or model, with the number of
dropouts and the op.

## Why it matters

Neighbouring positions of a feature map are nearly equal, so the neighbours reveal a dropped value: the mask costs noise
and regularizes little. Spatial dropout drops whole channels instead.

## How it is confirmed

The measurement records which values the call zeroes in train mode: it must zero parts of a map, not whole maps. A
least-squares fit of the dropped values on the mean of their surviving neighbours gives the share of their variance that
neighbours explain (R²), with an F test; under the reference spatial dropout at the same rate that share is zero. From 5
% on it is material. After a convolution and ReLU, white noise gives 0.2 to 2 %, pictures with the spectrum of
photographs (1/f²) 10 to 60 %, still 5 % after two strides, and smooth signals 80 % and more. Below 5 % the finding is
lowered to `info`, which is shown if this rule is selected by name; if too little is dropped to decide, it is unproven.

## How it is fixed

`nn.Dropout` becomes `nn.Dropout2d` (`1d`, `3d`, by the rank of the map) where it is built, if the same class builds it
and no other call runs the layer; `F.dropout` becomes `F.dropout2d`. An import changes with it. It is unsafe: training
changes, and the rate that suits whole channels is a smaller one. Eval mode stays as it is.

## When to keep the code

To reproduce published weights of an architecture with this dropout (SqueezeNet, FCN and DeepLab heads).

## References

Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015, section 3.2.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Drops, Flow, Graph, Kind, Mode, Op
from regcheck.core.measurements import percent
from regcheck.core.measurements.mask_on_maps import MaskOnMaps
from regcheck.core.patch import Code, Patch, builder, renamed
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.axes import AxesInFlow

CODE = "REG102"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)

MATERIAL = 0.05
"""The share of dropped values' variance that neighbours explain where the effect is material."""


def check(graph: Graph) -> Iterator[Suspicion]:
    flow = graph.train
    certain, assumed = AxesInFlow(flow), AxesInFlow(flow, assumed=True)
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        if drop.kind is not Kind.DROPOUT or drop.drops is not Drops.ELEMENTS:
            continue
        axes = assumed if certain.of(drop) is None else certain
        if axes.is_map(drop) and has_extent(flow, drop, axes) and not is_unfolded(flow, drop, axes):
            yield Suspicion(
                drop,
                f"`{drop.call}` drops single positions of a convolutional feature map{size(drop)}; "
                "the dropped values can be predicted from their neighbours, so this regularizes little",
                fix=f"drop whole channels with `{of_channels(drop, axes)}`, or drop after pooling",
                undecided=assumed.assumed_at(drop) if axes is assumed else None,
            )


def has_extent(flow: Flow, drop: Op, axes: AxesInFlow) -> bool:
    """Whether the map has more than one position: by its shape, or else because a window moves over it later on."""
    if drop.extent is not None:
        return any(size > 1 for size in drop.extent)
    passed, stopped = flow.ahead(drop, lambda op: not op.window and axes.is_map(op))
    return any(op.window for op in (*passed, *stopped))


def is_unfolded(flow: Flow, drop: Op, axes: AxesInFlow) -> bool:
    """Whether the map is at once taken apart into tokens or features: then it might as well be dropped after that."""
    _, stopped = flow.ahead(drop, lambda op: op.kind not in (Kind.POOL, Kind.CONV) and axes.is_map(op))
    return bool(stopped) and all(op.kind in (Kind.RESHAPE, Kind.LINEAR, Kind.ATTENTION) for op in stopped)


def of_channels(drop: Op, axes: AxesInFlow) -> str:
    """The layer that drops whole channels of the map that a dropout runs on."""
    layout = axes.of(drop)
    count = len(layout.positions) if layout is not None else 2
    return f"SpatialDropout{count}D" if drop.call.startswith("keras.") else f"nn.Dropout{count}d"


def size(drop: Op) -> str:
    return f" of {'×'.join(map(str, drop.extent))} positions" if drop.extent else ""


def fix(code: Code) -> Patch | None:
    """Drop whole channels instead, where one layer or one call does the dropping."""
    wanted = re.search(r"`nn\.(Dropout[123]d)`", code.advice)
    if wanted is None:
        return None
    for call in code.calls:
        name, layer = code.name_of(call.func), layer_run_here(code, call)
        if name == "torch.nn.functional.dropout":
            edits, new = renamed(code, call.func, wanted[1].lower()), f"F.{wanted[1].lower()}"
        elif layer is not None:
            edits, new = renamed(code, layer.func, wanted[1]), f"nn.{wanted[1]}"
        else:
            continue
        return Patch(f"drop whole channels with `{new}`; retune the rate", False, edits) if edits else None
    return None


def layer_run_here(code: Code, call: ast.Call) -> ast.Call | None:
    """The call that builds the `nn.Dropout` which is built or run here, if nothing else runs it."""
    if code.name_of(call.func) == "torch.nn.Dropout":
        return call
    layer, owner = builder(code, call), next((each for each in code.around if isinstance(each, ast.ClassDef)), None)
    if layer is None or owner is None or code.name_of(layer.func) != "torch.nn.Dropout":
        return None
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    uses = [node for node in ast.walk(owner) if isinstance(node, ast.Attribute) and node.attr == name]
    return layer if len(uses) == 2 else None


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    maps = probe.measure(MaskOnMaps, suspicion.op, MATERIAL)

    def evidence(verdict: Verdict, because: str, lowers_to: Severity | None = None) -> Evidence:
        return probe.evidence(verdict, because, maps, material_from=MATERIAL, lowers_to=lowers_to)

    if not maps.conv_map or not any(size > 1 for size in maps.extent):
        return evidence(Verdict.REFUTED, "this dropout does not run on a convolutional map with spatial extent")
    if maps.partly == 0 and maps.whole > probe.alpha:
        return evidence(Verdict.UNMEASURED, f"too few values are dropped to decide whether {maps.maps} maps stay whole")
    if maps.partly == 0:
        return evidence(Verdict.REFUTED, f"all {maps.maps} maps are kept or dropped as a whole")
    because = f"neighbouring positions predict {percent(maps.r_squared)} of the variance of the dropped values"
    because += f" ({percent(maps.reference)} with spatial dropout); material from {percent(MATERIAL)}"
    explains, immaterial = maps.p_value <= probe.alpha, maps.p_value_of_material <= probe.alpha
    if not explains and not immaterial:
        return evidence(Verdict.UNMEASURED, f"{because}, and too few values are dropped to decide")
    material = explains and maps.r_squared >= MATERIAL
    return evidence(Verdict.CONFIRMED, because, None if material else Severity.INFO)


BAD = (
    Example(
        """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.drop = nn.Dropout(0.25)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = self.drop(x)  # <-
        x = torch.relu(self.second(x))
        return self.head(self.pool(x).flatten(1))


model = Net()
inputs = (torch.rand(8, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3),)
""",
        fixed="""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.drop = nn.Dropout2d(0.25)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = self.drop(x)
        x = torch.relu(self.second(x))
        return self.head(self.pool(x).flatten(1))


model = Net()
inputs = (torch.rand(8, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3),)
""",
    ),
    Example(
        """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),  # <-
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


model = Net()
inputs = (torch.rand(8, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3),)
""",
        fixed="""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout2d(0.25),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


model = Net()
inputs = (torch.rand(8, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3),)
""",
    ),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.spatial = nn.Dropout2d(0.25)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.spatial(torch.relu(self.first(x)))
        return self.head(self.drop(self.pool(x).flatten(1)))


model = Net()
inputs = (torch.randn(8, 3, 32, 32),)
"""),
)
