"""The checks of batch norm: train and eval mode, gradient, and running statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from regcheck.lazy_dataclass import dataclass
from regcheck.reference import Statistics, batch_norm, batch_statistics, running_statistics

from .execution_modes import describe_error
from .mask_checks import Run
from .results import CheckResult, CheckSubject

BATCHES = 3


@dataclass(frozen=True)
class Norm:
    """A batch norm of torch and the shape of its input; `build` takes the momentum."""

    name: str
    build: Callable[[float | None], nn.Module]
    shape: tuple[int, ...]


NORMS = (
    Norm("nn.BatchNorm1d", lambda momentum: nn.BatchNorm1d(6, momentum=momentum), (8, 6, 16)),
    Norm("nn.BatchNorm2d", lambda momentum: nn.BatchNorm2d(6, momentum=momentum), (8, 6, 4, 4)),
    Norm("nn.BatchNorm3d", lambda momentum: nn.BatchNorm3d(6, momentum=momentum), (4, 6, 4, 4, 2)),
)


def check_norm(subject: CheckSubject, norm: Norm, compile: Callable[[Run], Run], seed: int) -> Iterator[CheckResult]:
    """Yields the result of each check of a batch norm on the subject's device, in float32 against float64.

    A sum of n terms has n roundings at most, each of half an eps of the sum of their sizes; there are two sums,
    mean and variance, and a few more operations. All deviations are relative to the sum of the terms' sizes.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = [torch.randn(norm.shape, generator=generator) + 0.5 for _ in range(BATCHES)]
    above = torch.randn(norm.shape, generator=generator)
    bound = (batches[0][:, 0].numel() + 10) * torch.finfo(torch.float32).eps

    here = TrainedNorm(norm.build(0.1).to(subject.device), compile)
    for batch in batches:
        input, result = here.step(batch, 0.1)
    exact = batch.double().requires_grad_()
    statistics = batch_statistics(exact)
    ours = batch_norm(exact, statistics, *here.affine)
    yield subject.within("batch statistics", deviation(result, ours), bound)
    (theirs,) = torch.autograd.grad(result, input, above.to(result))
    (wanted,) = torch.autograd.grad(ours, exact, above.double(), retain_graph=True)
    normalized = batch_norm(exact, statistics).detach()
    steepest = (here.affine[0] / statistics.variance.detach().sqrt()).max()
    size = float(above.abs().max() * steepest * (1 + normalized.abs().max()))
    yield subject.within("gradient", deviation(theirs, wanted, size), bound)
    yield subject.within("running statistics", here.gap(), bound)
    here.module.eval()
    yield subject.within("eval", deviation(here.run(input), batch_norm(exact, here.running, *here.affine)), bound)

    cumulative = TrainedNorm(norm.build(None).to(subject.device), compile)
    try:
        for batch in batches:
            cumulative.step(batch, None)
    except Exception as error:  # not every compiler supports the cumulative mean
        yield subject.not_run("cumulative statistics", describe_error(error))
    else:
        yield subject.within("cumulative statistics", cumulative.gap(), bound)


class TrainedNorm:
    """A batch norm in training, and the exact running statistics so far."""

    def __init__(self, module: nn.Module, compile: Callable[[Run], Run]) -> None:
        channels = len(module.state_dict()["weight"])
        weight, bias = torch.linspace(0.5, 2, channels), torch.linspace(-1, 1, channels)
        module.load_state_dict({**module.state_dict(), "weight": weight, "bias": bias})
        self.module, self.run, self.affine = module, compile(module), (weight.double(), bias.double())
        self.running = Statistics(torch.zeros(channels).double(), torch.ones(channels).double(), 0)

    def step(self, batch: Tensor, momentum: float | None) -> tuple[Tensor, Tensor]:
        """Train on a batch, and return the module's input and result."""
        input = batch.to(next(self.module.parameters()).device).requires_grad_()
        result = self.run(input)
        self.running = running_statistics(self.running, batch_statistics(batch.double()), momentum)
        return input, result

    def gap(self) -> float:
        """Returns the deviation of the module's running statistics; infinite if its count of batches is wrong."""
        state = self.module.state_dict()
        if int(state["num_batches_tracked"]) != self.running.number:
            return math.inf
        pairs = (("running_mean", self.running.mean), ("running_var", self.running.variance))
        return max(deviation(state[name], exact) for name, exact in pairs)


def deviation(theirs: Tensor, ours: Tensor, size: float | None = None) -> float:
    """Returns the largest difference relative to `size`; by default one plus the largest exact value."""
    exact = ours.detach()
    size = 1 + float(exact.abs().max()) if size is None else size
    return float((theirs.detach().cpu().double() - exact).abs().max()) / size
