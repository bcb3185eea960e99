"""Reads one function statement by statement; names may stand for arguments of `forward`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any, Protocol

import torch
from torch import nn

from regcheck.torch_api.functions import FACTORIES, METADATA

from .argument_flow import ArgumentFlow, Available, ForwardReading, Root, Shape, first_of, joined, plain, reshaped

HOLDERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential, dict, list)
ITERATORS = {each.__name__: each for each in (enumerate, zip, reversed, list, tuple)}
WAYS = frozenset("transpose permute unsqueeze squeeze flatten view reshape".split())
VALUELESS = METADATA | FACTORIES


class Reader(Protocol):
    """What a `Body` asks about calls."""

    reading: ForwardReading

    def step(self) -> None:
        """Counts a step; raises when there are too many."""

    def call(self, function: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """The result of a call of a live object."""

    def torch(self, name: str, args: list[Any], named: Mapping[str, Any]) -> Any:
        """The result of a call of a torch function."""


class Body:
    """One function's body, and the names that it binds."""

    def __init__(self, reader: Reader, function: FunctionType, scope: dict[str, Any]) -> None:
        self._reader, self._scope, self._globals = reader, scope, function.__globals__
        self._reading = reader.reading

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
            if isinstance(test, Available) and isinstance(test.value, bool):
                return self.run(node.body if test.value else node.orelse)
            scope_before = dict(self._scope)
            one = self.run(node.body)
            other = self.run(node.orelse)
            for name, value in scope_before.items():  # a branch that loses a name does not decide for both
                if isinstance(value, ArgumentFlow) and self._scope.get(name) is None and not node.orelse:
                    self._scope[name] = value
            return one if one is not None else other
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            result = None
            for turn in self._turns(node.iter):
                self._bind(node.target, turn)
                done = self.run(node.body)
                result = done if result is None else result
            return result
        elif isinstance(node, (ast.With, ast.While, ast.Try)):
            return self.run(node.body)
        return None

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._scope[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            if isinstance(value, Shape) and not any(isinstance(each, ast.Starred) for each in target.elts):
                for root in value.track.roots if not value.track.way else ():
                    self._reading.ranks.setdefault(root, len(target.elts))
            parts = value if isinstance(value, list) and len(value) == len(target.elts) else [None] * len(target.elts)
            for each, part in zip(target.elts, parts, strict=True):
                self._bind(each, part)

    def _value(self, node: ast.expr | None) -> Any:
        if node is None:
            return None
        self._reader.step()
        if isinstance(node, ast.Constant):
            return Available(node.value)
        if isinstance(node, ast.Name):
            if node.id in self._scope:
                return self._scope[node.id]
            if node.id in self._globals:
                return Available(self._globals[node.id])
            return Available(ITERATORS[node.id]) if node.id in ITERATORS else None
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
                return self._reader.torch("matmul", [left, right], {})
            return joined([left, right]) if not isinstance(left, ArgumentFlow) else left
        if isinstance(node, ast.IfExp):
            self._value(node.test)
            one, other = self._value(node.body), self._value(node.orelse)
            return one if isinstance(one, (ArgumentFlow, list)) else other
        if isinstance(node, ast.UnaryOp):
            value = self._value(node.operand)
            if isinstance(node.op, ast.Not) and isinstance(value, Available) and isinstance(value.value, bool):
                return Available(not value.value)
            if isinstance(node.op, ast.USub) and isinstance(value, Available) and isinstance(value.value, int):
                return Available(-value.value)
            return value if isinstance(value, ArgumentFlow) else None
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            *outer, inner = node.generators
            for each in outer:
                self._bind(each.target, first_of(self._value(each.iter)))
            results = []
            for turn in self._turns(inner.iter):
                self._bind(inner.target, turn)
                results.append(self._value(node.elt))
            return results
        return None

    def _turns(self, node: ast.expr) -> list[Any]:
        """The values of a loop's target that are read: all where layers are zipped with an argument, else the first."""
        value = self._value(node)
        zipped = isinstance(node, ast.Call) and ast.unparse(node.func) == "zip"
        return value if zipped and isinstance(value, list) else [first_of(value)]

    def _attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, ArgumentFlow):
            if name == "shape":
                return Shape(owner)
            if name in VALUELESS:
                return None
            if name in ("T", "mT", "data", "real"):
                return reshaped(owner, "transpose", (-1, -2)) if name in ("T", "mT") else owner
            if not hasattr(torch.Tensor, name) or name in ("x", "batch"):
                return self._part(owner, name, self._reading.attributes)
            return None
        if isinstance(owner, Available):
            try:
                static = inspect.getattr_static(owner.value, name, None)
                if isinstance(static, property) and not isinstance(owner.value, torch.Tensor):
                    return None
                return Available(getattr(owner.value, name))
            except Exception:
                return None
        return None

    def _part(self, owner: ArgumentFlow, name: str, noted: dict[Root, None]) -> ArgumentFlow | None:
        """A part of an argument that is a dict or an object."""
        if len(owner.roots) != 1 or owner.way or len(owner.roots[0]) > 1:
            return None
        root = (*owner.roots[0], name)
        noted.setdefault(root)
        return ArgumentFlow((root,))

    def _item(self, owner: Any, index: ast.expr) -> Any:
        key = self._value(index)
        if isinstance(owner, Shape):
            return None
        if isinstance(owner, ArgumentFlow):
            if isinstance(key, Available) and isinstance(key.value, str):
                return self._part(owner, key.value, self._reading.keys)
            return reshaped(owner, "index", (ast.unparse(index),))
        if isinstance(owner, list):
            at = key.value if isinstance(key, Available) and isinstance(key.value, int) else 0
            return owner[at] if -len(owner) <= at < len(owner) else None
        if isinstance(owner, Available) and isinstance(owner.value, HOLDERS):
            if isinstance(key, Available):
                try:
                    return Available(owner.value[key.value])
                except (KeyError, IndexError, TypeError):
                    return None
            return first_of(owner)
        return None

    def _call(self, node: ast.Call) -> Any:
        args: list[Any] = []
        for each in node.args:
            value = self._value(each.value if isinstance(each, ast.Starred) else each)
            args += value if isinstance(each, ast.Starred) and isinstance(value, list) else [value]
        named = {each.arg: self._value(each.value) for each in node.keywords if each.arg is not None}
        if isinstance(node.func, ast.Attribute):
            owner = self._value(node.func.value)
            if isinstance(owner, ArgumentFlow):
                return self._method(owner, node.func.attr, args)
            if isinstance(owner, Available) and node.func.attr == "get" and len(args) == 0:
                return None
        function = self._value(node.func)
        if isinstance(function, Available):
            if function.value is enumerate and args:
                return [[None, first_of(args[0])]]
            if function.value is zip and args:
                return self._zipped(args)
            if function.value in (reversed, list, tuple) and args:
                return args[0]
            return self._reader.call(function.value, args, named)
        return None

    def _zipped(self, args: Sequence[Any]) -> list[list[Any]]:
        """The items of a `zip`, one for each layer where an argument is zipped with layers; else the first ones."""
        layers = [each.value for each in args if isinstance(each, Available) and isinstance(each.value, nn.ModuleList)]
        if not layers or not any(isinstance(each, ArgumentFlow) for each in args):
            return [[first_of(each) for each in args]]

        def item(value: Any, index: int) -> Any:
            if isinstance(value, ArgumentFlow):
                return self._part(value, str(index), self._reading.items)
            return Available(value.value[index]) if isinstance(value, Available) and value.value in layers else None

        return [[item(each, index) for each in args] for index in range(min(map(len, layers)))]

    def _method(self, owner: ArgumentFlow, name: str, args: list[Any]) -> Any:
        if name in ("size", "shape"):
            return Shape(owner) if not args else None
        if name in VALUELESS:
            return None
        if name == "get" and args and isinstance(args[0], Available) and isinstance(args[0].value, str):
            return self._part(owner, args[0].value, self._reading.keys)
        if name in ("matmul", "mm", "bmm"):
            return self._reader.torch(name, [owner, *args], {})
        if name in WAYS:
            flat = args[0] if len(args) == 1 and isinstance(args[0], list) else args
            return reshaped(owner, name, tuple(plain(each) for each in flat))
        return owner
