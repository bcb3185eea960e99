"""Statements and assertions that name a model's `eval` or `train` and do not call it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from regcheck.core.usage import MethodNotCalled
from regcheck.core.usage import Model as Subject
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import External, Instance, Module, Unknown
from regcheck.static.project.names import Definition

from .events import EventLog

_ONLY_MODELS = frozenset(
    ("parameters", "named_parameters", "modules", "named_modules", "children", "named_children", "requires_grad_")
)
"""Methods that only models have."""


class UncalledMethods(Part):
    """Adds an event for each such expression."""

    def __init__(self, log: EventLog) -> None:
        self.log = log

    def statement(self, node: ast.expr) -> None:
        """The program evaluates an expression and discards its value."""
        self._check(node, asserted=False)

    def assertion(self, test: ast.expr) -> None:
        """The program asserts a condition."""
        for each in _truths(test):
            self._check(each, asserted=True)

    def _check(self, node: ast.expr, asserted: bool) -> None:
        if not isinstance(node, ast.Attribute) or node.attr not in ("eval", "train"):
            return
        owner, text = self.evaluator.evaluate(node.value), ast.unparse(node.value)
        if isinstance(owner, Module) and owner.is_module and _is_inherited(owner, node.attr):
            model = self.log.subject(owner)
        elif type(owner) is Unknown and self._is_used_as_model(text):
            model = Subject("", text)
        else:
            return
        self.log.add(MethodNotCalled, node, model=model, owner=text, method=node.attr, asserted=asserted)

    def _is_used_as_model(self, owner: str) -> bool:
        """Whether the function calls `owner`, or a method of it that only models have, or annotates it as a model."""
        frame = self.state.frame
        for each in ast.walk(frame.function.node if frame.function else frame.source.tree):
            if isinstance(each, ast.Call):
                callee = each.func
                if isinstance(callee, ast.Attribute) and callee.attr in _ONLY_MODELS:
                    callee = callee.value
                if ast.unparse(callee) == owner:
                    return True
            elif isinstance(each, ast.arg) and each.arg == owner and each.annotation is not None:
                kind = self.state.project.resolve(frame.source, each.annotation)
                if kind == External("torch.nn.Module") or (isinstance(kind, Definition) and kind.is_module):
                    return True
        return False


def _truths(node: ast.expr) -> Iterator[ast.expr]:
    """An expression, and those whose truth decides its truth."""
    yield node
    parts = node.values if isinstance(node, ast.BoolOp) else [node.operand] if isinstance(node, ast.UnaryOp) else []
    for each in parts:
        yield from _truths(each)


def _is_inherited(module: Module, name: str) -> bool:
    """Whether a module's attribute is a method, and not a property or a value that the program assigns."""
    if not isinstance(module, Instance):
        return True
    method = module.definition.method(name)
    is_decorated = method is not None and not isinstance(method.node, ast.Lambda) and bool(method.node.decorator_list)
    return not is_decorated and name not in module.cells and module.definition.constant(name) is None
