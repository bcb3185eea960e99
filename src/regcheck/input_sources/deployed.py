"""Inputs of exported programs and of TorchScript: those that the file or the module recorded when it was made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from regcheck.hookspecs import hookimpl
from regcheck.tracing.example_inputs import Inputs, drawn_for, with_another_sample
from regcheck.tracing.exported_programs import EXAMPLE


@hookimpl
def regcheck_inputs(model: nn.Module) -> Iterator[Inputs]:
    """The recorded inputs; where they hold one sample, the same with a second one first, as far as the model takes it.

    Only a batch shows whether a prediction depends on other samples.
    """
    recorded = exported(model) if isinstance(model, fx.GraphModule) else traced(model)
    if recorded is not None:
        yield from with_another_sample(recorded)
        yield recorded


def exported(model: fx.GraphModule) -> Inputs | None:
    if EXAMPLE not in model.meta:
        return None
    args, kwargs = model.meta[EXAMPLE]
    return Inputs(args, kwargs, "its exported example")


def traced(model: nn.Module) -> Inputs | None:
    """Tensors of the shapes that a module was traced with; None for a scripted one, which has none."""
    if not isinstance(model, torch.jit.ScriptModule) or not hasattr(model, "graph"):
        return None
    graph: Any = model.graph
    types = [each.type() for each in graph.inputs()][1:]
    if not types or any(each.kind() != "TensorType" or each.sizes() is None or each.dtype() is None for each in types):
        return None
    shapes = [(each.sizes(), str(each.dtype()).removeprefix("torch.")) for each in types]
    args = [drawn_for(model, position, tuple(sizes), dtype) for position, (sizes, dtype) in enumerate(shapes)]
    return Inputs(tuple(args), {}, "its traced shapes")
