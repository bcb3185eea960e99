"""Batch norm of a frozen part that runs in train mode.

## What it finds

A model of which a part is frozen and the rest is trained, while the batch norms of the frozen part are in train mode:
`requires_grad = False` stops the gradients and not the running statistics. A part is frozen if no optimizer ever trains
a parameter of it in the whole program: it needs no gradients, or no optimizer holds it. The norm must belong to the
part: nothing in the norm's top-level part of the model is trained, or nothing that the model registers before the norm.
The same holds for a model of its own that nobody trains and whose results, with or without gradients, are what another
model is trained on, as an encoder that no optimizer holds.

It also finds batch norms that the program itself froze, with an `eval()` on each of them or on the part around them,
where a later `train()` of the whole model puts them back in train mode before anything ran.

The report names the `train()` that puts the norms in train mode, or the training call where nothing sets the mode.

The rule ignores:

- norms in eval mode at the call, as where `train()` is overridden to keep them there;
- norms whose scale and shift are trained, and those behind a layer that is trained, whose statistics have to follow it;
- norms without running statistics, and without a momentum, which is how programs recalibrate;
- results that only go into a loss, as those of teachers;
- parts that are frozen for some steps only, as the discriminator of a GAN is;
- parts whose weights change by other means: teachers, momentum encoders and other moving averages;
- norms that the program puts in train mode by a `train()` of their own;
- an `eval()` of a part that the program then predicts with, that its constructor calls, or that follows the loading of
  its weights: it is no freezing. `eval()` on a batch norm always is.

## Why it matters

In train mode the frozen part normalizes by the batch of the new data, and its running statistics wander to that data.
In eval mode it is then another extractor than the pretrained one: neither the features that the head was trained on nor
those of the checkpoint. Parts that share the frozen weights break, and saving the head alone loses the statistics.

## How it is confirmed

On a copy of the model, with the input and the running statistics of the training call: the call moves the running
statistics, and with these norms in eval mode they stay. The effect is how far the statistics of the batch are from the
running ones, in running standard deviations; below 10 % the finding is advice.

## When to keep the code

If the statistics are meant to adapt to new data while the weights stay: call `train()` on the norms themselves, or
ignore the line.

## References

The documentation of `torch.nn.BatchNorm2d` (running estimates are kept during training) and of
`torch.nn.Module.requires_grad_`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from regcheck.core.finding import Evidence, Severity, Suspicion
from regcheck.core.measurements.statistics_drift import StatisticsDrift
from regcheck.core.rule import Example, Probe
from regcheck.core.usage import Backward, Called, ModeSet, Usage

CODE = "REG209"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (ModeSet, Backward)
MATERIAL = 0.1
"""The distance of the batch's statistics from the running ones, in running deviations, from which it is material."""


def check(usage: Usage) -> Iterator[Suspicion]:
    for _, call in usage.calls():
        if call.test_code or not (call.feeds_training or is_trained(usage, call)):
            continue
        at = replace(call, place=call.train_set_at or call.place)
        if call.undone:
            parts = named(call.undone)
            yield Suspicion(
                at,
                f"`train()` puts {parts} of `{call.model.name}`, in eval mode by a call of its own, back in train mode",
                fix="freeze it after each `train()`, or override `train()` to keep it in eval mode",
            )
        elif call.frozen_norms:
            parts = named(call.frozen_norms)
            does = "computes the input of a model that trains," if call.feeds_training else "trains"
            yield Suspicion(
                at,
                f"`{call.model.name}` {does} with frozen norms in train mode: the running statistics of {parts} move",
                fix="put the frozen part in eval mode after each `train()`, or override `train()` to keep it there",
            )


def is_trained(usage: Usage, call: Called) -> bool:
    """Whether a training step is taken through the call; where it runs, by an optimizer that holds the model."""
    return call.backpropagated is True and (call.trained_after is None or usage.is_stepped(call.model))


def named(paths: tuple[str, ...]) -> str:
    return f"`{paths[0]}`" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    call = suspicion.event
    drift = probe.measure(StatisticsDrift, call, (call.undone or call.frozen_norms) if isinstance(call, Called) else ())
    lowers_to = Severity.INFO if drift.distance < MATERIAL else None
    return probe.evidence(drift.verdict, drift.describe(), drift, material_from=MATERIAL, lowers_to=lowers_to)


BAD = (
    Example("""\
import torch
from torch import nn


class Probe(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU())
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.backbone(x))


def main():
    model = Probe()
    for parameter in model.backbone.parameters():
        parameter.requires_grad = False
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
    for _ in range(2):
        model.train()  # <-
        loss = nn.functional.cross_entropy(model(2 + torch.randn(8, 16)), torch.zeros(8, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
"""),
    Example("""\
import torch
from torch import nn


class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
        self.freeze_norms()

    def freeze_norms(self):
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()

    def forward(self, x):
        return self.layers(x)


def main():
    model = Segmenter()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model.train()  # <-
        loss = nn.functional.cross_entropy(model(1 + torch.randn(2, 3, 8, 8)), torch.ones(2, 8, 8, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Probe(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU())
        self.head = nn.Linear(32, 4)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x):
        return self.head(self.backbone(x))


def main():
    model = Probe()
    for parameter in model.backbone.parameters():
        parameter.requires_grad = False
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
    for _ in range(2):
        model.train()
        loss = nn.functional.cross_entropy(model(2 + torch.randn(8, 16)), torch.zeros(8, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
"""),
)
