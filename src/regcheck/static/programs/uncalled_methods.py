"""Expressions that name a model's `eval` or `train`, do not call it, and use it as a condition or not at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from regcheck.core.usage import MethodNotCalled
from regcheck.core.usage import Model as Subject
from regcheck.files.syntax import walk
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    ClassDefinition,
    External,
    Instance,
    Module,
    Unknown,
    UnknownObject,
)
from regcheck.static.project.names import Definition

from .events import EventLog

_ONLY_MODELS = frozenset(
    "parameters named_parameters modules named_modules children named_children requires_grad_ forward"
    " load_state_dict".split()
)
"""Methods that only models have, among the objects with an `eval` or a `train`."""


class UncalledMethods(Part):
    """Adds an event for each such expression."""

    def __init__(self, log: EventLog) -> None:
        self.log = log

    def discarded(self, node: ast.expr) -> None:
        """The program evaluates an expression and discards its value."""
        for each in _parts(node):
            self._check(each, as_condition=False)

    def condition(self, test: ast.expr) -> None:
        """The program decides by the truth of an expression."""
        for each in _truths(test):
            self._check(each, as_condition=True)

    def _check(self, node: ast.expr, as_condition: bool) -> None:
        if not isinstance(node, ast.Attribute) or node.attr not in ("eval", "train"):
            return
        owner, text = self.evaluator.evaluate(node.value), ast.unparse(node.value)
        if isinstance(owner, Module) and owner.is_module and _is_inherited(owner, node.attr):
            model = self.log.subject(owner)
        elif type(owner) in (Unknown, UnknownObject) and self._is_used_as_model(text):
            model = Subject("", text)
        else:
            return
        self.log.add(MethodNotCalled, node, model=model, owner=text, method=node.attr, as_condition=as_condition)

    def _is_used_as_model(self, owner: str) -> bool:
        """Whether the code around uses `owner` as only models are used, or annotates it as a model.

        That is to call it, its `eval()` or a method that only models have, or `owner.module` in place of it.
        """
        frame, owner = self.state.frame, owner.removesuffix(".module")
        for each in walk(self._scope(owner)):
            if isinstance(each, ast.Call):
                callee = each.func
                if isinstance(callee, ast.Attribute):
                    is_eval = callee.attr == "eval" and not each.args and not each.keywords
                    callee = callee.value if is_eval or callee.attr in _ONLY_MODELS else callee
                if ast.unparse(callee).removesuffix(".module") == owner:
                    return True
            elif isinstance(each, ast.arg) and each.arg == owner and each.annotation is not None:
                kind = self.state.project.resolve(frame.source, each.annotation)
                if kind == External("torch.nn.Module") or (isinstance(kind, Definition) and kind.is_module):
                    return True
        return False

    def _scope(self, owner: str) -> ast.AST:
        """The code that may use `owner`: the function, the class of an attribute of `self`, or the file."""
        frame = self.state.frame
        if frame.function is None:
            return frame.source.tree
        of_class = frame.function.owner if owner.startswith("self.") else None
        return frame.function.node if of_class is None else of_class.node


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """An expression, and the expressions whose values are discarded with its own."""
    yield node
    parts: list[ast.expr] = []
    if isinstance(node, (ast.BoolOp, ast.Tuple, ast.List, ast.Set)):
        parts = node.values if isinstance(node, ast.BoolOp) else node.elts
    elif isinstance(node, ast.IfExp):
        parts = [node.body, node.orelse]
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):
        parts = [node.elt]
    elif isinstance(node, ast.UnaryOp):
        parts = [node.operand]
    for each in parts:
        yield from _parts(each)


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
    definition = module.definition
    method = definition.method(name)
    is_decorated = method is not None and not isinstance(method.node, ast.Lambda) and bool(method.node.decorator_list)
    is_assigned = name in module.cells or name in definition.assigning or definition.constant(name) is not None
    return not (is_decorated or is_assigned or _has_unknown_base(definition))


def _has_unknown_base(definition: ClassDefinition) -> bool:
    """Whether a base class of another library may define any attribute."""
    return any(isinstance(each, Definition) and each.is_module_by_use for each in definition.mro)
