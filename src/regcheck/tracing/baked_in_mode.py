"""Dropouts in code that a tracer generated, where the mode of the traced model is a constant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx, nn

from regcheck.core.graph import BakedInMode, Kind
from regcheck.files.place import Place
from regcheck.torch_api.functions import DROPPING, KINDS, call_text

from .call_interceptor import name_of
from .user_line import is_user_code

_FRAME = re.compile(r'(?:File ")?([^"\n]+?)(?:", line |\()(\d+)')
"""A line of a stack trace, in the formats of torch.fx and of TorchScript."""


def baked_in_call(module: nn.Module | None, function: object, name: str) -> BakedInMode | None:
    """The baked-in mode of a dropout call of `module` that is active; None unless torch.fx generated the call."""
    if not isinstance(module, fx.GraphModule) or DROPPING[name].training is None:
        return None
    like = [each for each in module.graph.nodes if each.op == "call_function" and name_of(each.target) == name]
    places = {_place([*_frames(each.stack_trace or "")][::-1]) for each in like}
    tool = "torch.export" if isinstance(function, torch._ops.OpOverload) else "torch.fx"
    return BakedInMode(tool, DROPPING[name].drops, "", places.pop() if len(places) == 1 else None)


def baked_in_script(module: torch.jit.ScriptModule) -> BakedInMode | None:
    """The first dropout in a script with a constant `training`; None where the script has other random ops."""
    graph: Any = module.inlined_graph  # torch's stubs lack most of its methods
    if any(KINDS.get(each) is Kind.RANDOM for each in re.findall(r"aten::(\w+?)_?\b", str(graph))):
        return None
    for name, how in DROPPING.items():
        for node in (*graph.findAllNodes(f"aten::{name}"), *graph.findAllNodes(f"aten::{name}_")):
            constants = [each.toIValue() for each in node.inputs()]  # None where the input is no constant
            position = how.training[0] if how.training else len(constants)
            if constants[position : position + 1] == [True]:
                rate = constants[how.rate[0]]
                text = call_text(name, rate=rate if isinstance(rate, float) else None)
                return BakedInMode("torch.jit", how.drops, text, _place(_frames(node.sourceRange())))
    return None


def _frames(trace: str) -> Iterable[tuple[str, str]]:
    return _FRAME.findall(trace)


def _place(frames: Iterable[tuple[str, str]]) -> Place | None:
    """The first frame, innermost first, in the user's own code."""
    return next((Place(path.strip(), int(line)) for path, line in frames if is_user_code(path.strip())), None)
