"""A limit on weights that the program applies once, before it trains them.

## What it finds

A max-norm or a clamp of a layer's weights that a program applies before the first training step and never again: by
`clamp_` or `renorm_`, by a copy of clamped or renormed weights, or by scaling with a clamped norm. The program must
train the model afterwards in a loop, and step an optimizer.

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

The rule reads source only: no measurement can tell an unkept limit from an initialization, and the order of the calls
says it all. A run does not report it.

## When to keep the code

If the limit is meant for the starting weights alone.

## References

Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 5.1: the
max-norm constraint is imposed during optimization, by projecting the weights whenever they leave the ball.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Severity, Suspicion
from regcheck.core.rule import Example
from regcheck.core.usage import ConstraintNotKept, Usage

CODE = "REG306"
SEVERITY = Severity.WARNING
BEGINS_AT = (ConstraintNotKept,)


def check(usage: Usage) -> Iterator[Suspicion]:
    for event in usage.events:
        if isinstance(event, ConstraintNotKept):
            how = "scaling by a clamped norm" if event.call == "norm" else f"`{event.call}`"
            yield Suspicion(
                event,
                f"{how} limits weights of `{event.model.name}` once, before training: "
                "the first step moves them past the limit",
                fix="apply it after each optimizer step, or in `forward`",
            )


BAD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


def limit_norms(model, largest=2.0):
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


train([(torch.randn(8, 8), torch.randn(8, 2))])
"""),
)

GOOD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


def limit_norms(model, largest=2.0):
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.renorm_(2, 0, largest)


model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
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

model = nn.Linear(16, 4)
nn.init.normal_(model.weight.data).clamp_(-2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    loss = model(torch.randn(8, 16)).square().mean()
    loss.backward()
    optimizer.step()
"""),
)
