"""The calls that a program makes of its models, for tools that want a model and its inputs in hand."""

from __future__ import annotations

import contextlib
import functools
import inspect
import runpy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Call:
    """The last call of a model: without gradients if there was one, as a prediction is what a test calls."""

    model: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    predicts: bool
    modes: dict[Any, bool]
    optimizer: Any = None

    @property
    def inputs(self) -> Any:
        """The arguments as a tuple, or by name where the program passes some by name."""
        if not self.kwargs:
            return self.args
        return dict(inspect.signature(self.model.forward).bind(*self.args, **self.kwargs).arguments)

    def restore_modes(self) -> None:
        """Put each module in the mode that it had in this call."""
        for module, training in self.modes.items():
            module.training = training


@dataclass
class Program:
    """What a program did with its models."""

    calls: dict[int, Call] = field(default_factory=dict)
    optimizers: list[Any] = field(default_factory=list)

    def note(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        import torch

        predicts = not torch.is_grad_enabled()
        known = self.calls.get(id(model))
        if known is None or predicts or not known.predicts:
            modes = {module: module.training for module in model.modules()}
            self.calls[id(model)] = Call(model, args, kwargs, predicts, modes)


def calls_of(path: str) -> list[Call]:
    """Run a program and return the last call of each model with parameters, with the optimizer that steps on it.

    The models have the weights that the program leaves them with.
    """
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from torch.utils._pytree import tree_map_only

    program = Program()
    hook = register_optimizer_step_post_hook(lambda optimizer, *_: program.optimizers.append(optimizer))
    with watched(program):
        runpy.run_path(path, run_name="__main__")
    hook.remove()
    for call in program.calls.values():
        call.args, call.kwargs = tree_map_only(torch.Tensor, torch.clone, (call.args, call.kwargs))
    calls = [call for call in program.calls.values() if any(True for _ in call.model.parameters())]
    for call in calls:
        own = {id(p) for p in call.model.parameters()}
        for optimizer in program.optimizers:
            if any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
                call.optimizer = optimizer
    return calls


@contextlib.contextmanager
def watched(program: Program) -> Iterator[None]:
    """Note the outermost calls of modules."""
    from torch import nn

    original, depth = nn.Module.__call__, 0

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if depth == 0 and not isinstance(self, nn.modules.loss._Loss):
            program.note(self, args, kwargs)
        depth += 1
        try:
            return original(self, *args, **kwargs)
        finally:
            depth -= 1

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]
