"""Code that a tracer or compiler wrote (torch.fx, torch.export, TorchScript), and the lines that it was made from."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, FrameType
from typing import Any, TypeVar

import torch
from torch import fx, nn

from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.functions import BATCH_NORM_TRAINING, DROPPING

Function = TypeVar("Function")

_interpreters: set[int] = set()
_nodes: dict[tuple[int, int], tuple[CodeType, fx.Node | None]] = {}
_FX_FILE = "<eval_with_key>"
_FRAME = re.compile(r'(?:File ")?([^"\n]+?)(?:", line |\()(\d+)(?:, in |\): )?(\w*)(?:\n {4}(.*))?')
"""A line of a stack trace, in the formats of torch.fx, which adds the line's text, and of TorchScript."""


@dataclass(frozen=True)
class TracedFrame:
    """A line of the traced program; its file may lie on another machine."""

    path: str
    line: int
    function: str
    text: str = ""


def interprets(function: Function) -> Function:
    """Mark a function whose local variable `step` is the step of a script that it runs."""
    _interpreters.add(id(function.__code__))  # type: ignore[attr-defined]
    return function


def is_traced_code(code: CodeType) -> bool:
    """Whether torch.fx wrote the code (also on behalf of torch.export), or it runs a step of a script."""
    return code.co_filename.startswith(_FX_FILE) or id(code) in _interpreters


def traced_frames(frame: FrameType) -> Sequence[TracedFrame]:
    """The frames that the running call was traced from, innermost first; none where the tracer recorded none."""
    if id(frame.f_code) in _interpreters:
        frames: Sequence[TracedFrame] = frame.f_locals["step"].frames
        return frames
    node = _node_of(frame)
    return [*frames_of(node.stack_trace or "")][::-1] if node is not None else ()


def traced_module(frame: FrameType | None) -> str:
    """The path of the module that the call running in the nearest traced code was traced from; empty if unknown."""
    while frame is not None and not is_traced_code(frame.f_code):
        frame = frame.f_back
    node = _node_of(frame) if frame is not None else None
    stack = node.meta.get("nn_module_stack") if node is not None else None
    path = [*stack.values()][-1][0] if stack else ""
    return path if isinstance(path, str) and re.fullmatch(r"[\w.]*", path) else ""


def tracer_of(module: nn.Module | None, function: object, name: str) -> str:
    """The tracer that wrote the running call of `module`, with its mode as a constant; empty where its user did."""
    if isinstance(module, fx.GraphModule):
        return "torch.export" if isinstance(function, torch._ops.OpOverload) else "torch.fx"
    return "torch.jit" if isinstance(module, torch.jit.ScriptModule) and _has_constant_mode(name) else ""


def _has_constant_mode(name: str) -> bool:
    """Whether the running step of a script has no argument for the mode, or a constant one."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and id(frame.f_code) not in _interpreters:
        frame = frame.f_back
    switch = DROPPING[name].training if name in DROPPING else BATCH_NORM_TRAINING if name == "batch_norm" else None
    return frame is not None and (switch is None or switch.position in frame.f_locals["step"].constants)


def _node_of(frame: FrameType) -> fx.Node | None:
    """The node that the running line of code was written for, memoized: the line assigns to the node's name."""
    key = id(frame.f_code), frame.f_lineno
    if key not in _nodes:
        module: Any = frame.f_locals.get("self")
        node = None
        if isinstance(module, fx.GraphModule):
            lines = module.code.splitlines()
            name = lines[frame.f_lineno - 1].partition("=")[0].strip() if frame.f_lineno <= len(lines) else ""
            node = next((each for each in module.graph.nodes if each.name == name), None)
        _nodes[key] = frame.f_code, node
    return _nodes[key][1]


def frames_of(trace: str) -> Iterator[TracedFrame]:
    """The frames of a stack trace, in its order."""
    for path, line, function, text in _FRAME.findall(trace):
        yield TracedFrame(path.strip(), int(line), function, text)
