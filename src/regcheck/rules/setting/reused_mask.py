"""A random mask that is drawn once and used for every batch.

## What it finds

A product, in train mode only, with a mask that the code draws once: in the constructor, into an attribute or a
dictionary that is filled at the first call, in a cached function, in a default argument, or on import. The rule ignores
masks that hold in eval mode as well (sparse layers, pruning), those that any other code sets, changes or deletes
(`reset_mask()`), and those that each call draws anew for all steps of a sequence.

## Why it matters

Dropout regularizes because each step trains another part of the network. With one mask for ever the same units are
missing from every batch: their weights are never trained, and eval mode switches them on.

## How it is confirmed

Train-mode calls in succession, with other random numbers, must multiply with masks that drop exactly the same units.
Independent masks agree in n units with the probability (p² + (1 - p)²)ⁿ; calls are added until it is below α. If the
masks differ, or if eval mode multiplies with the mask as well, the suspicion is refuted.

## When to keep the code

If a part of the network is to be trained alone, as with a subnetwork for each member of an ensemble.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).
Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NIPS 2016 (one mask
for all steps of a sequence, and another one for the next).
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph
from regcheck.core.measurements import percent
from regcheck.core.measurements.mask_reuse import MaskReuse
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG406"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.REUSES_MASK,)


def check(graph: Graph) -> Iterator[Suspicion]:
    in_eval = {(op.module, op.place) for op in graph.eval if op.reused_mask}
    for product in graph.train:
        if product.reused_mask and (product.module, product.place) not in in_eval:
            yield Suspicion(
                product,
                f"the random mask of this product is drawn {product.reused_mask}, so that every batch drops the same "
                "units",
                fix="draw the mask in `forward`, at each call, or use `torch.nn.functional.dropout`",
            )


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    masks = probe.measure(MaskReuse, suspicion.op)
    if masks.in_eval:
        return probe.evidence(Verdict.REFUTED, "eval mode multiplies with the same mask", masks)
    if masks.share < 1:
        because = f"the masks of train-mode calls differ in {percent(1 - masks.share)} of the units"
        return probe.evidence(Verdict.REFUTED, because, masks)
    because = f"successive train-mode calls treat all of {masks.units} units alike"
    if masks.p_value > probe.alpha:
        return probe.evidence(Verdict.UNMEASURED, f"{because}, which are too few to decide", masks)
    because += f"; independent masks would agree in {percent(masks.independent)}"
    return probe.evidence(Verdict.CONFIRMED, because, masks)


BAD = (
    Example("""\
import torch
from torch import nn


class StickyDropout(nn.Module):
    def __init__(self, rate=0.4):
        super().__init__()
        self.rate = rate
        self.mask = None

    def forward(self, x):
        if not self.training:
            return x
        if self.mask is None:
            self.mask = torch.bernoulli(torch.full_like(x, 1 - self.rate)) / (1 - self.rate)
        return x * self.mask  # <-


model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), StickyDropout(), nn.Linear(64, 4))
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, rate=0.2):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)
        self.register_buffer("kept", (torch.rand(64) > rate) / (1 - rate))

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        if self.training:
            x = x * self.kept  # <-
        return self.head(x)


model = Net()
inputs = (torch.randn(8, 16),)
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class LockedDropout(nn.Module):
    def __init__(self, rate=0.4):
        super().__init__()
        self.rate = rate
        self.mask = None

    def forward(self, x):
        if not self.training:
            return x
        self.mask = torch.bernoulli(torch.full_like(x, 1 - self.rate)) / (1 - self.rate)
        return x * self.mask


model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), LockedDropout(), nn.Linear(64, 4))
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 16))
        self.register_buffer("links", (torch.rand(4, 16) < 0.5).float())

    def forward(self, x):
        return F.linear(x, self.weight * self.links)


model = Sparse()
inputs = (torch.randn(8, 16),)
"""),
)
