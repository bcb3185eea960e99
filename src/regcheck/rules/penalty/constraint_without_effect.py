"""A limit on weights that the program applies once, before it trains them.

## What it finds

A max-norm or a clamp of a layer's weights that a program applies before the first training step and never again: by
`clamp_` or `renorm_`, by a copy of clamped or renormed weights, or by scaling with a clamped norm. The program must
train the model afterwards in a loop, and step an optimizer.

A function or method that limits weights in place, and that no scanned code names, is advice if it stands in the class
of a model that the program trains, or in the class or the file that trains it.

The rule ignores:

- limits that are applied again, in the training loop, after it, in `forward` or in a hook;
- functions that code names more than once beside their definition, as hooks are;
- initialization: a limit in a function that also fills weights, or that is named for initialization, loading, pruning
  or quantization;
- limits on biases, and on parameters that no layer of torch's holds;
- models that the same program does not train.

## Why it matters

The first optimizer step moves the weights past the limit, and nothing moves them back: the model trains without the
regularization that its code names.

## How it is confirmed

A run looks at the weights just before the optimizer steps for the first time, and before later steps of its own. At
first, elements or norms that are equal to the largest show the limit in force; where none are, source must say the
limit. The finding is confirmed where weights are beyond that limit before a later step, by more than a thousandth, and
refuted where none are: a limit that the program applies after each step holds there. The effect is the share of rows or
columns beyond the limit.

A run with a single step says nothing. That the limit was meant to hold is read in the source of the lines that train,
as a scan reads it: no measurement can tell an unkept limit from an initialization. Advice on functions that nobody
calls is given by a scan only.

## When to keep the code

If the limit is meant for the starting weights alone.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 5.1: the
max-norm constraint is imposed during optimization, by projecting the weights whenever they leave the ball.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion
from regcheck.core.measurements.limit_excess import LimitExcess
from regcheck.core.rule import Example, Probe
from regcheck.core.usage import ConstraintNotKept, Usage

CODE = "REG306"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (ConstraintNotKept,)


def check(usage: Usage) -> Iterator[Suspicion]:
    for event in usage.events:
        if isinstance(event, ConstraintNotKept) and event.uncalled:
            yield Suspicion(
                event,
                f"no code calls `{event.uncalled}`, which limits weights by `{event.call}`: "
                f"the program trains `{event.model.name}` without the limit",
                fix="call it after each optimizer step, or remove it",
                severity=Severity.INFO,
            )
        elif isinstance(event, ConstraintNotKept):
            how = "scaling by a clamped norm" if event.call == "norm" else f"`{event.call}`"
            yield Suspicion(
                event,
                f"{how} limits weights of `{event.model.name}` once, before training: "
                "the first step moves them past the limit",
                fix="apply it after each optimizer step, or in `forward`",
            )


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    excess = probe.measure(LimitExcess, suspicion.event)
    return probe.evidence(excess.verdict, excess.describe(), excess)


BAD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


def limit_norms(model, largest=0.4):
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.renorm_(2, 0, largest)  # <-


model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
limit_norms(model)
for _ in range(3):
    loss = F.cross_entropy(model(torch.randn(8, 16)), torch.randint(4, (8,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""),
    Example("""\
import torch
from torch import nn


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(8, 2)
        self.mix.weight.data = self.mix.weight.data.clamp(0, 1)  # <-

    def forward(self, x):
        return self.mix(x)


def train(batches):
    model = Mixer()
    optimizer = torch.optim.Adam(model.parameters())
    for inputs, targets in batches:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()


train([(torch.randn(8, 8), torch.randn(8, 2))] * 3)
"""),
)

GOOD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


def limit_norms(model, largest=0.4):
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.renorm_(2, 0, largest)


model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
limit_norms(model)
for _ in range(3):
    loss = F.cross_entropy(model(torch.randn(8, 16)), torch.randint(4, (8,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    limit_norms(model)
"""),
    Example("""\
import torch
from torch import nn

critic = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.RMSprop(critic.parameters(), lr=1e-3)
for _ in range(3):
    for weight in critic.parameters():
        weight.data.clamp_(-0.01, 0.01)
    optimizer.zero_grad()
    (critic(torch.randn(8, 16)).mean() - critic(torch.randn(8, 16)).mean()).backward()
    optimizer.step()
"""),
)
