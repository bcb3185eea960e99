"""A random draw that changes predictions in eval mode.

## What it finds

Any random draw other than dropout that happens in eval mode and reaches an output: `torch.rand*`, `bernoulli`,
`gumbel_softmax`, `FractionalMaxPool2d`, sampling, ungated noise or stochastic depth. Also numbers of Python and NumPy,
such as `random.uniform` and `np.random.choice`, from their global streams and from generators that the model or its
file holds. A draw may also decide a branch (`if torch.rand(()) < 0.2: continue`): a scan lists it as not checked, and
an audit or a run measures it. These list as not checked predictions that depend on a clock, on the operating system's
numbers or on a new generator without a seed.

`torch.export` and `torch.jit.trace` write down the draws of the mode that they trace: a model traced in train mode
draws for ever. Traced code does not show whether a draw is intended, so what counts for source counts here, too: a draw
in a function named after sampling, or scaled by an exponential, is advice.

Some draws are advice (`info`) and fail nothing, because the forward shows what they are for:

- a draw from a distribution that the model computes from its input, such as a policy's action: the sample is the
  prediction; by `torch.distributions`, or by a function such as `multinomial` whose result the model returns;
- noise that enters the network by its own layers or beside a condition, and every draw behind it: generators, vocoders,
  diffusion samplers start from noise;
- a draw that reaches outputs by way of a loss alone: masks of pretraining, samples of a posterior, noise to predict;
- a draw that `forward` returns, as itself or as a mask made of it alone.

Noise that is added to hidden values in both modes is none of these.

Source does not show whether a draw is intended, so `regcheck scan` warns; only a measurement makes it an error. If the
names and formulas show that the code samples on purpose, a scan gives advice, too, which `--extend-select REG203`
shows: the draw is in a function named after sampling, reparameterizing, generating or masking; it is multiplied by an
exponential, as in a variational autoencoder's `mean + exp(log_std) * eps`; or only draws, and no input, produce the
output.

## Why it matters

The same input gives another answer at every call: results cannot be reproduced, and noise for training costs accuracy.

## How it is confirmed

As for dropout-ignores-mode: in eval mode only the suspect's random stream changes while all other streams are fixed.
Runs with a changed stream must lie above the replays' noise floor (an exact test). The figure is the standard deviation
over the runs relative to that of the outputs.

No tensor carries the numbers of Python and NumPy, so what is measured there is the line that draws: it gets another
stream in each run, while every other line draws the same numbers. Such a line is advice where its function is named
after sampling, where a tensor made of numbers is all that a layer reads, and where `forward` returns a loss.

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
from regcheck.torch_api.drawn_masks import DrawnMask
from regcheck.torch_api.functions import BRANCH, CONVERSIONS, FACTORIES
from regcheck.torch_api.losses import LOSS_FUNCTIONS
from regcheck.torch_api.number_draws import STREAMS

CODE = "REG203"
SEVERITY = Severity.ERROR
SINCE = "1.0"
BEGINS_AT = (Kind.RANDOM,)
ABOUT_SAMPLING = re.compile(
    r"(?<!down)(?<!down_)(?<!up)(?<!up_)sampl|reparam|generat|masking|random_mask", re.IGNORECASE
)
NOISE = {"rand", "randn", "normal", "uniform", "rand_like", "randn_like", "standard_normal", "random", "gauss"}
STANDARD_NOISE = NOISE | {"cauchy"}
"""The draws that `rsample` of a distribution scales; others have the distribution's parameters as arguments."""
DISTRIBUTIONS = {"multinomial", "bernoulli", "poisson", "normal", "binomial"}
"""The functions that sample a distribution whose parameters are tensors."""
LAYERS = {Kind.LINEAR, Kind.CONV, Kind.RECURRENT}
GUARD = "draw only in training (`if self.training:`), or declare the randomness with an ignore"
TRACED = "call `eval()` before it is traced, and draw only in training (`if self.training:`)"
DECLARE = "if the randomness is intended, declare it with an ignore; else draw only in training (`if self.training:`)"


def check(graph: Graph) -> Iterator[Suspicion]:
    yield from unseen_draws(graph)
    for draw in graph.randoms(active_in=Mode.EVAL):
        if draw in graph.steering:
            continue
        if not graph.eval.outputs_reached(draw, followed):
            branch = branch_of(graph.eval, draw)
            if branch is not None and not is_named_sampling(draw):
                yield Suspicion(draw, f"`{draw.call}` decides a branch in eval mode", DECLARE, undecided=branch)
            continue
        message = f"`{draw.call}` draws random numbers in eval mode, so predictions are random"
        guard = GUARD
        if draw.traced_by:
            message += f": the code that {draw.traced_by} wrote draws in both modes"
            guard = TRACED
        if is_meant(graph.eval, draw) or (draw.traced_by and is_sampling(graph.eval, draw)):
            yield Suspicion(draw, message, DECLARE, (), Severity.INFO)
        elif not graph.assumed:
            yield Suspicion(draw, message, guard)
        elif is_sampling(graph.eval, draw):
            yield Suspicion(draw, message, DECLARE, (), Severity.INFO)
        else:
            yield Suspicion(draw, message, guard, (), Severity.WARNING)


def unseen_draws(graph: Graph) -> Iterator[Suspicion]:
    """The draws of which no flow shows what depends on their numbers: outside of torch, or decisions of its forward."""
    meant = starts_from_numbers(graph.eval) or not any(reaches_a_prediction(graph.eval))
    for draw in (*graph.unseen, *graph.steering):
        severity = Severity.INFO if meant or is_named_sampling(draw) else None
        how = f"this line draws from `{draw.call}`" if draw in graph.unseen else f"`{draw.call}` draws random numbers"
        message = f"{how} in eval mode, so predictions are random"
        yield Suspicion(draw, message, GUARD if severity is None else DECLARE, severity=severity)


def reaches_a_prediction(flow: Flow) -> Iterator[bool]:
    """For each input, whether it reaches an output otherwise than by a loss."""
    return (bool(flow.outputs_reached(op, is_before_loss)) for op in flow if op.kind is Kind.INPUT)


def starts_from_numbers(flow: Flow) -> bool:
    """Whether a tensor that was made of numbers is the input of layers, as the noise of a generator is."""
    sources = (
        op for op in flow if op.kind is Kind.OPAQUE or not (op.inputs or op.kind in (Kind.INPUT, Kind.PARAMETER))
    )
    constant = FACTORIES - CONVERSIONS.keys()
    return any(op.site.function not in constant and feeds_layers_alone(flow, op) for op in sources)


def branch_of(flow: Flow, draw: Op) -> Op | None:
    """The branch that the draw, or what is computed from it alone, decides."""
    masks = DrawnMask(flow, draw).masks
    return next((op for name, op in masks.items() if op.site.function == BRANCH), None)


def is_meant(flow: Flow, draw: Op) -> bool:
    """Whether the forward shows that a draw is its purpose, or no part of a prediction."""
    return (
        is_predicted(flow, draw)
        or not flow.outputs_reached(draw, is_before_loss)
        or is_returned(flow, draw)
        or is_generated(flow, draw)
    )


def is_before_loss(op: Op) -> bool:
    return followed(op) and not is_loss(op)


def is_loss(op: Op) -> bool:
    """Whether an op returns a loss: it reduces all samples to one number."""
    function = op.site.function
    is_reduced = op.shape == () or (op.shape is None and len(op.operands) == 1)
    return function in LOSS_FUNCTIONS or (function in ("mean", "sum") and is_reduced)


def is_returned(flow: Flow, draw: Op) -> bool:
    """Whether the draw, or what is computed from it alone, is an output."""
    drawn = DrawnMask(flow, draw)
    return drawn.is_fair and any(output in drawn.masks for _, output in flow.outputs)


def is_generated(flow: Flow, draw: Op) -> bool:
    """Whether all outputs that the draw reaches are generated from noise."""
    starts = [op for op in flow if op.kind is Kind.RANDOM and op.active and starts_network(flow, op)]
    generated = {name for op in starts for name in flow.outputs_reached(op, followed)}
    return generated.issuperset(flow.outputs_reached(draw, followed))


def starts_network(flow: Flow, draw: Op) -> bool:
    """Whether a draw is the input of layers, alone or beside a condition; noise shaped like hidden values is not.

    Hidden values are those that layers computed, unlike a signal that functions without parameters make of the input.
    """
    if draw.site.function.rpartition(".")[2] not in NOISE:
        return False
    if draw.site.function.endswith("_like") and flow.behind(draw, lambda op: not op.learned):
        return False
    return feeds_layers_alone(flow, draw)


def feeds_layers_alone(flow: Flow, source: Op) -> bool:
    """Whether a layer reads nothing but an op's result, by itself or beside other values."""
    passed, stopped = flow.ahead(source, lambda op: passive(op) or op.kind in (Kind.CONCAT, Kind.JOIN))
    ids = {source.id, *(op.id for op in passed)}
    for op in stopped:
        inputs = [each for each in flow.inputs_of(op) if each.kind not in (Kind.PARAMETER, Kind.CONSTANT)]
        if op.kind in LAYERS and op.learned and inputs and all(each.id in ids for each in inputs):
            return True
    return False


def is_predicted(flow: Flow, draw: Op) -> bool:
    """Whether a distribution is sampled that the model computes from its input.

    Either the draw is made from the distribution's parameters, or `rsample` scales standard noise by one of them. The
    result of a function such as `multinomial` must be what the model returns: a hidden layer may draw as well.
    """
    is_output = flow.outputs_reached(draw, followed) == flow.outputs_reached(draw, is_handed_on)
    by_function = draw.site.function in DISTRIBUTIONS and is_output
    sampled = [draw] if by_function or any(name.startswith("torch.distributions.") for name in draw.within) else []
    if "torch.distributions.rsample" in draw.within and draw.site.function in STANDARD_NOISE:
        sampled += [op for op in flow.ahead(draw, passive)[1] if op.site.function in ("mul", "matmul")]
    return any(computed(flow, source) for op in sampled for source in flow.inputs_of(op))


def is_handed_on(op: Op) -> bool:
    return passive(op) or op.site.function == "one_hot"


def computed(flow: Flow, op: Op) -> bool:
    """Whether the values of an input have a say in what the op gives; its shape alone has none."""

    def valued(each: Op) -> bool:
        return each.kind not in (Kind.INPUT, Kind.OPAQUE) and not each.site.function.endswith("_like")

    behind = flow.behind(op, valued) if valued(op) else [op]
    return any(each.kind is Kind.INPUT for each in behind)


def is_sampling(flow: Flow, draw: Op) -> bool:
    """Whether the code says that the draw is the point: a name, a spread that the model predicts, or nothing else."""
    return is_named_sampling(draw) or is_reparameterized(flow, draw) or is_all_there_is(flow, draw)


def is_named_sampling(draw: Op) -> bool:
    return any(ABOUT_SAMPLING.search(name.rpartition(".")[2]) for name in draw.within)


def is_reparameterized(flow: Flow, draw: Op) -> bool:
    """Whether the draw is multiplied by an exponential, as `mean + exp(log_std) * eps` does."""
    _, ahead = flow.ahead(draw, passive)
    scaled = [op for op in ahead if op.site.function == "mul"]
    return any(each.site.function == "exp" for op in scaled for each in flow.behind(op, passive))


def is_all_there_is(flow: Flow, draw: Op) -> bool:
    """Whether the outputs that the draw reaches are made of nothing but draws: no input has a say in them."""
    outputs = {name for op in flow if op.kind is Kind.INPUT for name in flow.outputs_reached(op, settled)}
    return outputs.isdisjoint(flow.outputs_reached(draw, followed))


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
    what = "line" if suspicion.op.site.function in STREAMS else "call"
    because = spread.describe(f"this {what}")
    if spread.verdict is Verdict.CONFIRMED:
        because += f"; with this {what}'s random numbers fixed they are {spread.agreement}"
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
