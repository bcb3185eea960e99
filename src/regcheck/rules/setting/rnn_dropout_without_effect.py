"""Dropout of a recurrent network with one layer, which has no effect.

## What it finds

`nn.LSTM`, `nn.GRU` or `nn.RNN` with `dropout` above zero and a single layer. torch drops between stacked layers, never
inside a layer and never after the last one, so with one layer it drops nothing.

## Why it matters

The model trains without the requested regularization. A search over the rate compares equal models. torch warns once,
when the layer is built; the warning is lost in logs.

## How it is confirmed

In train mode, with all other random ops fixed: runs with other draws of this layer only, and a run with its rate set to
zero, must not differ from one another by more than replays do. Dropout that acts also scales surviving values, so
removing it changes the result whatever was drawn. If every run with other draws lies above the replays (an exact rank
test), the suspicion is refuted.

## How it is fixed

Where the number of layers is a name whose value may change, the rate becomes `rate if layers > 1 else 0.0`. This is
safe: no result changes, and deeper networks keep their dropout.

Where the number is one for certain, the argument is removed where the layer is built. No result changes either, but it
is unsafe: the code no longer says that its author wanted dropout. To drop the layer's output, add an `nn.Dropout`. The
argument stays if it is the only use of its name, or if a comment stands beside it.

## When to keep the code

If the number of layers is a setting and one layer is but one of its values.

## References

Zaremba et al., "Recurrent neural network regularization", 2014 (dropout between layers, the one that torch offers).
Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NIPS 2016 (inside).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Kind
from regcheck.core.measurements.output_change import OutputChange
from regcheck.core.patch import Code, Patch, argument, builder, is_literal, is_plain, keyword, mentions, zero_unless
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait
from regcheck.torch_api.functions import STACKED
from regcheck.torch_api.layers import layer_named

CODE = "REG402"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)


def check(graph: Graph) -> Iterator[Suspicion]:
    for op in graph.train:
        if op.kind is Kind.RECURRENT and op.depth == 1 and op.rate:
            yield Suspicion(
                op,
                f"`{op.call}` has one layer{op.by_default}, so its dropout does nothing: it acts only between stacked "
                "layers",
                fix="drop the layer's output with `nn.Dropout`, stack layers, or remove the argument",
            )


def fix(code: Code) -> Patch | None:
    """Make the rate depend on the number of layers, or remove it where that is one for certain."""
    for call in code.calls:
        layer = builder(code, call)
        row = layer_named(code.name_of(layer.func).removeprefix("torch.nn.")) if layer else None
        if layer is None or row is None or row.function not in STACKED or row.rate is None or not is_plain(layer):
            continue
        position, name, _ = row.arguments["num_layers"]
        depth, rate = argument(layer, position, name), argument(layer, row.rate.position, row.rate.name)
        if isinstance(depth, (ast.Name, ast.Attribute)) and rate is not None:
            edit = zero_unless(code, rate, f"{code.text_of(depth)} > 1")
            return Patch(f"make `{row.rate.name}` zero where there is one layer", True, (edit,))
        if depth is None or is_literal(depth, 1):
            return without_rate(code, layer, keyword(layer, row.rate.name))
    return None


def without_rate(code: Code, layer: ast.Call, rate: ast.keyword | None) -> Patch | None:
    """Remove the rate, unless a name that nothing else reads would remain."""
    owner = next(each for each in code.around if isinstance(each, ast.ClassDef))
    if rate is None or (isinstance(rate.value, ast.Name) and len(mentions([owner], rate.value.id)) == 1):
        return None
    edit = code.without_argument(layer, rate)
    return Patch("remove the rate, which has no effect", False, (edit,)) if edit else None


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    change = probe.measure(OutputChange, suspicion.op)
    runs = f"{len(change.changed)} train runs with new random numbers"
    if change.is_nothing:
        return probe.evidence(Verdict.CONFIRMED, f"{runs}, and one with a rate of 0, agree", change)
    if change.acts:
        return probe.evidence(Verdict.REFUTED, f"{runs} all differ", change)
    return probe.evidence(Verdict.UNMEASURED, f"only some of {runs} differ", change)


BAD = (
    Example(
        """\
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.encode = nn.LSTM(16, 32, batch_first=True, dropout=0.5)
        self.head = nn.Linear(32, 4)

    def forward(self, tokens):
        hidden, _ = self.encode(self.embed(tokens))  # <-
        return self.head(hidden)


model = Tagger()
inputs = (torch.arange(40).view(4, 10),)
""",
        fixed="""\
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.encode = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, tokens):
        hidden, _ = self.encode(self.embed(tokens))
        return self.head(hidden)


model = Tagger()
inputs = (torch.arange(40).view(4, 10),)
""",
    ),
    Example(
        """\
import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self, layers=1, dropout=0.2):
        super().__init__()
        self.encode = nn.GRU(8, 16, layers, batch_first=True, dropout=dropout)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(16, 1)

    def forward(self, series):
        hidden, last = self.encode(series)  # <-
        return self.head(self.drop(last[-1]))


model = Forecaster()
inputs = (torch.randn(4, 12, 8),)
""",
        fixed="""\
import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self, layers=1, dropout=0.2):
        super().__init__()
        self.encode = nn.GRU(8, 16, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(16, 1)

    def forward(self, series):
        hidden, last = self.encode(series)
        return self.head(self.drop(last[-1]))


model = Forecaster()
inputs = (torch.randn(4, 12, 8),)
""",
    ),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.encode = nn.LSTM(16, 32, num_layers=2, batch_first=True, dropout=0.5)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 4)

    def forward(self, tokens):
        hidden, _ = self.encode(self.embed(tokens))
        return self.head(self.drop(hidden))


model = Tagger()
inputs = (torch.arange(40).view(4, 10),)
"""),
)
