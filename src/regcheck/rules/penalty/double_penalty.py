"""An L2 penalty in the loss on weights that the optimizer decays too.

## What it finds

A back-propagated loss with a term that is the sum of squares (or of 2-norms) of all parameters of a model, or of the
weights of all its layers one by one, times a number above zero, while an optimizer over the parameters of the same
model has a `weight_decay` above zero. A task that wraps its only net counts as that net. Only certain cases count: the
source must determine the model, the number and the decay, outside any branch that may not be taken. The rule ignores an
L1 term beside weight decay (an elastic net), and penalties on gradients, activations, differences of weights, and some
of several layers.

## Why it matters

Both terms pull the same weights to zero, so the effective decay is neither of the two numbers in the code. Tuning one
has less effect than it should, and setting one to zero does not switch the penalty off.

## How it is confirmed

It is not measured. The gradients of a running program do not show the terms of its loss, so the finding rests on the
source, and only `scan` reports it.

## When to keep the code

If the sum of both was tuned, or the two differ on purpose (for example a 2-norm that is not squared).

## References

Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, section 2: for SGD, weight decay is an L2
penalty.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.finding import Severity, Suspicion
from regcheck.core.rule import Example
from regcheck.core.starting_points import Trait
from regcheck.core.usage import Penalized, Usage

CODE = "REG303"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (Trait.DECAYS,)


def check(usage: Usage) -> Iterator[Suspicion]:
    decaying = {
        group.model.key: stepped.optimizer.with_decay(group)
        for stepped in usage.optimizers()
        for group in stepped.optimizer.groups
        if group.model and group.weight_decay
    }
    for event in usage.events:
        if isinstance(event, Penalized) and event.model.key in decaying:
            decayed_by = decaying[event.model.key]
            yield Suspicion(
                event,
                f"the loss penalizes weights{event.by_default} that {decayed_by} already decays",
                fix="keep either the penalty in the loss or `weight_decay`, and retune it",
            )


BAD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-4)
for _ in range(3):
    loss = F.cross_entropy(model(torch.randn(8, 16)), torch.randint(4, (8,)))
    loss = loss + 1e-4 * sum(each.pow(2).sum() for each in model.parameters())  # <-
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""),
    Example("""\
import torch
from torch import nn


def train(model, batches, strength=1e-3):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    criterion = nn.MSELoss()
    for inputs, targets in batches:
        optimizer.zero_grad()
        penalty = 0.0
        for each in model.parameters():
            penalty += torch.norm(each) ** 2
        loss = criterion(model(inputs), targets)
        loss += strength / 2 * penalty  # <-
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
loss = F.cross_entropy(model(torch.randn(8, 16)), torch.randint(4, (8,)))
loss = loss + 1e-4 * sum(each.pow(2).sum() for each in model.parameters())
loss.backward()
optimizer.step()
"""),
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-4)
loss = F.cross_entropy(model(torch.randn(8, 16)), torch.randint(4, (8,)))
loss = loss + 1e-4 * sum(each.abs().sum() for each in model.parameters())
loss.backward()
optimizer.step()
"""),
)
