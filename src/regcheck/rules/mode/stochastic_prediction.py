"""A random draw that changes predictions in eval mode.

## What it finds

Any random draw other than dropout that still happens in eval mode and reaches an output: `torch.rand*`, `bernoulli`,
`gumbel_softmax`, `FractionalMaxPool2d`, sampling, ungated noise or stochastic depth.

## Why it matters

The same input gives another answer at every call: results cannot be reproduced, and noise meant for training is paid
for in accuracy.

## How it is confirmed

As for dropout-ignores-mode: in eval mode only the suspect's random stream is changed while every other stream is kept.
Runs with a changed stream must lie above the replays' noise floor (an exact rank test). The figure is the standard
deviation over the runs relative to that of the outputs.

## When to keep the code

Where sampling is the point: variational autoencoders, diffusion, text generation, Monte-Carlo prediction. Declare it on
the line: `# regcheck: ignore[REG203] samples the latent on purpose`.

## References

Huang et al., "Deep networks with stochastic depth", ECCV 2016 (active in training only).
Graham, "Fractional max-pooling", 2014 (random at test time too).
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Kind, Mode, Op
from regcheck.core.rule import Example, Probe

CODE = "REG203"
SEVERITY = Severity.ERROR


def check(graph: Graph) -> Iterator[Suspicion]:
    for draw in graph.randoms(active_in=Mode.EVAL):
        if graph.eval.outputs_reached(draw, followed):
            yield Suspicion(
                draw,
                f"`{draw.call}` draws at random in eval mode and changes the prediction",
                fix="guard it with `if self.training:`, or declare the randomness with an ignore",
            )


def followed(op: Op) -> bool:
    """Whether it is known what the op does; what is drawn may do no more than set sizes beyond an opaque one."""
    return op.kind is not Kind.OPAQUE


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    spread = probe.spread(suspicion.ops, Mode.EVAL)
    if spread.undecided:
        because = f"only {spread.above} of {len(spread.changed)} eval runs differ, too few to tell"
        return probe.evidence(Verdict.UNMEASURED, because, spread)
    if not spread.acts:
        return probe.evidence(Verdict.REFUTED, f"{spread.runs} eval runs agree whatever this call draws", spread)
    because = f"{spread.above} eval runs differ (std {spread.relative:.2g} of the output's); "
    because += "with this call's draw kept they are equal"
    return probe.evidence(Verdict.CONFIRMED, because, spread)


BAD = (
    Example("""\
import torch
from torch import nn


class NoisyRegressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 1)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        x = x + 0.1 * torch.randn_like(x)  # <-
        return self.head(x)


model = NoisyRegressor()
inputs = (torch.randn(8, 16),)
"""),
    Example("""\
import torch
from torch import nn


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        keep = 1 - self.rate
        mask = torch.rand(x.shape[0], 1) < keep  # <-
        return x * mask / keep


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.path = DropPath(0.2)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(x + self.path(self.body(x)))


model = Residual()
inputs = (torch.randn(8, 16),)
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 1)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        if self.training:
            x = x + 0.1 * torch.randn_like(x)
        noise = torch.randn_like(x) * float(self.training)
        return self.head(x + noise)


model = Regressor()
inputs = (torch.randn(8, 16),)
"""),
)
