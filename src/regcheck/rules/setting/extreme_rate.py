"""A drop rate so high that hardly any unit survives.

## What it finds

A dropout with p of 0.8 or more that is on in train mode. Mostly this is a keep probability passed as a drop rate
(TensorFlow 1 took the share to keep, torch takes the share to drop). At p = 1 no unit survives. The rule ignores
stochastic depth, which skips a block and keeps its shortcut.

Names count, too: a rate of 0.5 or more whose name says that it is kept (`keep_prob`, `keep_rate`, `retain`) is a
warning, also where a variable, an attribute or the constructor's argument has that name and hands it on under another
one; an unknown rate with such a name is advice. A rate above 1, as a percentage is, raises an error in torch, where the
layer is constructed or called; a scan says so before the program runs.

## Why it matters

At p = 0.9 a layer trains on a tenth of its units, scaled up tenfold, and a dropped unit passes no gradient either. The
network learns slowly or not at all, and nothing crashes.

## How it is confirmed

The call of train mode repeats, many times, on ones of its input's shape. The share of dropped units must lie in the
exact binomial interval around p, and an exact test must reject that half of the units or fewer are dropped: 0.5 is
torch's default and the highest rate that the papers below use for hidden units. If the test rejects a rate of 0.8, the
suspicion is refuted. A rate whose name says that it is kept must drop more than half of the units by that test; one of
0.5 drops as many as it keeps, and is refuted. A rate above 1 is not measured: only a scan reports it.

## When to keep the code

If tuning found so high a rate, as in some video networks with few training clips.

## References

Hinton et al., "Improving neural networks by preventing co-adaptation of feature detectors", 2012 (0.2 and 0.5).
Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), appendix A.4:
typical values of the probability of retaining a hidden unit are 0.5 to 0.8.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Kind, Mode, Op
from regcheck.core.measurements import percent
from regcheck.core.measurements.unit_mask import UnitMask
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG401"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)

EXTREME = 0.8
USUAL = 0.5


def check(graph: Graph) -> Iterator[Suspicion]:
    for op in graph.train:
        if op.kind is Kind.RECURRENT and op.rate is not None and op.rate > 1:
            yield out_of_range(op, op.rate)
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        rate, what = drop.rate, drop.drops.value if drop.drops else ""
        if rate is not None and rate > 1:
            yield out_of_range(drop, rate)
        elif rate == 1:
            yield Suspicion(
                drop,
                f"`{drop.call}` drops all {what} in train mode{drop.by_default}: nothing gets through",
                fix="pass the share to drop; `p=0` drops nothing",
            )
        elif rate is not None and rate >= EXTREME:
            yield Suspicion(
                drop,
                f"`{drop.call}` keeps only {percent(1 - rate)} of the {what} in train mode{drop.by_default}",
                fix=f"if {rate:g} is the share to keep, pass `{1 - rate:.3g}`",
            )
        elif drop.keep_name and (rate is None or rate >= USUAL):
            yield Suspicion(
                drop,
                f"`{drop.call}` takes `{drop.keep_name}` as the share of {what} to drop; its name says that this share "
                f"is kept{drop.by_default}",
                fix=f"pass `1 - {drop.keep_name}`, or name it after the share to drop",
                severity=Severity.INFO if rate is None else None,
            )


def out_of_range(op: Op, rate: float) -> Suspicion:
    return Suspicion(
        op,
        f"`{op.call}` has a rate of {rate:g}{op.by_default}: torch takes a share from 0 to 1, and raises an error",
        fix=f"if {rate:g} % is meant, pass `{rate / 100:g}`" if rate <= 100 else "pass the share to drop",
    )


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    mask = probe.measure(UnitMask, suspicion.op)
    low, high = mask.interval
    name = suspicion.op.keep_name if (suspicion.op.rate or 0) < EXTREME else ""
    limit = USUAL if name else EXTREME
    because = f"in train mode {percent(mask.share)} of the units are dropped; "
    because += f"`{name}` says that as many are kept" if name else f"extreme from {percent(EXTREME)}"
    verdict = Verdict.UNMEASURED
    if name and suspicion.op.rate == USUAL and mask.is_expected:
        verdict, because = Verdict.REFUTED, f"`{name}` keeps as many units as it drops"
    elif 1 - probe.at_least(mask.share + 1 / mask.units, mask.units, limit) <= probe.alpha:
        verdict = Verdict.REFUTED
    elif mask.is_expected and probe.at_least(mask.share, mask.units, USUAL) <= probe.alpha:
        verdict = Verdict.CONFIRMED
    else:
        because += f"; {mask.units} draws are too few to decide ({percent(low)} to {percent(high)} are possible)"
    return probe.evidence(verdict, because, mask, material_from=limit)


BAD = (
    Example("""\
import torch
from torch import nn

KEEP = 0.9


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.drop = nn.Dropout(KEEP)
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
        self.first = nn.Conv2d(3, 32, 3)
        self.second = nn.Conv2d(32, 4, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = F.dropout2d(x, p=1.0, training=self.training)  # <-
        return self.second(x).mean((2, 3))


model = Net()
inputs = (torch.randn(8, 3, 12, 12),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(32, 96)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        rate = 0.95 if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=rate)  # <-


model = Attention()
inputs = (torch.randn(8, 24, 32),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Encoder(nn.Module):
    def __init__(self, keep_prob=0.7):
        super().__init__()
        self.p = keep_prob
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        return self.head(F.dropout(x, self.p, self.training))  # <-


model = Encoder()
inputs = (torch.randn(32, 16),)
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn

KEEP = 0.9


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.drop = nn.Dropout(1 - KEEP)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        return self.head(self.drop(x))


model = Classifier()
inputs = (torch.randn(32, 16),)
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Encoder(nn.Module):
    def __init__(self, keep_prob=0.7):
        super().__init__()
        self.p = 1 - keep_prob
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        return self.head(F.dropout(x, self.p, self.training))


model = Encoder()
inputs = (torch.randn(32, 16),)
"""),
)
