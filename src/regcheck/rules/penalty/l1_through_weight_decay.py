"""An L1 penalty that is passed to an optimizer as weight decay.

## What it finds

An optimizer of torch whose `weight_decay` argument has a name that says L1, lasso or sparsity
(`weight_decay=args.l1_lambda`, `{"weight_decay": sparsity}`). The rule ignores names that mention L2 too, and names in
which `l1` counts layers or levels (`wd_l1`, `layer_l1`). This is advice, which `regcheck scan` shows with
`--extend-select REG304`.

## Why it matters

Weight decay pulls each weight towards zero in proportion to its size, as the gradient of an L2 penalty does. It makes
weights small and sets none to zero, so the model does not become sparse.

## How it is confirmed

It is not measured. Only the source shows the intention, and only `scan` reports it.

## When to keep the code

If only the name is wrong: rename it.

## References

Tibshirani, "Regression shrinkage and selection via the lasso", Journal of the Royal Statistical Society B 58 (1996);
Parikh and Boyd, "Proximal algorithms" (2014), section 6.5.2: soft thresholding is the step that makes weights zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from regcheck.core.finding import Severity, Suspicion
from regcheck.core.rule import Example
from regcheck.core.starting_points import Trait
from regcheck.core.usage import Usage

CODE = "REG304"
SEVERITY = Severity.INFO
SINCE = "1.0"
BEGINS_AT = (Trait.DECAYS,)

_L1 = re.compile(r"l1(reg|norm|penalty|loss|decay|weight|coeff?|lambda|alpha|strength)?|lasso|sparsity")
_COUNTED = ("wd", "decay", "lr", "layer", "block", "level", "stage")
"""Words behind which `l1` is the first of several, not a norm."""


def check(usage: Usage) -> Iterator[Suspicion]:
    for stepped in usage.optimizers():
        for name in filter(claims_sparsity, stepped.optimizer.decay_names):
            optimizer = f"{stepped.optimizer.name}(weight_decay={name})"
            yield Suspicion(
                stepped,
                f"`{optimizer}` is an L2 penalty: it shrinks weights but makes none exactly zero",
                fix="add the L1 norm of the weights to the loss, or soft-threshold the weights after each step",
            )


def claims_sparsity(name: str) -> bool:
    """Whether a name says that it is an L1 penalty, and nothing else."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.rpartition(".")[2]).lower().split("_")
    if any("l2" in word or "elastic" in word or "ridge" in word for word in words):
        return False
    pairs = zip(["", *words], words, strict=False)
    return any(_L1.fullmatch(word) and before not in _COUNTED for before, word in pairs)


BAD = (
    Example("""\
import argparse

import torch
from torch import nn


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--l1-lambda", type=float, default=1e-4)
    args = parser.parse_args([])
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=args.l1_lambda)  # <-


main()
"""),
    Example("""\
import torch
from torch import nn

sparsity = 1e-3
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "weight_decay": 0.0}]
optimizer = torch.optim.SGD(groups, lr=0.1, weight_decay=2 * sparsity)  # <-
"""),
)

GOOD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn

l1_lambda, weight_decay, wd_l1, l1_l2 = 1e-4, 1e-2, 1e-3, 1e-3
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
first = torch.optim.SGD(model[0].parameters(), lr=0.1, weight_decay=wd_l1)
both = torch.optim.SGD(model[0].parameters(), lr=0.1, weight_decay=l1_l2)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=weight_decay)
loss = F.cross_entropy(model(torch.randn(8, 16)), torch.randint(4, (8,)))
loss = loss + l1_lambda * sum(each.abs().sum() for each in model.parameters())
loss.backward()
optimizer.step()
"""),
)
