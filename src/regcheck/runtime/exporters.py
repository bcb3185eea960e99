"""Calls of torch's exporters, which call a model to write down what it does."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.jit._trace
from torch import nn

from regcheck.core.usage import ONNX, ONNX_BY_TRACING
from regcheck.lazy_dataclass import dataclass

from .calls import Patches
from .thread_targets import caller_frame

_TORCH = Path(torch.__file__).parent
_EXPORTING = tuple(f"{_TORCH / part}/" for part in ("export", "jit", "onnx", "_dynamo"))
"""Folders of torch whose code may run between an exporter and its caller; the last does once something is compiled."""

WRITING = frozenset((ONNX, ONNX_BY_TRACING))


@dataclass(frozen=True)
class Export:
    """One export: the exporter's name, the model, its inputs, and the frame that called the exporter."""

    exporter: str
    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    frame: FrameType

    @property
    def writes_file(self) -> bool:
        """Whether the exporter writes what it exports to a file, so that a program need not use its result."""
        return self.exporter in WRITING


@dataclass(frozen=True)
class _Exporter:
    """A function of torch, by the name that users know, with the positions and names of its arguments."""

    owner: Any
    attribute: str
    name: str
    arguments: Mapping[str, int]

    def inputs_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The model, the positional and the keyword inputs of a call."""
        return [kwargs.get(name, args[at] if at < len(args) else None) for name, at in self.arguments.items()]


_EXPORTERS = (
    _Exporter(torch.export, "export", "torch.export.export", {"mod": 0, "args": 1, "kwargs": 2}),
    _Exporter(
        torch.jit._trace,
        "_trace_impl",
        "torch.jit.trace",
        {"func": 0, "example_inputs": 1, "example_kwarg_inputs": 10},
    ),
    # Called where `torch.onnx.export` has put the model into the mode that its argument `training` names.
    _Exporter(torch.jit, "_get_trace_graph", ONNX_BY_TRACING, {"f": 0, "args": 1, "kwargs": 2}),
)


def watch_exports(patches: Patches, note: Callable[[Export], None]) -> None:
    """Report each export to `note` after it."""
    for exporter in _EXPORTERS:
        patches.put(exporter.owner, exporter.attribute, functools.partial(_wrap, exporter=exporter), note)


def _wrap(original: Callable[..., Any], note: Callable[[Export], None], exporter: _Exporter) -> Callable[..., Any]:
    @functools.wraps(original)
    def export(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        result = original(*args, **kwargs)
        model, inputs, named = exporter.inputs_of(args, kwargs)
        frame, name = _caller(caller_frame(sys._getframe()), exporter.name)
        if isinstance(model, nn.Module) and frame is not None:
            several = isinstance(inputs, (tuple, list))
            positional = tuple(inputs) if several else () if inputs is None else (inputs,)
            note(Export(name, model, positional, dict(named or {}), frame))
        return result

    return export


def _caller(frame: FrameType, name: str) -> tuple[FrameType | None, str]:
    """The frame that calls the exporter, and its name; no frame where torch itself traces for another purpose."""
    at: FrameType | None = frame
    while at is not None:
        path = at.f_code.co_filename
        if not path.startswith(str(_TORCH)):
            return at, name
        if not path.startswith(_EXPORTING):  # tensorboard draws the graph of a traced model
            return None, name
        if path.startswith(_EXPORTING[2]) and name not in WRITING:
            name = ONNX
        at = at.f_back
    return None, name
