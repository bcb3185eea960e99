"""Reads the source of a live model's `forward`: which layer uses each argument first, and how it is reshaped before.

This reader is not `static.interpreter`, because it starts from live objects: names are the globals of a live function,
attributes are those of live modules with their tensors, and `inspect` finds the source of functions in any installed
library. The interpreter evaluates the files of a project, which it never imports, and knows modules by the calls that
construct them.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from .argument_flow import ArgumentFlow, Available, FirstUse, ForwardReading, joined, plain, reshaped
from .statements import WAYS, Body

OUTRIGHT = frozenset("linear matmul mm bmm embedding conv1d conv2d conv3d conv_transpose1d conv_transpose2d".split())
"""Functions that take the weights of a layer as an argument."""


class TooDeep(Exception):
    """The source takes more steps than a guess may."""


def follow(model: nn.Module) -> ForwardReading:
    """The first uses of the arguments of `model.forward` that its source shows. Nothing is run."""
    reading = ForwardReading()
    names = list(_names(type(model).forward))
    with suppress(Exception):  # a guess must not stop an audit, whatever the source contains
        _Reader(reading, 4000).enter(model, {name: ArgumentFlow(((name,),)) for name in names})
    return reading


def _names(function: Callable[..., Any]) -> Iterator[str]:
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return
    yield from (each.name for each in parameters[1:] if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))


@functools.lru_cache(maxsize=1024)
def _parsed(function: Any) -> ast.FunctionDef | None:
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return node if isinstance(node, ast.FunctionDef) else None


class _Reader:
    """Reads functions statement by statement, and follows the arguments through them."""

    def __init__(self, found: ForwardReading, steps: int) -> None:
        self.reading, self._steps, self._depth = found, steps, 0

    def enter(self, module: nn.Module, arguments: Mapping[str, Any]) -> Any:
        """Reads a call of a module; the first argument afterwards, unless a layer uses it."""
        name = type(module).__name__
        tracks = {key: each for key, each in arguments.items() if isinstance(each, ArgumentFlow)}
        if not tracks:
            return None
        first = next(iter(tracks.values()))
        if isinstance(module, nn.Sequential):
            value: Any = first
            for child in module:
                if not isinstance(value, ArgumentFlow):
                    break
                value = self.enter(child, {"input": value})
            return value
        if name == "Flatten":
            return reshaped(first, "flatten", (getattr(module, "start_dim", 1),))
        if _is_leaf(module) and next(module.parameters(), None) is None:
            return first
        if _is_leaf(module):
            for key, track in tracks.items():
                self._record_use(track, FirstUse(module, key))
            return None
        before = len(self.reading.meetings)
        result = self._read(type(module).forward, [Available(module)], dict(arguments))
        if len(self.reading.meetings) > before or next(module.parameters(), None) is not None:
            return result if isinstance(result, ArgumentFlow) else None
        return result if isinstance(result, ArgumentFlow) else first

    def _record_use(self, track: ArgumentFlow, meeting: FirstUse) -> None:
        for root in track.roots:
            use = replace(meeting, way=track.way, shared=len(track.roots))
            self.reading.meetings.setdefault(root, use)

    def _read(self, function: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
        function = inspect.unwrap(getattr(function, "__func__", function))
        node = _parsed(function) if isinstance(function, FunctionType) else None
        if node is None or self._depth > 12:
            return None
        spec = node.args
        positional = [each.arg for each in (*spec.posonlyargs, *spec.args)]
        scope: dict[str, Any] = dict(zip(positional, arguments, strict=False))
        free = [name for name in positional if name not in scope]
        for name, value in named.items():
            if name in free or name in [each.arg for each in spec.kwonlyargs]:
                scope[name] = value
            elif name == "input" and free:
                scope[free[0]] = value
        if spec.vararg is not None and len(arguments) > len(positional):
            scope[spec.vararg.arg] = list(arguments[len(positional) :])
        self._depth += 1
        try:
            return Body(self, function, scope).run(node.body)
        finally:
            self._depth -= 1

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise TooDeep

    def call(self, function: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """The result of a call of a live object, with arguments that are followed."""
        tracks = [each for each in (*args, *named.values()) if isinstance(each, (ArgumentFlow, list))]
        if not tracks:
            return None
        if isinstance(function, nn.Module):
            names = [*_names(type(function).forward)] or ["input"]
            bound = dict(zip(names, args, strict=False)) | dict(named)
            return self.enter(function, bound)
        if isinstance(function, MethodType) and isinstance(function.__self__, nn.Module):
            if function.__name__ == "forward":
                return self.call(function.__self__, args, named)
            return self._read(function, [Available(function.__self__), *args], named)
        name = getattr(function, "__name__", "")
        if str(getattr(function, "__module__", "")).split(".")[0] in ("torch", "builtins") or name in WAYS:
            return self.torch(name, [*args], named)
        if isinstance(function, FunctionType):
            result = self._read(function, args, named)
            return result if isinstance(result, ArgumentFlow) else None
        return None

    def torch(self, name: str, args: list[Any], named: Mapping[str, Any]) -> Any:
        first = args[0] if args else named.get("input")
        weights = [each.value for each in (*args, *named.values()) if isinstance(each, Available)]
        weights = [each for each in weights if isinstance(each, Tensor)]
        if name in OUTRIGHT and weights:
            track = next((each for each in (first, *args) if isinstance(each, ArgumentFlow)), None)
            if track is not None:
                self._record_use(track, FirstUse(None, "input", function=name, weight=weights[0]))
            return None
        if name in ("cat", "concat", "concatenate", "stack") and isinstance(first, list):
            return joined(first)
        if name in ("checkpoint",) and args and isinstance(args[0], Available):
            return self.call(args[0].value, args[1:], {})
        if name in WAYS and isinstance(first, ArgumentFlow):
            return reshaped(first, name, tuple(plain(each) for each in args[1:]))
        return first if isinstance(first, ArgumentFlow) and name not in ("len", "isinstance", "range") else None


def _is_leaf(module: nn.Module) -> bool:
    """Whether a module is a layer of torch, or of another library with the attributes of one."""
    home = type(module).__module__
    if home.startswith(("torch.nn.modules", "torch.ao.nn", "torch.nn.quant")):
        return not isinstance(module, (nn.ModuleList, nn.ModuleDict))
    return isinstance(module, (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase))
