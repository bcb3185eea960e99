"""Dropout that stays on after `eval()`.

## What it finds

A dropout that still drops when the model is in eval mode: `F.dropout(x)` without `training=self.training`,
`training=True`, an `nn.Dropout()` built inside `forward` (a fresh module is always in train mode), and
`scaled_dot_product_attention(dropout_p=…)`, which has no mode of its own and drops whenever its rate is above zero.
Where that rate comes from a configuration that the source does not tell, this is a warning, not an error.

## Why it matters

Predictions become random and worse, evaluation scores are those of a damaged model, and nothing crashes. nanoGPT, timm,
torchvision and torchtune all shipped this.

## How it is confirmed

The model runs in eval mode. Every random op draws from a stream of its own, so the suspect's stream alone can be
changed while all others are kept. Replays with the same streams give the noise floor; runs with a changed stream must
all lie above it (an exact rank test). With that one call replaced by identity the runs must agree again.

## When to keep the code

Where the randomness at prediction time is the method: Monte-Carlo dropout, or Tacotron 2's prenet. Say so once, on the
line: `# regcheck: ignore[REG202] Monte-Carlo dropout`.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Drops, Graph, Mode, Op
from regcheck.core.rule import Example, Probe

CODE = "REG202"
SEVERITY = Severity.ERROR


def check(graph: Graph) -> Iterator[Suspicion]:
    for drop in graph.dropouts(active_in=Mode.EVAL):
        if graph.eval.outputs_reached(drop):
            what = drop.drops.value if drop.drops else ""
            yield Suspicion(drop, f"`{drop.call}` still drops {what} after `eval()`", remedy(drop), (), doubted(drop))


def doubted(drop: Op) -> Severity | None:
    """Attention may be given a rate of zero on purpose: where the rate is not known, this is a warning."""
    return Severity.WARNING if drop.rate is None and drop.drops is Drops.ATTENTION else None


def remedy(drop: Op) -> str:
    if drop.drops is Drops.ATTENTION and drop.site.function == "scaled_dot_product_attention":
        return "pass `dropout_p=… if self.training else 0.0`"
    if drop.call.startswith("nn."):
        return "create the layer in `__init__`, as a registered submodule, so that `eval()` reaches it"
    return "pass `training=self.training`"


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    spread = probe.spread(suspicion.ops, Mode.EVAL)
    if not spread.acts:
        return probe.evidence(Verdict.REFUTED, f"{spread.runs} eval runs agree whatever this call draws", spread)
    because = f"{len(spread.changed)} eval runs differ (std {spread.relative:.2g} of the output's); "
    because += "with this call made identity they are equal" if spread.vanishes else "with its mask kept they are equal"
    return probe.evidence(Verdict.CONFIRMED, because, spread)


BAD = (
    Example("""\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.hidden(x))
        x = F.dropout(x, p=0.5)  # <-
        return self.head(x)


model = Classifier()
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width=32, heads=4, rate=0.1):
        super().__init__()
        self.heads = heads
        self.rate = rate
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, length, width = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)  # <-
        return self.out(y.transpose(1, 2).reshape(n, length, width))


model = Attention()
inputs = (torch.randn(4, 10, 32),)
"""),
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        x = nn.Dropout(0.3)(x)  # <-
        return self.head(x)


model = Classifier()
inputs = (torch.randn(8, 16),)
"""),
)

GOOD = (
    Example("""\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.hidden(x))
        x = F.dropout(x, 0.5, self.training)
        if self.training:
            x = F.dropout(x, 0.1)
        return self.head(self.drop(x))


model = Classifier()
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width=32, heads=4, rate=0.1):
        super().__init__()
        self.heads = heads
        self.rate = rate
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, length, width = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        rate = self.rate if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        return self.out(y.transpose(1, 2).reshape(n, length, width))


model = Attention()
inputs = (torch.randn(4, 10, 32),)
"""),
)
