"""A penalty on weights that joins the loss as a mere number.

## What it finds

A back-propagated loss with a term that is an L1 or L2 penalty on a model's weights, or another sum of their magnitudes,
and that has no gradient: it is computed from `.data`, `.detach()`, `.item()`, `float()`, `torch.tensor()` or a NumPy
array, or under `torch.no_grad()`. The line is the one that adds the term to the loss.

The rule ignores:

- penalties with a gradient, also where their size is detached to print or log it;
- terms of a value that the program does not back-propagate;
- differences of weights and constants, as in a pull towards the starting weights or in a straight-through estimator;
- factors and divisors without a gradient, which scale a loss or a penalty;
- weights that no optimizer trains, as those of a teacher;
- a term that is subtracted, or that is multiplied by the number zero.

## Why it matters

The term raises the loss that is printed and changes no weight: the model trains as if the penalty were not there. A
search over its strength compares random seeds.

## How it is confirmed

A run reads the autograd graph of the very loss that the program back-propagates. A summand without a node in that graph
adds nothing to any gradient, so the gradients with and without it are equal. The source says which line adds it.

## When to keep the code

If the loss is compared with another one that holds the penalty: add the number to what is logged instead.

## References

The documentation of `torch.Tensor.detach` and of `torch.no_grad`.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion
from regcheck.core.measurements.constant_terms import ConstantTerms
from regcheck.core.rule import Example, Probe
from regcheck.core.usage import PenaltyWithoutGradient, Usage

CODE = "REG305"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (PenaltyWithoutGradient,)


def check(usage: Usage) -> Iterator[Suspicion]:
    for event in usage.events:
        if isinstance(event, PenaltyWithoutGradient):
            yield Suspicion(
                event,
                f"the penalty on `{event.model.name}` has no gradient: `{event.lost_by}` takes it out of the graph",
                fix="compute it from the parameters themselves, with gradients on",
            )


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    terms = probe.measure(ConstantTerms, suspicion.event)
    return probe.evidence(terms.verdict, terms.describe(), terms)


BAD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    loss = F.cross_entropy(model(torch.randn(8, 16)), torch.randint(4, (8,)))
    loss = loss + 1e-3 * sum(each.data.abs().sum() for each in model.parameters())  # <-
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""),
    Example("""\
import torch
from torch import nn


@torch.no_grad()
def ridge(model):
    return sum(each.pow(2).sum() for name, each in model.named_parameters() if "bias" not in name)


def train(model, batches, strength=1e-3):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    criterion = nn.MSELoss()
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss += strength * ridge(model)  # <-
        loss.backward()
        optimizer.step()


train(nn.Linear(16, 4), [(torch.randn(8, 16), torch.randn(8, 4))])
"""),
)

GOOD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    loss = F.cross_entropy(model(torch.randn(8, 16)), torch.randint(4, (8,)))
    penalty = 1e-3 * sum(each.abs().sum() for each in model.parameters())
    optimizer.zero_grad()
    (loss + penalty).backward()
    optimizer.step()
    print(loss.item() + penalty.item())
"""),
    Example("""\
import torch
from torch import nn

model = nn.Linear(16, 4)
start = [each.detach().clone() for each in model.parameters()]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    loss = model(torch.randn(8, 16)).square().mean()
    loss = loss + 0.1 * sum((each - first).pow(2).sum() for each, first in zip(model.parameters(), start))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""),
)
