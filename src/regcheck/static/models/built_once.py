"""Modules that a forward builds at its first call and keeps, in an attribute that it tests or by a decorator."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from regcheck.files.syntax import walk
from regcheck.static.interpreter.calls import Calls
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.values import Function, Instance, Module, Value, descendants
from regcheck.static.project.outlines import has_plain_decorators

if TYPE_CHECKING:
    from .emit import Emitter

_CONDITIONS = (ast.If, ast.IfExp, ast.While)


class ModelCalls(Calls):
    """Calls of a forward; a decorator of the project may return what an earlier call has built."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    def call_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        before = len(self.state.created)
        result = super().call_function(function, args, kwargs, node)
        if len(self.state.created) > before and not has_plain_decorators(self.state.project, function):
            self._emitter.maybe_cached.update(id(each) for each in self.state.created[before:])
        return result


def is_built_once(model: Module, module: Module, registered: Mapping[int, str]) -> bool:
    """Whether a module that the forward built, or one around it, is kept in an attribute that the code tests first."""

    def holds(each: Module) -> bool:
        inner = not isinstance(each, Instance) or id(each) not in registered
        return each is module or (inner and any(holds(child) for _, child in each.children()))

    for _, owner in descendants(model):
        if isinstance(owner, Instance) and id(owner) in registered:
            names = {name for name, child in owner.children() if holds(child)}
            if names:
                methods = (code for each in owner.definition.mro for code in each.methods.values())
                return any(not names.isdisjoint(_tested(code)) for code in methods)
    return False


def _tested(code: ast.AST) -> Iterator[object]:
    """The names of attributes, and the constants, that conditions in some code read."""
    for each in walk(code):
        if isinstance(each, (*_CONDITIONS, ast.BoolOp)):
            for inner in walk(each if isinstance(each, ast.BoolOp) else each.test):
                if isinstance(inner, ast.Attribute):
                    yield inner.attr
                elif isinstance(inner, ast.Constant):
                    yield inner.value
