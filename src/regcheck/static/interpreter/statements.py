"""Runs statements: of a decided branch one side, of an undecided one both, concatenate."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from regcheck.files.syntax import walk

from .part import Part
from .state import Choice, Next
from .values import (
    FIXED,
    NONE,
    VARYING,
    Constant,
    Container,
    Entries,
    Function,
    Instance,
    Items,
    LayerValue,
    Namespace,
    ParameterOf,
    Setting,
    Several,
    TensorRef,
    Value,
    by_default,
    element,
    modules_in,
    tick,
    truth,
)

if TYPE_CHECKING:
    from .interpreter import Interpreter

_METHODS = {kind: f"_{kind.__name__.lower()}" for kind in ast.stmt.__subclasses__()}


class Statements(Part):
    """Runs statements in the current frame; the method `_if` runs an `ast.If`, and so on."""

    longest_loop = 64
    """A loop over more items than this is treated as one over an unknown number of items."""

    def connect(self, interpreter: Interpreter) -> None:
        super().connect(interpreter)
        self._by_type: dict[type[ast.stmt], Callable[[Any], Next | None]] = {
            kind: getattr(self, name) for kind, name in _METHODS.items() if hasattr(self, name)
        }

    def run(self, body: Sequence[ast.stmt]) -> Next:
        """Runs statements, and tells where control goes after them. A method returns None for `Next.GO`."""
        for statement in body:
            method = self._by_type.get(type(statement))
            end = method(statement) if method is not None else None
            if end is not None and end is not Next.GO:
                return end
        return Next.GO

    def _expr(self, node: ast.Expr) -> None:
        """Of an in-place tensor method, the tensor that it is called on changes."""
        value, call = self.evaluator.evaluate(node.value), node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            name = call.func.attr
            if name.endswith("_") and not name.startswith("_") and isinstance(value, TensorRef):
                self._update(call.func.value, value)

    def _update(self, target: ast.expr, value: Value) -> None:
        """An operation changes in place the tensor that an expression stands for."""
        if isinstance(target, ast.Subscript):
            self.assign(target, value)
        else:
            self._assign_base(target, value)

    def _assign_base(self, target: ast.expr, value: Value) -> None:
        """Assigns to the variable that an expression selects a part of."""
        while isinstance(target, (ast.Subscript, ast.Call)):
            inner = target.value if isinstance(target, ast.Subscript) else target.func
            target = inner.value if isinstance(target, ast.Call) and isinstance(inner, ast.Attribute) else inner
        if isinstance(target, (ast.Name, ast.Attribute)):
            self.assign(target, value)

    def _return(self, node: ast.Return) -> Next:
        self.state.frame.returns.append(self.evaluator.evaluate(node.value) if node.value else NONE)
        self.domain.leave_function(node)
        return Next.RETURN

    def _assert(self, node: ast.Assert) -> None:
        """Only what a test names is run: other calls are there to be compared."""
        for each in walk(node.test):
            if isinstance(each, ast.NamedExpr):
                self.evaluator.evaluate(each)

    def _raise(self, node: ast.Raise) -> Next:
        return Next.RAISE

    def _break(self, node: ast.Break) -> Next:
        return Next.BREAK

    def _continue(self, node: ast.Continue) -> Next:
        return Next.CONTINUE

    def _assign(self, node: ast.Assign) -> None:
        value = self.evaluator.evaluate(node.value)
        for target in node.targets:
            self.assign(target, value)

    def _annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, self.evaluator.evaluate(node.value))

    def _augassign(self, node: ast.AugAssign) -> None:
        before = self.evaluator.evaluate(node.target)
        value = self.evaluator.evaluate(node.value)
        if isinstance(before, Items) and isinstance(node.op, ast.Add):
            items = self.containers.limited((*before.items, *self.containers.items_of(value)))
            self.state.set(before.cells, "items", items)
        else:
            self._update(node.target, self.evaluator.binary(node.op, before, value, node))

    def assign(self, target: ast.expr, value: Value) -> None:
        """`target = value`."""
        if isinstance(target, ast.Name):
            self.state.set(self.state.frames[-1].locals, target.id, value)
        elif isinstance(target, ast.Attribute):
            owner = self.evaluator.evaluate(target.value)
            if target.attr == "training":
                self.domain.assign_training(owner, value, target)
            elif target.attr == "requires_grad" and isinstance(owner, ParameterOf):
                if owner.owner is not None and not owner.name:
                    self.state.set_requires_grad(owner.owner, truth(value))
            elif isinstance(owner, (Instance, Namespace)) or (
                isinstance(owner, LayerValue) and not isinstance(value, TensorRef)
            ):
                self.state.set(owner.cells, target.attr, value)
            elif isinstance(owner, Container) and any(modules_in(value)):
                self.state.set(owner.entries, target.attr, value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target.elts, value, target)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, value)
        elif isinstance(target, ast.Subscript):
            self._assign_item(target, value)

    def _unpack(self, targets: Sequence[ast.expr], value: Value, node: ast.AST) -> None:
        items = self.containers.items_of(value) if isinstance(value, (Items, Container)) else ()
        is_starred = any(isinstance(each, ast.Starred) for each in targets)
        if len(items) == len(targets) and not is_starred and Items.of(items).exact:
            for target, each in zip(targets, items, strict=True):
                self.assign(target, each)
            return
        for index, target in enumerate(targets):
            self.assign(target, self.containers.item(value, VARYING if is_starred else Constant(index), node))

    def _assign_item(self, target: ast.Subscript, value: Value) -> None:
        self.set_item(self.evaluator.evaluate(target.value), self.evaluator.evaluate(target.slice), value, target)

    def set_item(self, owner: Value, key: Value, value: Value, target: ast.Subscript) -> None:
        """`owner[key] = value`."""
        if isinstance(owner, Entries) and isinstance(key, Constant):
            self.state.set(owner.cells, str(key.value), value)
        elif isinstance(owner, Container) and isinstance(key, Constant) and not isinstance(key.value, bool):
            self.state.set(owner.entries, str(key.value), value)
        elif isinstance(owner, Items) and isinstance(key, Constant) and isinstance(key.value, int) and owner.exact:
            items = list(owner.items)
            if -len(items) <= key.value < len(items):
                items[key.value] = value
                self.state.set(owner.cells, "items", tuple(items))
        elif isinstance(owner, Items):
            self.state.set(owner.cells, "items", (Several(self.containers.any_of((value, *owner.items))),))
        elif isinstance(owner, TensorRef) or isinstance(value, TensorRef):
            self._assign_base(target.value, self.domain.after_write(owner, key, value, target))

    def _if(self, node: ast.If) -> Next:
        test = self.evaluator.decide(node.test)
        if test.result is not None:
            return self.run(node.body if test.result else node.orelse)
        runs = [partial(self.run, node.body), partial(self.run, node.orelse)]
        return self.state.branch(runs, test.doubt, test.choice, test.tensors)

    def _for(self, node: ast.For | ast.AsyncFor) -> Next:
        items = self.containers.items_of(self.evaluator.evaluate(node.iter))
        if len(items) > self.longest_loop:
            items = (Several(self.containers.any_of(items)),)

        def once(item: Value) -> Next:
            self.assign(node.target, item)
            return self.run(node.body)

        end = Next.GO
        for each in items:
            item = element(each)
            end = once(item) if item is each else self.repeat(partial(once, item))
            if end is not Next.GO and end is not Next.CONTINUE:
                break
        if end is Next.RETURN or end is Next.RAISE:
            return end
        return self.run(node.orelse) if end is not Next.BREAK else Next.GO

    _asyncfor = _for

    def repeat(self, once: Callable[[], Next]) -> Next:
        """Runs a loop's body an unknown number of times."""
        self.state.repeats.append((len(self.state.trail), tick()))
        try:
            return self.passes(once)
        finally:
            self.state.repeats.pop()

    def passes(self, once: Callable[[], Next]) -> Next:
        """Runs a loop's body once or not at all."""
        doubts = len(self.state.doubts)
        end = self.state.branch([once, lambda: Next.GO], doubt=False)
        del self.state.doubts[doubts:]
        return end

    def _while(self, node: ast.While) -> Next:
        if self.evaluator.decide(node.test).result is False:
            return self.run(node.orelse)
        return self.repeat(partial(self.run, node.body))

    def _with(self, node: ast.With | ast.AsyncWith) -> Next:
        for each in node.items:
            value = self.evaluator.evaluate(each.context_expr)
            if each.optional_vars is not None:
                self.assign(each.optional_vars, value)
        return self.run(node.body)

    _asyncwith = _with

    def _try(self, node: ast.Try) -> Next:
        bodies = [[*node.body, *node.orelse], *[each.body for each in node.handlers]]
        end = self.state.branch([partial(self.run, each) for each in bodies], doubt=False)
        last = self.run(node.finalbody)
        return end if last is Next.GO else last

    _trystar = _try

    def _match(self, node: ast.Match) -> Next:
        subject = self.evaluator.evaluate(node.subject)
        doubt = self.state.is_doubtful(node.subject, subject)
        runs: list[Callable[[], Next]] = [*[partial(self.run, each.body) for each in node.cases], lambda: Next.GO]
        chosen = self._case_of(by_default(subject), node.cases)
        if chosen is not None and not isinstance(subject, Setting):
            return runs[chosen]()
        default = Choice(chosen, subject) if chosen is not None and isinstance(subject, Setting) else None
        return self.state.branch(runs, doubt, default)

    def _case_of(self, subject: Value, cases: Sequence[ast.match_case]) -> int | None:
        """The index of the case that a constant selects, which is their number if none does; None if unknown."""
        for index, case in enumerate(cases):
            matches = None if case.guard is not None else self._matches(subject, case.pattern)
            if matches is not False:
                return index if matches else None
        return len(cases)

    def _matches(self, subject: Value, pattern: ast.pattern) -> bool | None:
        """Whether a constant matches a pattern without names; None if that is not known."""
        if isinstance(pattern, ast.MatchAs) and pattern.pattern is None and pattern.name is None:
            return True
        if not isinstance(subject, Constant):
            return None
        if isinstance(pattern, ast.MatchOr):
            answers = [self._matches(subject, each) for each in pattern.patterns]
            return True if True in answers else None if None in answers else False
        if isinstance(pattern, ast.MatchSingleton):
            return subject.value is pattern.value
        expected = self.evaluator.evaluate(pattern.value) if isinstance(pattern, ast.MatchValue) else None
        return bool(subject.value == expected.value) if isinstance(expected, Constant) else None

    def _functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        frame = self.state.frame
        if frame.function:
            value = Function(node, frame.source, f"{frame.name}.<locals>.{node.name}", frame.locals)
        else:
            value = self.state.project.function(node, frame.source)
        self.state.set(frame.locals, node.name, value)

    _asyncfunctiondef = _functiondef

    def _classdef(self, node: ast.ClassDef) -> None:
        frame = self.state.frame
        is_inside = frame.function is not None
        name = f"{frame.name}.<locals>.{node.name}" if is_inside else node.name
        outer = frame.locals if is_inside else None
        self.state.set(frame.locals, node.name, self.state.project.definition(node, frame.source, name, outer))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        frame = self.state.frame
        for name, value in self.state.project.imports_of(frame.source, node).items():
            self.state.set(frame.locals, name, value)

    _importfrom = _import

    def _delete(self, node: ast.Delete) -> None:
        names = self.state.frame.locals
        for each in node.targets:
            if isinstance(each, ast.Name) and each.id in names:
                self.state.set(names, each.id, FIXED)
