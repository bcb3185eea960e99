"""A random draw that changes predictions in eval mode.

## What it finds

Any random draw other than dropout that happens in eval mode and reaches an output: `torch.rand*`, `bernoulli`,
`gumbel_softmax`, `FractionalMaxPool2d`, sampling, ungated noise or stochastic depth.

A draw from a `torch.distributions` distribution that the model computes from its input, such as a policy's action, is
advice (`info`) and fails nothing: the sample is the prediction.

Source does not show whether a draw is intended, so `regcheck scan` warns; only a measurement makes it an error. If the
code shows that it samples on purpose, a scan gives advice, too, which `--extend-select REG203` shows: the draw is in a
function named after sampling, reparameterizing, generating or masking; it is multiplied by an exponential, as in a
variational autoencoder's `mean + exp(log_std) * eps`; or only draws, and no input, produce the output.

## Why it matters

The same input gives another answer at every call: results cannot be reproduced, and noise for training costs accuracy.

## How it is confirmed

As for dropout-ignores-mode: in eval mode only the suspect's random stream changes while all other streams are fixed.
Runs with a changed stream must lie above the replays' noise floor (an exact test). The figure is the standard deviation
over the runs relative to that of the outputs.

## When to keep the code

If sampling is the purpose: variational autoencoders, diffusion, text generation, Monte-Carlo prediction. Declare it on
the line: `# regcheck: ignore[REG203] samples the latent on purpose`.

## References

Huang et al., "Deep networks with stochastic depth", ECCV 2016 (active in training only).
Graham, "Fractional max-pooling", 2014 (random at test time too).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Flow, Graph, Kind, Mode, Op
from regcheck.core.measurements.spread import Spread
from regcheck.core.rule import Example, Probe

CODE = "REG203"
SEVERITY = Severity.ERROR
BEGINS_AT = (Kind.RANDOM,)
ABOUT_SAMPLING = re.compile(
    r"(?<!down)(?<!down_)(?<!up)(?<!up_)sampl|reparam|generat|masking|random_mask", re.IGNORECASE
)
GUARD = "draw only in training (`if self.training:`), or declare the randomness with an ignore"
DECLARE = "if the randomness is intended, declare it with an ignore; else draw only in training (`if self.training:`)"


def check(graph: Graph) -> Iterator[Suspicion]:
    for draw in graph.randoms(active_in=Mode.EVAL):
        if draw.baked_in or not graph.eval.outputs_reached(draw, followed):  # what is frozen is dropout-ignores-mode
            continue
        message = f"`{draw.call}` draws random numbers in eval mode, so predictions are random"
        if is_predicted(graph.eval, draw):
            yield Suspicion(draw, message, DECLARE, (), Severity.INFO)
        elif not graph.assumed:
            yield Suspicion(draw, message, GUARD)
        elif is_sampling(graph.eval, draw):
            yield Suspicion(draw, message, DECLARE, (), Severity.INFO)
        else:
            yield Suspicion(draw, message, GUARD, (), Severity.WARNING)


def is_predicted(flow: Flow, draw: Op) -> bool:
    """Whether a distribution is sampled that the model computes from its input.

    Either the draw is made from the distribution's parameters, or `rsample` scales standard noise by one of them.
    """
    sampled = [draw] if any(name.startswith("torch.distributions.") for name in draw.within) else []
    if "torch.distributions.rsample" in draw.within:
        sampled += [op for op in flow.ahead(draw, passive)[1] if op.site.function in ("mul", "matmul")]
    return any(computed(flow, given) for op in sampled for given in flow.inputs_of(op))


def computed(flow: Flow, op: Op) -> bool:
    """Whether the values of an input have a say in what the op gives; its shape alone has none."""

    def valued(each: Op) -> bool:
        return each.kind not in (Kind.INPUT, Kind.OPAQUE) and not each.site.function.endswith("_like")

    behind = flow.behind(op, valued) if valued(op) else [op]
    return any(each.kind is Kind.INPUT for each in behind)


def is_sampling(flow: Flow, draw: Op) -> bool:
    """Whether the code says that the draw is the point: a name, a spread that the model predicts, or nothing else."""
    if any(ABOUT_SAMPLING.search(name.rpartition(".")[2]) for name in draw.within):
        return True
    return is_reparameterized(flow, draw) or is_all_there_is(flow, draw)


def is_reparameterized(flow: Flow, draw: Op) -> bool:
    """Whether the draw is multiplied by an exponential, as `mean + exp(log_std) * eps` does."""
    _, ahead = flow.ahead(draw, passive)
    scaled = [op for op in ahead if op.site.function == "mul"]
    return any(each.site.function == "exp" for op in scaled for each in flow.behind(op, passive))


def is_all_there_is(flow: Flow, draw: Op) -> bool:
    """Whether the outputs that the draw reaches are made of nothing but draws: no input has a say in them."""
    told = {name for op in flow if op.kind is Kind.INPUT for name in flow.outputs_reached(op, settled)}
    return told.isdisjoint(flow.outputs_reached(draw, followed))


def passive(op: Op) -> bool:
    return op.kind in (Kind.IDENTITY, Kind.RESHAPE, Kind.SCALE)


def settled(op: Op) -> bool:
    """Whether what comes in has a say in what comes out: `torch.rand*` take no more than a shape."""
    return op.kind is not Kind.RANDOM or not op.site.function.startswith("rand")


def followed(op: Op) -> bool:
    """Whether it is known what the op does; what is drawn may do no more than set sizes beyond an opaque one."""
    return op.kind is not Kind.OPAQUE


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    spread = probe.measure(Spread, suspicion.ops, Mode.EVAL)
    because = spread.describe("this call")
    if spread.verdict is Verdict.CONFIRMED:
        because += f"; with this call's random numbers fixed they are {spread.agreement}"
    return probe.evidence(spread.verdict, because, spread)


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
