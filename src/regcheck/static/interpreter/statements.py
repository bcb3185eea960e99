"""Running statements: what can be told is followed, both sides of what cannot be told are taken and joined."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from .calls import Calls
from .state import Next
from .values import (
    Constant,
    Container,
    Entries,
    Function,
    Instance,
    Items,
    LayerValue,
    Maybe,
    Several,
    TensorRef,
    Unknown,
    Value,
    inner,
)

_RUNNERS = {kind: f"_run_{kind.__name__.lower()}" for kind in ast.stmt.__subclasses__()}


class Interpreter(Calls):
    """The whole interpreter, without a world: what building objects needs."""

    longest = 64
    """A loop over more items than this is treated as one over an unknown number of items."""

    @cached_property
    def _runners(self) -> dict[type[ast.stmt], Callable[[Any], Next]]:
        return {kind: getattr(self, name) for kind, name in _RUNNERS.items() if hasattr(self, name)}

    def run(self, body: Sequence[ast.stmt]) -> Next:
        for statement in body:
            known: Callable[[ast.stmt], Next] | None = self._runners.get(type(statement))
            end = known(statement) if known is not None else Next.GO
            if end is not Next.GO:
                return end
        return Next.GO

    def _run_expr(self, node: ast.Expr) -> Next:
        self.discard(node.value, self.evaluate(node.value))
        return Next.GO

    def discard(self, node: ast.expr, value: Value) -> None:
        """An expression was evaluated for its effects; in-place tensor methods change what they are called on."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if name.endswith("_") and not name.startswith("_") and isinstance(value, TensorRef):
                self.update(node.func.value, value)

    def update(self, target: ast.expr, value: Value) -> None:
        """What an expression stands for was changed in place."""
        if isinstance(target, ast.Subscript):
            self.assign(target, value)
        else:
            self.store(target, value)

    def store(self, target: ast.expr, value: Value) -> None:
        """Give the variable behind an expression a new value, whatever part of it was changed."""
        while isinstance(target, (ast.Subscript, ast.Call)):
            inner = target.value if isinstance(target, ast.Subscript) else target.func
            target = inner.value if isinstance(target, ast.Call) and isinstance(inner, ast.Attribute) else inner
        if isinstance(target, (ast.Name, ast.Attribute)):
            self.assign(target, value)

    def _run_return(self, node: ast.Return) -> Next:
        self.frame.returns.append(self.evaluate(node.value) if node.value else Constant(None))
        return Next.RETURN

    def _run_raise(self, node: ast.Raise) -> Next:
        return Next.RAISE

    def _run_break(self, node: ast.Break) -> Next:
        return Next.BREAK

    def _run_continue(self, node: ast.Continue) -> Next:
        return Next.CONTINUE

    def _run_assign(self, node: ast.Assign) -> Next:
        value = self.evaluate(node.value)
        for target in node.targets:
            self.assign(target, value)
        return Next.GO

    def _run_annassign(self, node: ast.AnnAssign) -> Next:
        if node.value is not None:
            self.assign(node.target, self.evaluate(node.value))
        return Next.GO

    def _run_augassign(self, node: ast.AugAssign) -> Next:
        before = self.evaluate(node.target)
        value = self.evaluate(node.value)
        if isinstance(before, Items) and isinstance(node.op, ast.Add):
            self.set(before.cells, "items", self.bounded((*before.items, *self.iterated(value))))
        else:
            self.update(node.target, self.binary(node.op, before, value, node))
        return Next.GO

    def assign(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.set(self.frame.locals, target.id, value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target.elts, value, target)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, value)
        elif isinstance(target, ast.Attribute):
            self._assign_attribute(target, value)
        elif isinstance(target, ast.Subscript):
            self._assign_item(target, value)

    def _unpack(self, targets: Sequence[ast.expr], value: Value, node: ast.AST) -> None:
        items = value.items if isinstance(value, Items) else ()
        if isinstance(value, Container):
            items = self.iterated(value)
        starred = any(isinstance(each, ast.Starred) for each in targets)
        if len(items) == len(targets) and not starred and not any(isinstance(each, (Several, Maybe)) for each in items):
            for target, each in zip(targets, items, strict=True):
                self.assign(target, each)
            return
        for index, target in enumerate(targets):
            self.assign(target, self.item(value, Unknown(varies=True) if starred else Constant(index), node))

    def _assign_attribute(self, target: ast.Attribute, value: Value) -> None:
        owner = self.evaluate(target.value)
        if target.attr == "training":
            self.set_training(owner, value, target)
        elif isinstance(owner, Instance) or (isinstance(owner, LayerValue) and not isinstance(value, TensorRef)):
            self.set(owner.cells, target.attr, value)

    def _assign_item(self, target: ast.Subscript, value: Value) -> None:
        owner, key = self.evaluate(target.value), self.evaluate(target.slice)
        if isinstance(owner, Entries) and isinstance(key, Constant):
            self.set(owner.cells, str(key.value), value)
        elif isinstance(owner, Container) and isinstance(key, Constant) and not isinstance(key.value, bool):
            self.set(owner.entries, str(key.value), value)
        elif isinstance(owner, Items) and isinstance(key, Constant) and isinstance(key.value, int) and owner.exact:
            items = list(owner.items)
            if -len(items) <= key.value < len(items):
                items[key.value] = value
                self.set(owner.cells, "items", tuple(items))
        elif isinstance(owner, Items):
            self.set(owner.cells, "items", (Several(self.join([value, *map(inner, owner.items)])),))
        elif isinstance(owner, TensorRef) or isinstance(value, TensorRef):
            self.store(target.value, self.written(owner, key, value, target))

    def written(self, owner: Value, key: Value, value: Value, target: ast.Subscript) -> Value:
        """What a tensor is after a value was written to a part of it."""
        return self.opaque((owner, value), target)

    def _run_if(self, node: ast.If) -> Next:
        test, doubt = self.tested(node.test)
        if test is not None:
            return self.run(node.body if test else node.orelse)
        return self.branch([lambda: self.run(node.body), lambda: self.run(node.orelse)], doubt)

    def _run_for(self, node: ast.For | ast.AsyncFor) -> Next:
        value = self.evaluate(node.iter)
        items = self.iterated(value)
        if len(items) > self.longest:
            items = (Several(self.join([inner(each) for each in items])),)
        ended = Next.GO
        for each in items:
            ended = self._pass(node, each)
            if ended not in (Next.GO, Next.CONTINUE):
                break
        if ended in (Next.RETURN, Next.RAISE):
            return ended
        return self.run(node.orelse) if ended is not Next.BREAK else Next.GO

    _run_asyncfor = _run_for

    def _pass(self, node: ast.For | ast.AsyncFor, each: Value) -> Next:
        """One item of a loop: its body once, or where the number of items cannot be told, some times or not at all."""

        def once() -> Next:
            self.assign(node.target, inner(each))
            return self.run(node.body)

        if not isinstance(each, (Several, Maybe)):
            return once()
        return self.repeat(once)

    def repeat(self, once: Callable[[], Next]) -> Next:
        """A loop body that runs an unknown number of times."""
        known = len(self.doubts)
        end = self.branch([once, lambda: Next.GO], doubt=False)
        del self.doubts[known:]
        return end

    def _run_while(self, node: ast.While) -> Next:
        test, _ = self.tested(node.test)
        if test is False:
            return self.run(node.orelse)
        return self.repeat(lambda: self.run(node.body))

    def _run_with(self, node: ast.With | ast.AsyncWith) -> Next:
        for each in node.items:
            value = self.evaluate(each.context_expr)
            if each.optional_vars is not None:
                self.assign(each.optional_vars, value)
        return self.run(node.body)

    _run_asyncwith = _run_with

    def _run_try(self, node: ast.Try) -> Next:
        handlers: list[Callable[[], Next]] = [self._handler(each) for each in node.handlers]
        end = self.branch([lambda: self.run([*node.body, *node.orelse]), *handlers], doubt=False)
        last = self.run(node.finalbody)
        return end if last is Next.GO else last

    _run_trystar = _run_try

    def _handler(self, node: ast.ExceptHandler) -> Callable[[], Next]:
        return lambda: self.run(node.body)

    def _run_match(self, node: ast.Match) -> Next:
        subject = self.evaluate(node.subject)
        doubt = self.doubt(node.subject, subject)
        arms: list[Callable[[], Next]] = [self._arm(each) for each in node.cases]
        return self.branch([*arms, lambda: Next.GO], doubt)

    def _arm(self, node: ast.match_case) -> Callable[[], Next]:
        return lambda: self.run(node.body)

    def _run_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Next:
        name = f"{self.frame.name}.<locals>.{node.name}" if self.frame.function else node.name
        value: Value = Function(node, self.frame.source, name, self.frame.locals)
        if not self.frame.function:
            value = self.project.function(node, self.frame.source)
        self.set(self.frame.locals, node.name, value)
        return Next.GO

    _run_asyncfunctiondef = _run_functiondef

    def _run_classdef(self, node: ast.ClassDef) -> Next:
        inside = self.frame.function is not None
        name = f"{self.frame.name}.<locals>.{node.name}" if inside else node.name
        outer = self.frame.locals if inside else None
        self.set(self.frame.locals, node.name, self.project.definition(node, self.frame.source, name, outer))
        return Next.GO

    def _run_import(self, node: ast.Import | ast.ImportFrom) -> Next:
        for name, value in self.project.imported(self.frame.source, node).items():
            self.set(self.frame.locals, name, value)
        return Next.GO

    _run_importfrom = _run_import

    def _run_delete(self, node: ast.Delete) -> Next:
        for each in node.targets:
            if isinstance(each, ast.Name) and each.id in self.frame.locals:
                self.set(self.frame.locals, each.id, Unknown())
        return Next.GO
