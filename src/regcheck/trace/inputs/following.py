"""Which layer each argument of a forward meets first, and what happens to it on its way, read from the source."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

Root = tuple[str, ...]
"""An argument of forward, or a part of one: `("x",)`, `("batch", "image")`."""

HOLDERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential, dict, list)
WAYS = frozenset("transpose permute unsqueeze squeeze flatten view reshape".split())
METADATA = frozenset("shape device dtype size dim ndim numel is_cuda requires_grad new_zeros new_ones".split())
OUTRIGHT = frozenset("linear matmul mm bmm embedding conv1d conv2d conv3d conv_transpose1d conv_transpose2d".split())
"""Functions that take the weights of a layer as an argument."""


@dataclass(frozen=True)
class Meeting:
    """A layer (or the name of a function and its weights) that an argument meets.

    `argument` is the name the layer has for it; `way` lists the reshapings before; `shared` counts the arguments of
    forward that were joined into one tensor on the way.
    """

    layer: nn.Module | None
    argument: str = "input"
    way: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    shared: int = 1
    function: str = ""
    weight: torch.Tensor | None = None


@dataclass
class Followed:
    """What reading a forward tells: the first meeting of each root, the ranks it unpacks, and the parts it asks for."""

    meetings: dict[Root, Meeting] = field(default_factory=dict)
    ranks: dict[Root, int] = field(default_factory=dict)
    keys: dict[Root, None] = field(default_factory=dict)
    attributes: dict[Root, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Track:
    """A tensor on its way from an argument to a layer."""

    roots: tuple[Root, ...]
    way: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Known:
    """A value that is there before forward runs: a module, a parameter, a number."""

    value: Any


@dataclass(frozen=True)
class Shape:
    """The sizes of a tensor on its way."""

    track: Track


class TooDeep(Exception):
    """The source goes on for longer than a guess is worth."""


def follow(model: nn.Module) -> Followed:
    """Read what the arguments of `model.forward` meet. What the source does not say is left out; nothing is run."""
    found = Followed()
    names = list(_names(type(model).forward))
    with suppress(Exception):  # whatever source there is, a guess must not stop an audit
        _Reader(found, 4000).enter(model, {name: Track(((name,),)) for name in names})
    return found


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
    """Reads functions statement by statement, carrying tracks of the arguments along."""

    def __init__(self, found: Followed, steps: int) -> None:
        self._found, self._steps, self._depth = found, steps, 0

    def enter(self, module: nn.Module, arguments: Mapping[str, Any]) -> Any:
        """Read what `module` does with the arguments; what becomes of the first of them, if it met nothing."""
        name = type(module).__name__
        tracks = {key: each for key, each in arguments.items() if isinstance(each, Track)}
        if not tracks:
            return None
        first = next(iter(tracks.values()))
        if isinstance(module, nn.Sequential):
            value: Any = first
            for child in module:
                if not isinstance(value, Track):
                    break
                value = self.enter(child, {"input": value})
            return value
        if name == "Flatten":
            return _gone(first, "flatten", (getattr(module, "start_dim", 1),))
        if _is_leaf(module) and next(module.parameters(), None) is None:
            return first
        if _is_leaf(module):
            for key, track in tracks.items():
                self._meet(track, Meeting(module, key))
            return None
        before = len(self._found.meetings)
        result = self._read(type(module).forward, [Known(module)], dict(arguments))
        if len(self._found.meetings) > before or next(module.parameters(), None) is not None:
            return result if isinstance(result, Track) else None
        return result if isinstance(result, Track) else first

    def _meet(self, track: Track, meeting: Meeting) -> None:
        for root in track.roots:
            found = replace(meeting, way=track.way, shared=len(track.roots))
            self._found.meetings.setdefault(root, found)

    def _read(self, function: Any, given: Sequence[Any], named: Mapping[str, Any]) -> Any:
        function = inspect.unwrap(getattr(function, "__func__", function))
        node = _parsed(function) if isinstance(function, FunctionType) else None
        if node is None or self._depth > 12:
            return None
        spec = node.args
        positional = [each.arg for each in (*spec.posonlyargs, *spec.args)]
        scope: dict[str, Any] = dict(zip(positional, given, strict=False))
        free = [name for name in positional if name not in scope]
        for name, value in named.items():
            if name in free or name in [each.arg for each in spec.kwonlyargs]:
                scope[name] = value
            elif name == "input" and free:
                scope[free[0]] = value
        if spec.vararg is not None and len(given) > len(positional):
            scope[spec.vararg.arg] = list(given[len(positional) :])
        self._depth += 1
        try:
            return _Body(self, function, scope).run(node.body)
        finally:
            self._depth -= 1

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise TooDeep

    def call(self, function: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """What a call of something known does with the tracks among its arguments."""
        tracks = [each for each in (*args, *named.values()) if isinstance(each, (Track, list))]
        if not tracks:
            return None
        if isinstance(function, nn.Module):
            names = [*_names(type(function).forward)] or ["input"]
            bound = dict(zip(names, args, strict=False)) | dict(named)
            return self.enter(function, bound)
        if isinstance(function, MethodType) and isinstance(function.__self__, nn.Module):
            if function.__name__ == "forward":
                return self.call(function.__self__, args, named)
            return self._read(function, [Known(function.__self__), *args], named)
        name = getattr(function, "__name__", "")
        if str(getattr(function, "__module__", "")).split(".")[0] in ("torch", "builtins") or name in WAYS:
            return self._torch(name, [*args], named)
        if isinstance(function, FunctionType):
            result = self._read(function, args, named)
            return result if isinstance(result, Track) else None
        return None

    def _torch(self, name: str, args: list[Any], named: Mapping[str, Any]) -> Any:
        first = args[0] if args else named.get("input")
        weights = [each.value for each in (*args, *named.values()) if isinstance(each, Known)]
        weights = [each for each in weights if isinstance(each, torch.Tensor)]
        if name in OUTRIGHT and weights:
            track = next((each for each in (first, *args) if isinstance(each, Track)), None)
            if track is not None:
                self._meet(track, Meeting(None, "input", function=name, weight=weights[0]))
            return None
        if name in ("cat", "concat", "concatenate", "stack") and isinstance(first, list):
            return joined(first)
        if name in ("checkpoint",) and args and isinstance(args[0], Known):
            return self.call(args[0].value, args[1:], {})
        if name in WAYS and isinstance(first, Track):
            return _gone(first, name, tuple(_plain(each) for each in args[1:]))
        return first if isinstance(first, Track) and name not in ("len", "isinstance", "range") else None


class _Body:
    """One function's body, and the names it has bound."""

    def __init__(self, reader: _Reader, function: FunctionType, scope: dict[str, Any]) -> None:
        self._reader, self._scope, self._globals = reader, scope, function.__globals__
        self._found = reader._found

    def run(self, body: Sequence[ast.stmt]) -> Any:
        result = None
        for statement in body:
            self._reader.step()
            done = self._statement(statement)
            if done is not None and result is None:
                result = done
        return result

    def _statement(self, node: ast.stmt) -> Any:
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            value = self._value(node.value) if node.value is not None else None
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if not (isinstance(node, ast.AugAssign) and value is None):
                    self._bind(target, value)
        elif isinstance(node, ast.Return):
            return self._value(node.value) if node.value is not None else None
        elif isinstance(node, ast.Expr):
            self._value(node.value)
        elif isinstance(node, ast.If):
            test = self._value(node.test)
            if isinstance(test, Known) and isinstance(test.value, bool):
                return self.run(node.body if test.value else node.orelse)
            kept = dict(self._scope)
            one = self.run(node.body)
            other = self.run(node.orelse)
            for name, value in kept.items():  # what one branch loses, the other may keep
                if isinstance(value, Track) and self._scope.get(name) is None and not node.orelse:
                    self._scope[name] = value
            return one if one is not None else other
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self._bind(node.target, _first(self._value(node.iter)))
            return self.run(node.body)
        elif isinstance(node, (ast.With, ast.While, ast.Try)):
            return self.run(node.body)
        return None

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._scope[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            if isinstance(value, Shape) and not any(isinstance(each, ast.Starred) for each in target.elts):
                for root in value.track.roots if not value.track.way else ():
                    self._found.ranks.setdefault(root, len(target.elts))
            parts = value if isinstance(value, list) and len(value) == len(target.elts) else [None] * len(target.elts)
            for each, part in zip(target.elts, parts, strict=True):
                self._bind(each, part)

    def _value(self, node: ast.expr | None) -> Any:
        if node is None:
            return None
        self._reader.step()
        if isinstance(node, ast.Constant):
            return Known(node.value)
        if isinstance(node, ast.Name):
            if node.id in self._scope:
                return self._scope[node.id]
            return Known(self._globals[node.id]) if node.id in self._globals else None
        if isinstance(node, ast.Attribute):
            return self._attribute(self._value(node.value), node.attr)
        if isinstance(node, ast.Subscript):
            return self._item(self._value(node.value), node.slice)
        if isinstance(node, (ast.Tuple, ast.List)):
            return [self._value(each) for each in node.elts]
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.BinOp):
            left, right = self._value(node.left), self._value(node.right)
            if isinstance(node.op, ast.MatMult):
                return self._reader._torch("matmul", [left, right], {})
            return joined([left, right]) if not isinstance(left, Track) else left
        if isinstance(node, ast.IfExp):
            self._value(node.test)
            one, other = self._value(node.body), self._value(node.orelse)
            return one if isinstance(one, (Track, list)) else other
        if isinstance(node, ast.UnaryOp):
            value = self._value(node.operand)
            if isinstance(node.op, ast.Not) and isinstance(value, Known) and isinstance(value.value, bool):
                return Known(not value.value)
            if isinstance(node.op, ast.USub) and isinstance(value, Known) and isinstance(value.value, int):
                return Known(-value.value)
            return value if isinstance(value, Track) else None
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            for each in node.generators:
                self._bind(each.target, _first(self._value(each.iter)))
            return [self._value(node.elt)]
        return None

    def _attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, Track):
            if name == "shape":
                return Shape(owner)
            if name in METADATA:
                return None
            if name in ("T", "mT", "data", "real"):
                return _gone(owner, "transpose", (-1, -2)) if name in ("T", "mT") else owner
            if not hasattr(torch.Tensor, name) or name in ("x", "batch"):
                return self._part(owner, name, self._found.attributes)
            return None
        if isinstance(owner, Known):
            try:
                static = inspect.getattr_static(owner.value, name, None)
                if isinstance(static, property) and not isinstance(owner.value, torch.Tensor):
                    return None
                return Known(getattr(owner.value, name))
            except Exception:
                return None
        return None

    def _part(self, owner: Track, name: str, noted: dict[Root, None]) -> Track | None:
        """A part that forward asks of an argument that is a dict or an object."""
        if len(owner.roots) != 1 or owner.way or len(owner.roots[0]) > 1:
            return None
        root = (*owner.roots[0], name)
        noted.setdefault(root)
        return Track((root,))

    def _item(self, owner: Any, index: ast.expr) -> Any:
        key = self._value(index)
        if isinstance(owner, Shape):
            return None
        if isinstance(owner, Track):
            if isinstance(key, Known) and isinstance(key.value, str):
                return self._part(owner, key.value, self._found.keys)
            return _gone(owner, "index", (ast.unparse(index),))
        if isinstance(owner, list):
            at = key.value if isinstance(key, Known) and isinstance(key.value, int) else 0
            return owner[at] if -len(owner) <= at < len(owner) else None
        if isinstance(owner, Known) and isinstance(owner.value, HOLDERS):
            if isinstance(key, Known):
                try:
                    return Known(owner.value[key.value])
                except (KeyError, IndexError, TypeError):
                    return None
            return _first(owner)
        return None

    def _call(self, node: ast.Call) -> Any:
        args: list[Any] = []
        for each in node.args:
            value = self._value(each.value if isinstance(each, ast.Starred) else each)
            args += value if isinstance(each, ast.Starred) and isinstance(value, list) else [value]
        named = {each.arg: self._value(each.value) for each in node.keywords if each.arg is not None}
        if isinstance(node.func, ast.Attribute):
            owner = self._value(node.func.value)
            if isinstance(owner, Track):
                return self._method(owner, node.func.attr, args)
            if isinstance(owner, Known) and node.func.attr == "get" and len(args) == 0:
                return None
        function = self._value(node.func)
        if isinstance(function, Known):
            if function.value is enumerate and args:
                return [[None, _first(args[0])]]
            if function.value is zip and args:
                return [[_first(each) for each in args]]
            if function.value in (reversed, list, tuple) and args:
                return args[0]
            return self._reader.call(function.value, args, named)
        return None

    def _method(self, owner: Track, name: str, args: list[Any]) -> Any:
        if name in ("size", "shape"):
            return Shape(owner) if not args else None
        if name in METADATA:
            return None
        if name == "get" and args and isinstance(args[0], Known) and isinstance(args[0].value, str):
            return self._part(owner, args[0].value, self._found.keys)
        if name in ("matmul", "mm", "bmm"):
            return self._reader._torch(name, [owner, *args], {})
        if name in WAYS:
            flat = args[0] if len(args) == 1 and isinstance(args[0], list) else args
            return _gone(owner, name, tuple(_plain(each) for each in flat))
        return owner


def joined(values: Sequence[Any]) -> Track | None:
    """The tensor made of several."""
    tracks = [each for each in values if isinstance(each, Track)]
    roots = tuple(dict.fromkeys(root for each in tracks for root in each.roots))
    return Track(roots, tracks[0].way) if tracks else None


def _gone(track: Track, name: str, arguments: tuple[Any, ...]) -> Track:
    return Track(track.roots, (*track.way, (name, arguments)))


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Known) else None


def _first(value: Any) -> Any:
    """The first thing in something that is walked."""
    if isinstance(value, list):
        return value[0] if value else None
    if isinstance(value, Known) and isinstance(value.value, (nn.ModuleList, nn.Sequential, list, tuple)):
        return Known(value.value[0]) if len(value.value) else None
    if isinstance(value, Known) and isinstance(value.value, nn.ModuleDict):
        return Known(next(iter(value.value.values()), None))
    return value if isinstance(value, Track) else None


def _is_leaf(module: nn.Module) -> bool:
    """Whether a module is a layer of torch's, or one that other libraries made a layer with the same attributes."""
    home = type(module).__module__
    if home.startswith(("torch.nn.modules", "torch.ao.nn", "torch.nn.quant")):
        return not isinstance(module, (nn.ModuleList, nn.ModuleDict))
    return isinstance(module, (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase))
