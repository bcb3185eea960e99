"""Data-parallel ranks that draw identical dropout masks.

## What it finds

A model in `DistributedDataParallel`, `FullyShardedDataParallel` or `fully_shard` whose ranks will draw their next
dropout masks from random streams in the same state. The cause is `torch.manual_seed(0)` on every rank, for equal
initial weights, without a later seed per rank; or ranks that are forked from one process. Ranks that start as
separate processes and are never seeded differ by themselves, and DDP copies the weights of the first rank to all
others.

Only an audit of the wrapped model, in train mode and on every rank, shows it: `regcheck.audit(ddp_model)`. Source does
not show whether two processes share a stream. Audit after all seeding, best right before the first step.

## Why it matters

Each step averages the gradients of all ranks so that their noise averages out. If every rank drops the same units, the
noise of dropout does not: the step uses one set of masks instead of one for each rank.

## How it is confirmed

Each rank repeats the dropout's own call on ones, from the actual state of its stream, and the ranks compare the
dropped units. No unit may differ, and independent masks must agree that far with a probability of at most α (exact
binomial test with the rate p: two of them treat a unit alike with probability p² + (1-p)²). One unit that differs
refutes the suspicion. A sharded model is repeated whole, with arbitrary parameters, as a mask does not depend on
them. The ranks exchange masks through the store of their process group. They call no collective, and a rank whose
entry does not arrive within seconds makes the comparison "not checked".

## When to keep the code

If ranks must draw alike because they hold parts of one model, as in tensor parallelism: put those in a group of
their own; only the ranks of the group that DDP averages over, or FSDP shards over, are compared. Otherwise ignore
the rule in the options, or on the line, with the reason.

## References

PyTorch documentation, `torch.nn.parallel.DistributedDataParallel` and "Reproducibility"; Shoeybi et al., "Megatron-LM:
Training Multi-Billion Parameter Language Models Using Model Parallelism", 2019, on which dropouts share a seed.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Drops, Mode
from regcheck.core.measurements import percent
from regcheck.core.measurements.rank_masks import RankMasks
from regcheck.core.ranks import Ranks, listed
from regcheck.core.rule import Example, Probe

CODE = "REG501"
SEVERITY = Severity.ERROR
SINCE = "1.0"


def check(ranks: Ranks) -> Iterator[Suspicion]:
    drops = [*ranks.graph.dropouts(active_in=Mode.TRAIN)]
    if len(ranks.alike) > 1 and drops:
        first = next((op for op in drops if op.drops is Drops.ELEMENTS), drops[0])
        more = f", and {len(drops) - 1} more," if len(drops) > 1 else ""
        yield Suspicion(
            first,
            f"`{first.call}`{more} drops the same units on ranks {listed(ranks.alike)}: their random states are equal",
            fix="seed each rank differently once the weights exist: `torch.manual_seed(seed + rank)`",
            ops=tuple(drops),
        )


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    masks = probe.measure(RankMasks, suspicion.op)
    because = f"ranks {listed(masks.ranks)} treat {masks.agreeing} of {masks.units} units alike"
    because += f"; independent masks agree in {percent(masks.independent)}"
    if not masks.identical:
        return probe.evidence(Verdict.REFUTED, because, masks)
    if masks.p_value > probe.alpha:
        return probe.evidence(Verdict.UNMEASURED, f"{because}: too few units to decide", masks)
    return probe.evidence(Verdict.CONFIRMED, because, masks)


BAD = (
    Example("""\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(self.drop(self.hidden(x).relu()))  # <-


def begin(rank):
    torch.manual_seed(0)  # so that all ranks start with the same weights
    return Net()


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
        self.hidden = nn.Linear(16, 64)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(self.drop(self.hidden(x).relu()))


def begin(rank):
    torch.manual_seed(0)
    model = Net()
    torch.manual_seed(1 + rank)  # what is drawn from here on is each rank's own
    return model


inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
from torch import nn


def begin(rank):  # nothing is seeded: each process begins with a stream of its own
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 4))


inputs = (torch.randn(8, 16),)
"""),
)
