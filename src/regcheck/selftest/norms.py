"""The checks of batch norm: its two modes, its gradient, and the statistics that it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regcheck.reference import Statistics, batch_norm, batch_statistics, running_statistics

from .masks import Run
from .outcome import Outcome, Subject

BATCHES = 3


@dataclass(frozen=True)
class Norm:
    """A batch norm of torch and the shape of what it is given; `build` takes the momentum."""

    name: str
    build: Callable[[float | None], nn.Module]
    shape: tuple[int, ...]


NORMS = (
    Norm("nn.BatchNorm1d", lambda momentum: nn.BatchNorm1d(6, momentum=momentum), (8, 6, 16)),
    Norm("nn.BatchNorm2d", lambda momentum: nn.BatchNorm2d(6, momentum=momentum), (8, 6, 4, 4)),
    Norm("nn.BatchNorm3d", lambda momentum: nn.BatchNorm3d(6, momentum=momentum), (4, 6, 4, 4, 2)),
)


def checked(subject: Subject, norm: Norm, compile: Callable[[Run], Run], seed: int) -> Iterator[Outcome]:
    """Make every check of a batch norm on the subject's device, in float32 against float64.

    A sum of n terms is rounded n times at most, each time by half an eps of the sum of their sizes; there are two of
    them, mean and variance, and a few operations more. All deviations are relative to what the terms add up to.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = [torch.randn(norm.shape, generator=generator) + 0.5 for _ in range(BATCHES)]
    above = torch.randn(norm.shape, generator=generator)
    bound = (batches[0][:, 0].numel() + 10) * torch.finfo(torch.float32).eps
    for momentum, check in ((0.1, "running statistics"), (None, "cumulative statistics")):
        module = norm.build(momentum).to(subject.device)
        state = {**module.state_dict(), "weight": torch.linspace(0.5, 2, 6), "bias": torch.linspace(-1, 1, 6)}
        module.load_state_dict(state)
        affine = (state["weight"].double(), state["bias"].double())
        run, running = compile(module), Statistics(torch.zeros(6).double(), torch.ones(6).double(), 0)
        for batch in batches:
            x, exact = batch.to(subject.device).requires_grad_(), batch.double().requires_grad_()
            theirs = run(x)
            statistics = batch_statistics(exact)
            ours = batch_norm(exact, statistics, *affine)
            running = running_statistics(running, statistics, momentum)
        kept = module.state_dict()
        gaps = deviation(kept["running_mean"], running.mean), deviation(kept["running_var"], running.variance)
        if momentum is not None:
            yield subject.within("batch statistics", deviation(theirs, ours), bound)
            found, wanted = (
                torch.autograd.grad(out, given, above.to(out), retain_graph=True)[0]
                for out, given in ((theirs, x), (ours, exact))
            )
            size = float(above.abs().max() * (affine[0] / statistics.variance.sqrt()).max() * ours.square().max())
            yield subject.within("gradient", deviation(found, wanted, size), bound)
        counted = int(kept["num_batches_tracked"])
        told = "" if counted == BATCHES else f"{counted} batches counted, not {BATCHES}"
        yield subject.within(check, float("inf") if told else max(gaps), bound, told)
        if momentum is not None:
            module.eval()
            predicted = batch_norm(exact, running, *affine)
            yield subject.within("eval", deviation(run(x), predicted), bound)


def deviation(theirs: Tensor, ours: Tensor, size: float | None = None) -> float:
    """The largest difference, relative to a size: that of the largest exact value, and one, if none is given."""
    exact = ours.detach()
    size = 1 + float(exact.abs().max()) if size is None else size
    return float((theirs.detach().cpu().double() - exact).abs().max()) / size
