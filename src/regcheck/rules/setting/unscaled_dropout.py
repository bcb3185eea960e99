"""A mask that drops in train mode without rescaling.

## What it finds

A hand-written mask (`torch.rand(…) < keep`, `torch.bernoulli`) that zeroes activations in train mode only, without
scaling by 1 / (1 - p): neither of the mask, nor of the activations, nor of the product, nor in eval mode. The rule
ignores masked inputs and embeddings (augmentation, masked modelling, word dropout), and masks over the content of whole
samples anywhere but on a residual branch: there they usually drop a condition on purpose.

## Why it matters

In eval mode nothing is masked, so everything after it is larger by 1 / (1 - p) than in training. The following layers
receive values that they were never trained on.

## How it is confirmed

In train mode the measurement follows the draw to its product with activations. By then it must consist of zeros and one
other value. Multiplied by every number that scales before or after, that value is the scale; an exact two-sided
binomial test must reject that units survive with probability 1 divided by the scale.

## When to keep the code

If masked values are absent on purpose rather than noise, as in masked modelling of hidden features.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 10.
Huang et al., "Deep networks with stochastic depth", ECCV 2016, equation 5 (scaling in eval mode instead).
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Flow, Gate, Graph, Kind, Mode, Op
from regcheck.core.measurements import percent
from regcheck.core.measurements.handmade_mask import HandmadeMask
from regcheck.core.rule import Example, Probe

CODE = "REG403"
SEVERITY = Severity.WARNING
BEGINS_AT = (Kind.RANDOM,)

CUTS = {"lt", "gt", "le", "ge", "less", "greater", "less_equal", "greater_equal", "compare", "floor", "bernoulli"}
SCALES = {"mul", "div", "truediv", "rmul", "rtruediv"}
HIDDEN = {Kind.LINEAR, Kind.CONV, Kind.ATTENTION, Kind.RECURRENT, Kind.MATMUL}
NOT_HIDDEN = {Kind.INPUT, Kind.EMBEDDING, Kind.OPAQUE, Kind.CONSTANT, Kind.PARAMETER}
PASSES = {Kind.IDENTITY, Kind.ACTIVATION, Kind.RESHAPE, Kind.SCALE, Kind.NORM, Kind.BATCH_NORM, Kind.POOL}
BECOMES_MASK = {Kind.IDENTITY, Kind.RESHAPE, Kind.OTHER, Kind.SCALE, Kind.ACTIVATION}


def check(graph: Graph) -> Iterator[Suspicion]:
    flow = graph.train
    for draw in graph.randoms(active_in=Mode.TRAIN):
        if graph.gate(draw) is not Gate.MODE or scaled_in_eval(graph, draw.module):
            continue
        passed, stopped = flow.ahead(draw, becomes_mask)
        made = [draw, *passed]
        if not any(op.site.function in CUTS for op in made) or any(is_scaling(op) for op in made):
            continue
        if any(masks_activations(flow, product, made, draw) for product in stopped):
            yield Suspicion(
                draw,
                f"`{draw.call}` drops activations in train mode without scaling the rest by 1 / (1 - p)",
                fix="divide by the keep probability, 1 - p, or use `torch.nn.functional.dropout`",
            )


def becomes_mask(op: Op) -> bool:
    return op.kind in BECOMES_MASK


def is_scaling(op: Op) -> bool:
    """Whether the only tensor of a product or quotient is scaled by a number, a known one or not."""
    return op.site.function in SCALES and len(op.inputs) == 1


def scaled_in_eval(graph: Graph, module: str) -> bool:
    """Whether the module scales in eval mode instead of in train mode, which compensates for dropping as well."""
    counts = [sum(op.module == module and is_scaling(op) for op in flow) for flow in (graph.train, graph.eval)]
    return counts[1] > counts[0]


def masks_activations(flow: Flow, product: Op, made: list[Op], draw: Op) -> bool:
    """Whether hidden activations are multiplied with the mask, and neither they nor the product are scaled."""
    if product.kind is not Kind.COMBINE or product.site.function not in SCALES:
        return False
    masks = {op.id for op in made}
    values = [op for op in flow.inputs_of(product) if op.id not in masks]
    if len(values) != 1 or is_scaling(values[0]) or any(is_scaling(op) for op in flow.users_of(product)):
        return False
    behind = [values[0]] if values[0].kind not in PASSES else flow.behind(values[0], passes)
    kinds = {op.kind for op in behind}
    if not kinds & HIDDEN or kinds & NOT_HIDDEN:
        return False
    elementwise = draw.site.function.endswith("_like") or (draw.shape is not None and draw.shape == values[0].shape)
    return elementwise or any(op.site.function in ("add", "radd") for op in flow.users_of(product))


def passes(op: Op) -> bool:
    return op.kind in PASSES or (op.kind is Kind.DROPOUT and not op.active)


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    mask = probe.measure(HandmadeMask, suspicion.op)
    if mask.nonzero == mask.units:
        return probe.evidence(Verdict.UNMEASURED, "no unit is dropped in any run", mask)
    because = f"train mode passes on {percent(mask.mean)} of the activation that eval mode does, on average"
    because += f"; reference dropout at the same rate passes on {percent(mask.reference_mean)}"
    verdict = Verdict.CONFIRMED if mask.p_value <= probe.alpha else Verdict.REFUTED
    return probe.evidence(verdict, because, mask)


BAD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.rate = rate
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        if self.training:
            x = x * (torch.rand_like(x) > self.rate)  # <-
        return self.head(x)


model = Classifier()
inputs = (torch.randn(32, 16),)
"""),
    Example("""\
import torch
from torch import nn


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training:
            return x
        keep = torch.full((x.shape[0], 1), 1 - self.rate)
        return x * torch.bernoulli(keep)  # <-


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.path = DropPath(0.2)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(x + self.path(torch.relu(self.body(x))))


model = Block()
inputs = (torch.randn(64, 16),)
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.rate = rate
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        if self.training:
            x = x * (torch.rand_like(x) > self.rate) / (1 - self.rate)
        return self.head(x)


model = Classifier()
inputs = (torch.randn(32, 16),)
"""),
    Example("""\
import torch
from torch import nn


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training:
            return x
        keep = 1 - self.rate
        mask = torch.floor(keep + torch.rand((x.shape[0], 1)))
        return x.div(keep) * mask


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.path = DropPath(0.2)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(x + self.path(torch.relu(self.body(x))))


model = Block()
inputs = (torch.randn(64, 16),)
"""),
)
