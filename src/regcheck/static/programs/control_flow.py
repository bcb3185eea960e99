"""Statements and calls as programs need them: loops, context managers and decorators change what follows."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from regcheck.core.usage import trains
from regcheck.files.syntax import walk
from regcheck.static.interpreter.calls import Calls
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.evaluator import Condition, Evaluator
from regcheck.static.interpreter.interpreter import Interpreter
from regcheck.static.interpreter.state import OUTER, Frame, Next
from regcheck.static.interpreter.statements import Statements
from regcheck.static.interpreter.values import (
    NONE,
    VARYING,
    Cells,
    Constant,
    Either,
    External,
    Function,
    Instance,
    Module,
    ParameterGroup,
    ParameterOf,
    Partial,
    UnknownObject,
    Value,
    Weight,
    tick,
)
from regcheck.static.project.names import Definition, Project
from regcheck.static.project.outlines import is_plain

from .domain import GRADIENT_MODES, ProgramDomain

_MODE_SETTERS = frozenset(("eval", "train"))


class ProgramStatements(Statements):
    """Runs the statements of a program."""

    @property
    def longest_loop(self) -> int:  # type: ignore[override]  # a loop over the parts of a model runs for each
        return self.program.part_loops.longest

    def _for(self, node: ast.For | ast.AsyncFor) -> Next:
        with self.program.part_loops.looping(node.iter, node.body), self._noting_training(node):
            return super()._for(node)

    def _while(self, node: ast.While) -> Next:
        with self._noting_training(node):
            return super()._while(node)

    @contextmanager
    def _noting_training(self, loop: ast.AST) -> Iterator[None]:
        """Notes whether a loop trains."""
        log = self.program.log
        start = len(log.events)
        log.loops.append(loop)
        log.loops_began.append(tick())
        try:
            yield
        finally:
            log.loops.pop()
            log.loops_began.pop()
        if any(map(trains, log.events[start:])):
            log.training_loops.add(loop)
            if log.trained_since is None:
                log.trained_since = len(log.events)

    def __init__(self, domain: ProgramDomain) -> None:
        self.program = domain
        self._repeating = 0
        """The number of loops around that run an unknown number of times."""

    def assign(self, target: ast.expr, value: Value) -> None:
        log = self.program.log
        if isinstance(target, ast.Name):
            if "loss" in target.id.lower() and log.origins([value]):
                log.consume_in_loss([value])
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            log.consume([value])
        if isinstance(target, ast.Attribute) and target.attr == "requires_grad":
            self._set_requires_grad(target.value, value)
        if isinstance(target, ast.Attribute) and target.attr in ("data", "weight"):
            self.program.constraints.write(self.evaluator.evaluate(target), "copy_", (value,), {}, target)
        if isinstance(target, ast.Attribute) and target.attr == "train":
            owner = self.evaluator.evaluate(target.value)
            if isinstance(owner, Module):
                self.state.set(owner.cells, "train", value)
        super().assign(target, value)

    def set_item(self, owner: Value, key: Value, value: Value, target: ast.Subscript) -> None:
        super().set_item(owner, key, value, target)
        if isinstance(owner, ParameterGroup):
            self.program.optimizers.note_write(owner)

    def _set_requires_grad(self, parameter: ast.expr, value: Value) -> None:
        """`parameter.requires_grad = value` of one parameter."""
        freezing, it = self.program.freezing, self.evaluator.evaluate(parameter)
        if isinstance(it, ParameterOf) and it.owner is not None and it.name:
            freezing.set_parameter(it.owner, it.name, value)
        elif isinstance(it, Weight) and isinstance(parameter, ast.Attribute):
            owner = self.evaluator.evaluate(parameter.value)
            if isinstance(owner, Module):
                freezing.set_parameter(owner, parameter.attr, value)

    def _expr(self, node: ast.Expr) -> None:
        super()._expr(node)
        self.program.uncalled_methods.discarded(node.value)

    def _assign(self, node: ast.Assign) -> None:
        super()._assign(node)
        if any(isinstance(each, ast.Name) and each.id == "_" for each in node.targets):
            self.program.uncalled_methods.discarded(node.value)

    def _assert(self, node: ast.Assert) -> None:
        """Calls that set a mode are run, too."""
        super()._assert(node)
        for each in walk(node.test):
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in _MODE_SETTERS:
                self.evaluator.evaluate(each)
        self.program.uncalled_methods.condition(node.test)

    def passes(self, once: Callable[[], Next]) -> Next:
        """Runs the body twice, so that the start of a pass follows the end of another one."""
        self._repeating += 1
        try:
            end = once()
            if end is Next.GO or end is Next.CONTINUE:
                return once()
            return Next.GO if end is Next.BREAK else end
        finally:
            self._repeating -= 1

    def _augassign(self, node: ast.AugAssign) -> None:
        """A counter in a loop that runs an unknown number of times has any value."""
        super()._augassign(node)
        if self._repeating and isinstance(node.target, (ast.Name, ast.Attribute)):
            counted = self.evaluator.evaluate(node.target)
            if isinstance(counted, Constant) and isinstance(counted.value, (int, float)):
                super().assign(node.target, VARYING)

    def _break(self, node: ast.Break) -> Next:
        self.program.restoration.break_loop()
        return super()._break(node)

    def _try(self, node: ast.Try) -> Next:
        with self.program.restoration.guarded(bool(node.finalbody)):
            return super()._try(node)

    _trystar = _try

    def _with(self, node: ast.With | ast.AsyncWith) -> Next:
        log = self.program.log
        enabled = log.gradients["enabled"]
        with self.program.restoration.guarded(not all(self._is_of_torch(each.context_expr) for each in node.items)):
            exits: list[Callable[[], object]] = []
            for each in node.items:
                value = self._enter(each.context_expr, exits)
                if isinstance(value, External) and value in GRADIENT_MODES:
                    log.set_gradients(GRADIENT_MODES[value])
                if each.optional_vars is not None:
                    self.assign(each.optional_vars, value)
            end = self.run(node.body)
            for leave in reversed(exits):
                leave()
            self.state.set(log.gradients, "enabled", enabled)
        return end

    def _enter(self, node: ast.expr, exits: list[Callable[[], object]]) -> Value:
        """Enters a context manager and returns the value that it gives; adds to `exits` what leaves it."""
        with self.program.restoration.generator_around() as modes:
            value = self.evaluator.evaluate(node)
        exits.append(modes.enter())
        if isinstance(value, Instance) and value.definition.method("__enter__") is not None:
            exits.append(partial(self.calls.method, value, "__exit__", (NONE, NONE, NONE), {}, node))
            return self.calls.method(value, "__enter__", (), {}, node)
        return value

    _asyncwith = _with

    def _is_of_torch(self, manager: ast.expr) -> bool:
        """Whether a context manager is one of torch's, which leaves modes alone."""
        head = manager.func if isinstance(manager, ast.Call) else manager
        value = self.state.project.resolve(self.state.frame.source, head)
        return isinstance(value, External) and value.name.startswith("torch.")


class ProgramEvaluator(Evaluator):
    """Evaluates the expressions of a program."""

    def __init__(self, domain: ProgramDomain) -> None:
        self.program = domain

    def decide(self, node: ast.expr) -> Condition:
        if type(node) is ast.Attribute:
            self.program.uncalled_methods.condition(node)
        return super().decide(node)

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp) -> Value:
        first = node.generators[0]
        with self.program.part_loops.summing(first.iter, [node.elt, *first.ifs]):
            return super()._listcomp(node)

    _generatorexp = _setcomp = _listcomp


class ProgramCalls(Calls):
    """Resolves the calls of a program."""

    def __init__(self, domain: ProgramDomain) -> None:
        self.program = domain

    def call(self, callee: Value, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        if isinstance(callee, UnknownObject):
            if self.program.unknown_models.is_model(callee):
                return self.program.run_module(callee.model, args, kwargs, node)
            if callee.owner is not None and callee.name.isidentifier():
                return self.method(callee.owner, callee.name, args, kwargs, node)
        if isinstance(callee, Either):
            models = self.program.models_of_one_mode(callee)
            if models:
                return self.program.join_tensors([self.call(each, args, kwargs, node) for each in models])
            return self.program.opaque((*callee.options, *args, *kwargs.values()), node)
        return super().call(callee, args, kwargs, node)

    def call_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        log, restoration = self.program.log, self.program.restoration
        bound = () if function.instance is None else (function.instance,)
        decorators = [] if isinstance(function.node, ast.Lambda) else function.node.decorator_list
        if decorators and not function.bare:
            decorated = self._decorated(function, decorators)
            if isinstance(decorated, Function) and decorated.node is function.node:
                function = replace(decorated, instance=function.instance)
            elif isinstance(decorated, (Function, Instance, Partial)):
                return self.call(decorated, (*bound, *args), kwargs, _as_expression(node))
        start, returns = restoration.begin_call(function), False
        try:
            enabled = log.gradients["enabled"]
            for each in decorators:
                self._decorate(function, each, (*bound, *args, *kwargs.values()))
            switched = log.gradients["enabled"] is not enabled
            result = super().call_function(function, args, kwargs, node)
            if switched:
                self.state.set(log.gradients, "enabled", enabled)
            returns = True
        finally:
            restoration.end_call(function, node, start, returns)
        return result

    def _decorated(self, function: Function, decorators: Sequence[ast.expr]) -> Value | None:
        """What the program's own decorators make of a function; None where it has none."""
        own = [each for each in decorators if _is_followed(self._decorator(function, each))]
        decorated: Value = replace(function, instance=None, bare=True)
        for each in reversed(own):
            with self.state.within(Frame(None, function.source, Cells({OUTER: function.outer}))):
                decorated = self.call(self.evaluator.evaluate(each), (decorated,), {}, each)
        return decorated if own else None

    def _decorator(self, function: Function, node: ast.expr) -> Value:
        with self.state.within(Frame(None, function.source, Cells({OUTER: function.outer}))):
            return self.evaluator.evaluate(node.func if isinstance(node, ast.Call) else node)

    def _decorate(self, function: Function, node: ast.expr, values: Args) -> None:
        """A decorator may switch off gradients, or be unknown code that receives the arguments."""
        decorator = self._decorator(function, node)
        name = decorator.name if isinstance(decorator, External) else ""
        if name in ("torch.no_grad", "torch.inference_mode") or name.endswith(".no_grad"):
            self.program.log.set_gradients(False)
        elif not (is_plain(decorator) or (function.bare and _is_followed(decorator))):
            self.program.unsettle(values)


def _is_followed(decorator: Value) -> bool:
    """Whether a decorator is code of the program."""
    return isinstance(decorator, (Function, Partial, Instance, Definition))


def _as_expression(node: ast.AST) -> ast.expr:
    """The call of a function; a property and a hook have none."""
    return node if isinstance(node, ast.expr) else ast.copy_location(ast.Name("", ast.Load()), node)


def program_interpreter(project: Project, domain: ProgramDomain) -> Interpreter:
    """An interpreter of programs."""
    return Interpreter(
        project,
        domain,
        evaluator=ProgramEvaluator(domain),
        calls=ProgramCalls(domain),
        statements=ProgramStatements(domain),
    )
