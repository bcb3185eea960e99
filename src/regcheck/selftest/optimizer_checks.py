"""The checks of optimizers: several steps of each of torch's implementations, against the reference."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from typing import Any

import torch
from torch import optim

from regcheck.lazy_dataclass import dataclass
from regcheck.probe.reductions import has_float64
from regcheck.reference.optimizers import State, step

from .execution_modes import describe_error
from .results import CheckResult, CheckSubject

STEPS = 8
"""RAdam adapts from the sixth step on."""

ROUNDINGS = 1000
"""The bound in units of eps: eight steps of some twenty operations, each within half an eps, and an order of magnitude
for cancellation in a step."""

SETTINGS: Mapping[str, Any] = {"lr": 0.01, "weight_decay": 0.1}

Compile = Callable[[Callable[[], Any]], Callable[[], Any]]


@dataclass(frozen=True)
class Method:
    """An optimizer class with its settings, the name of its reference, and whether its decay is decoupled."""

    kind: Callable[..., optim.Optimizer]
    rule: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    decoupled: bool = False

    @property
    def name(self) -> str:
        """Its spelling in user code, without default settings."""
        settings = [name if value is True else f"{name}={value}" for name, value in self.settings.items()]
        return f"optim.{getattr(self.kind, '__name__', self.kind)}({', '.join(settings)})"

    @property
    def ways(self) -> tuple[str, ...]:
        """The implementations that torch has of it."""
        parameters = inspect.signature(self.kind).parameters
        return ("single", *(way for way in ("foreach", "fused") if way in parameters))


METHODS = (
    Method(optim.SGD, "SGD", {"momentum": 0.9, "dampening": 0.1}),
    Method(optim.SGD, "SGD", {"momentum": 0.9, "nesterov": True}),
    Method(optim.Adam, "Adam"),
    Method(optim.Adam, "Adam", {"amsgrad": True}),
    Method(optim.AdamW, "Adam", decoupled=True),
    Method(optim.NAdam, "NAdam"),
    Method(optim.NAdam, "NAdam", {"decoupled_weight_decay": True}, decoupled=True),
    Method(optim.RAdam, "RAdam", {"betas": (0.9, 0.99)}),
    Method(optim.RAdam, "RAdam", {"decoupled_weight_decay": True}, decoupled=True),
    Method(optim.Adamax, "Adamax"),
    Method(optim.Adagrad, "Adagrad", {"lr_decay": 0.1}),
    Method(optim.RMSprop, "RMSprop", {"momentum": 0.9, "centered": True}),
    Method(optim.Adadelta, "Adadelta"),
)


def check_optimizer(subject: CheckSubject, method: Method, compile: Compile, seed: int) -> Iterator[CheckResult]:
    """Yields the result of several steps with each implementation, in float64 if the device has it."""
    # compile only the implementation that torch compiles by default
    for way in [method.ways[:2][-1]] if subject.mode == "compiled" else method.ways:
        try:
            gap, bound = deviation(method, way, subject.device, compile, seed)
        except Exception as error:  # another implementation may work on this device
            yield subject.not_run(f"{way} step", describe_error(error))
        else:
            yield subject.within(f"{way} step", gap, bound)


def deviation(method: Method, way: str, device: str, compile: Compile, seed: int) -> tuple[float, float]:
    """Returns the deviation of torch's parameters from the reference's after `STEPS` steps, and its bound."""
    with widest_dtype(device) as dtype:
        generator = torch.Generator().manual_seed(seed)
        sizes = torch.logspace(-3, 1, 48, dtype=torch.float64).reshape(6, 8)
        start = torch.randn(6, 8, generator=generator, dtype=torch.float64)
        gradients = torch.randn(STEPS, 6, 8, generator=generator, dtype=torch.float64) * sizes
        theirs = start.to(device, dtype, copy=True).requires_grad_()
        # without a choice torch picks an implementation
        chosen = {each: each == way for each in method.ways if each != "single" and way in (each, "single")}
        optimizer = method.kind([theirs], **SETTINGS, **method.settings, **chosen)
        take = compile(optimizer.step)
        ours, state = theirs.detach().cpu().double().clone(), State()
        for gradient in gradients.to(dtype):
            theirs.grad = gradient.to(device)
            take()
            group = optimizer.param_groups[0]
            ours = step(method.rule, ours, gradient.double(), state, group, decoupled=method.decoupled)
    gap = (theirs.detach().cpu().double() - ours).abs() / (1 + ours.abs())
    return float(gap.max()), ROUNDINGS * torch.finfo(dtype).eps


@contextmanager
def widest_dtype(device: str) -> Iterator[torch.dtype]:
    """Set and yield the widest floating dtype of a device: optimizers store scalars in the default dtype."""
    dtype = torch.float64 if has_float64(device) else torch.float32
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield dtype
    finally:
        torch.set_default_dtype(before)
