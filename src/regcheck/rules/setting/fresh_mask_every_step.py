"""A recurrent state that is dropped with a new mask at every step.

## What it finds

A dropout in a loop over time steps on the recurrent path itself: its result, from the output of an LSTM, GRU or RNN
cell, is the state that the cell gets at the next step. The rule ignores dropout of a cell's inputs and of the loop's
outputs. In source, it follows loops with a constant number of steps.

## Why it matters

The state passes through every mask in turn. After t steps a unit has survived with probability (1 - p)ᵗ only, so that
the network remembers little for long in train mode, and remembers differently in eval mode. Variational dropout draws
one mask for each sequence and uses it at every step.

## How it is confirmed

In train mode, the masks of successive steps are compared pairwise. The share of units that both drop or both keep must
lie in the exact binomial interval around p² + (1 - p)², which is that of independent masks; variational dropout gives
one. If all units agree, or the mask is drawn once, the suspicion is refuted.

## When to keep the code

If sequences are short, or new masks were found to work better.

## References

Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NIPS 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Flow, Graph, Kind, Mode, Op, Site
from regcheck.core.measurements import percent
from regcheck.core.measurements.mask_agreement import MaskAgreement
from regcheck.core.rule import Example, Probe
from regcheck.core.starting_points import Trait

CODE = "REG404"
SEVERITY = Severity.INFO
SINCE = "1.0"
BEGINS_AT = (Trait.DROPS,)


def check(graph: Graph) -> Iterator[Suspicion]:
    turns: dict[Site, list[Op]] = {}
    for drop in graph.dropouts(active_in=Mode.TRAIN):
        if drop.kind is Kind.DROPOUT:
            turns.setdefault(replace(drop.site, occurrence=0), []).append(drop)
    for steps in turns.values():
        if len(steps) > 1 and all(is_next_state(graph.train, *pair) for pair in pairwise(steps)):
            yield Suspicion(
                steps[0],
                f"`{steps[0].call}` drops the recurrent state with a new mask at every step",
                fix="draw one mask before the loop, and multiply the state by it at each step",
            )


def is_next_state(flow: Flow, drop: Op, later: Op) -> bool:
    """Whether `later` drops what a recurrent cell makes of the state that `drop` gives it."""
    made_by = flow.behind(later, passive)
    if len(made_by) != 1 or made_by[0].kind is not Kind.RECURRENT or not made_by[0].site.function.endswith("_cell"):
        return False
    inputs = flow.inputs_of(made_by[0])  # the input of this step, then the state
    return (
        len(inputs) > 1
        and drop not in sources(flow, inputs[0])
        and any(drop in sources(flow, each) for each in inputs[1:])
    )


def sources(flow: Flow, op: Op) -> list[Op]:
    return flow.behind(op, passive) if passive(op) else [op]


def passive(op: Op) -> bool:
    return op.kind in (Kind.IDENTITY, Kind.RESHAPE) or (op.kind is Kind.DROPOUT and not op.active)


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    masks = probe.measure(MaskAgreement, suspicion.op)
    if masks.share == 1:
        if masks.steps > 1 and masks.is_expected:
            because = f"the masks of successive steps agree, but {masks.units} units are too few to decide"
            return probe.evidence(Verdict.UNMEASURED, because, masks)
        return probe.evidence(Verdict.REFUTED, "all steps share one mask", masks)
    because = f"the masks of successive steps differ in {percent(1 - masks.share)} of the units"
    if masks.is_expected:
        return probe.evidence(Verdict.CONFIRMED, f"{because}, as independent masks do", masks)
    because += f"; independent masks differ in {percent(1 - masks.independent)}"
    return probe.evidence(Verdict.UNMEASURED, because, masks)


BAD = (
    Example("""\
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(8, 32)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        state = torch.zeros(x.size(0), 32)
        for step in range(6):
            state = self.drop(self.cell(x[:, step], state))  # <-
        return self.head(state)


model = Tagger()
inputs = (torch.randn(32, 6, 8),)
"""),
)

GOOD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(8, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        state = torch.zeros(x.size(0), 32)
        mask = F.dropout(torch.ones_like(state), 0.3, self.training)
        for step in range(6):
            state = mask * self.cell(x[:, step], state)
        return self.head(state)


model = Tagger()
inputs = (torch.randn(32, 6, 8),)
"""),
)
