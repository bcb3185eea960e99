"""What a class of the program's own does in train mode only: drop, draw random numbers, take statistics of the batch.

The code of `forward`, and of the functions that it calls, is searched for draws that `self.training` guards, however
the guard is written: a branch, an early return, a choice, a factor, or an argument of a function that branches on it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cached_property
from weakref import WeakKeyDictionary

from regcheck.files.dotted_name import is_self, last_name
from regcheck.files.syntax import children, walk
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.values import ClassDefinition, Function
from regcheck.static.project.names import Definition, parameters_of
from regcheck.torch_api.arguments import Argument
from regcheck.torch_api.functions import BATCH_NORM_TRAINING, DRAWING, DROPPING, STATISTICS
from regcheck.torch_api.layers import BATCH_NORM, DROPOUT, NOISE

_STREAMS = ("random.", "np.random.", "numpy.random.")
_SAMPLES = frozenset(("sample", "rsample"))
_DEEPEST = 3
"""Calls nested deeper than this are not followed."""


@dataclass(frozen=True)
class TrainOnly:
    """Something that a class does in train mode only.

    `kind` names the layer that does the same. `rate` is the expression of a dropout's rate, None for the default.
    `settings` are the attributes of the object that the code reads.
    """

    kind: str
    rate: ast.expr | None
    settings: frozenset[str]


_TRAIN_ONLY: WeakKeyDictionary[ClassDefinition, tuple[TrainOnly, ...]] = WeakKeyDictionary()


def train_only(definition: ClassDefinition) -> tuple[TrainOnly, ...]:
    """All of it in the `forward` of a class; in any method, where a base class of another library has the `forward`."""
    if definition not in _TRAIN_ONLY:
        _TRAIN_ONLY[definition] = ()  # a class that calls its own forward
        forward = definition.method("forward")
        methods = [each for one in definition.mro for each in one.methods] if forward is None else ["forward"]
        search = _Search(definition)
        for name in dict.fromkeys(methods):
            method = definition.method(name)
            if method is not None:
                search.function(method, frozenset(), False)
        _TRAIN_ONLY[definition] = tuple(search.train_only)
    return _TRAIN_ONLY[definition]


class _Search:
    """Searches functions; `gated` says that the code runs in train mode only."""

    def __init__(self, definition: ClassDefinition) -> None:
        self.definition = definition
        self.train_only: list[TrainOnly] = []
        self._functions: list[tuple[ast.AST, frozenset[str], bool]] = []
        self._within: list[_Scope] = []

    def function(self, function: Function, modes: frozenset[str], gated: bool) -> None:
        """Searches a function whose parameters `modes` hold the mode."""
        key = function.node, modes, gated
        if key in self._functions or len(self._within) > _DEEPEST or isinstance(function.node, ast.Lambda):
            return
        self._functions.append(key)
        self._within.append(_Scope(function, set(modes), {}, _settings(function.node)))
        self._block(function.node.body, gated)
        self._within.pop()

    def _block(self, body: Sequence[ast.stmt], gated: bool) -> None:
        scope = self._within[-1]
        for statement in body:
            if isinstance(statement, ast.If):
                yes, no = scope.mode_if(statement.test)
                if _has_effect(statement.body) or _has_effect(statement.orelse):
                    self._expression(statement.test, gated)
                self._block(statement.body, gated or yes is True)
                self._block(statement.orelse, gated or no is True)
                if {yes, no} == {True, False} and _take_statistics(statement, yes is True):
                    self._add(BATCH_NORM)
                gated = gated or (no is True and _leaves(statement.body)) or (yes is True and _leaves(statement.orelse))
                continue
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            if isinstance(statement, ast.Assign):
                scope.assign(statement)
            if not self._is_for_the_record(statement):
                for each in children(statement):
                    if isinstance(each, ast.expr):
                        self._expression(each, gated)
            for name in ("body", "orelse", "finalbody"):
                self._block(getattr(statement, name, []), gated)

    @cached_property
    def _read(self) -> frozenset[str]:
        """The attributes that the class reads, of whatever object."""
        nodes = (node for each in self.definition.mro for node in walk(each.node))
        return frozenset([each.attr for each in nodes if isinstance(each, ast.Attribute) and _is_read(each)])

    def _is_for_the_record(self, statement: ast.stmt) -> bool:
        """Whether a statement stores a value in an attribute that the class never reads, or discards it."""
        if isinstance(statement, ast.Assign) and all(isinstance(each, ast.Attribute) for each in statement.targets):
            stored = {each.attr for each in statement.targets if isinstance(each, ast.Attribute)}
            return self._read.isdisjoint(stored)
        value = statement.value if isinstance(statement, ast.Expr) else None
        return isinstance(value, ast.Call) and not last_name(value.func).endswith("_") and _is_draw(value)

    def _expression(self, node: ast.expr, gated: bool) -> None:
        scope = self._within[-1]
        if isinstance(node, ast.IfExp):
            yes, no = scope.mode_if(node.test)
            self._expression(node.test, gated)
            self._expression(node.body, gated or yes is True)
            self._expression(node.orelse, gated or no is True)
            in_train, in_eval = (node.body, node.orelse) if yes else (node.orelse, node.body)
            if {yes, no} == {True, False} and _is_statistic(in_train) and not _is_statistic(in_eval):
                self._add(BATCH_NORM)
        elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            for each in node.values:
                self._expression(each, gated)
                gated = gated or scope.mode_if(each)[0] is True
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            self._expression(node.left, gated or scope.is_mode(node.right))
            self._expression(node.right, gated or scope.is_mode(node.left))
        elif isinstance(node, ast.Lambda):
            return
        else:
            if isinstance(node, ast.Call):
                self._call(node, gated)
            for child in children(node):
                inner = child.value if isinstance(child, ast.keyword) else child
                if isinstance(inner, ast.expr):
                    self._expression(inner, gated)

    def _call(self, node: ast.Call, gated: bool) -> None:
        scope, name = self._within[-1], last_name(node.func)
        if name in DROPPING and not (isinstance(node.func, ast.Attribute) and is_self(node.func.value)):
            self._drop(node, gated)
        elif gated and _is_draw(node):
            self._add(NOISE)
        elif name == "batch_norm" and _mentions_mode(scope, _argument(node, BATCH_NORM_TRAINING)):
            self._add(BATCH_NORM)
        callee = self._callee(node.func)
        if callee is not None and not any(isinstance(each, ast.Starred) for each in node.args):
            names = [each.arg for each, _ in parameters_of(callee.node.args)][callee.owner is not None :]
            arguments = [
                *zip(names, node.args, strict=False),
                *((each.arg or "", each.value) for each in node.keywords),
            ]
            self.function(callee, frozenset(each for each, value in arguments if scope.is_mode(value)), gated)

    def _drop(self, node: ast.Call, gated: bool) -> None:
        """A dropout that only drops in train mode, by its switch or by its rate."""
        scope, how = self._within[-1], DROPPING[last_name(node.func)]
        switch = how.switch({each.arg: each.value for each in node.keywords if each.arg})
        rate = _argument(node, how.rate)
        if rate is None and not how.rate.default:
            return
        by_mode = scope.rate_in_train_mode(rate)
        if by_mode is not None:
            self._add(DROPOUT, by_mode)
        elif gated or (switch is not None and scope.is_mode(_argument(node, switch))):
            self._add(DROPOUT, rate)

    def _callee(self, func: ast.expr) -> Function | None:
        """The method of the class, or the function of the project, that a call enters."""
        if isinstance(func, ast.Attribute) and is_self(func.value):
            return self.definition.method(func.attr)
        source = self._within[-1].function.source
        if isinstance(self.definition, Definition) and isinstance(func, (ast.Name, ast.Attribute)):
            value = self.definition.project.resolve(source, func, self._within[-1].function.outer)
            return value if isinstance(value, Function) else None
        return None

    def _add(self, kind: str, rate: ast.expr | None = None) -> None:
        """What is found counts with the settings of all functions around it."""
        settings = frozenset[str]().union(*[each.settings for each in self._within])
        self.train_only.append(TrainOnly(kind, rate, settings))


@dataclass
class _Scope:
    """A function, its names that hold the mode, and those that hold a rate which is zero in eval mode."""

    function: Function
    modes: set[str]
    rates: dict[str, ast.expr]
    settings: frozenset[str]

    def assign(self, node: ast.Assign) -> None:
        names = [each.id for each in node.targets if isinstance(each, ast.Name)]
        if self.is_mode(node.value):
            self.modes.update(names)
        rate = self.rate_in_train_mode(node.value)
        if rate is not None:
            self.rates.update(dict.fromkeys(names, rate))

    def is_mode(self, node: ast.expr | None) -> bool:
        """Whether an expression is the mode: true in train mode, false in eval mode."""
        if isinstance(node, ast.Call) and last_name(node.func) in ("bool", "int", "float") and len(node.args) == 1:
            return self.is_mode(node.args[0])
        if isinstance(node, ast.Attribute):
            return node.attr == "training"
        return isinstance(node, ast.Name) and node.id in self.modes

    def mode_if(self, test: ast.expr) -> tuple[bool | None, bool | None]:
        """The mode if a test holds, and the mode if it does not: True for train mode, None for either."""
        if self.is_mode(test):
            return True, False
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            yes, no = self.mode_if(test.operand)
            return no, yes
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], (ast.Is, ast.Eq)):
            right = test.comparators[0]
            if self.is_mode(test.left) and isinstance(right, ast.Constant):
                return (True, False) if right.value else (False, True)
        if isinstance(test, ast.BoolOp):
            inside = [self.mode_if(each) for each in test.values]
            is_and = isinstance(test.op, ast.And)
            decided = next((each[not is_and] for each in inside if each[not is_and] is not None), None)
            return (decided, None) if is_and else (None, decided)
        return None, None

    def rate_in_train_mode(self, node: ast.expr | None) -> ast.expr | None:
        """The rate in train mode of an expression that is zero in eval mode; None for any other expression."""
        if isinstance(node, ast.Name):
            return self.rates.get(node.id)
        if isinstance(node, ast.IfExp):
            yes, no = self.mode_if(node.test)
            on, off = (node.body, node.orelse) if yes is True else (node.orelse, node.body)
            is_off = isinstance(off, ast.Constant) and off.value in (0, None)
            return on if True in (yes, no) and is_off else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            if self.is_mode(node.right):
                return node.left
            return node.right if self.is_mode(node.left) else None
        return None


def _settings(function: ast.AST) -> frozenset[str]:
    """The attributes of the object that a function reads and does not write."""
    own = [each for each in walk(function) if isinstance(each, ast.Attribute) and is_self(each.value)]
    return frozenset({each.attr for each in own} - {each.attr for each in own if not _is_read(each)})


def _argument(call: ast.Call, argument: Argument) -> ast.expr | None:
    named = next((each.value for each in call.keywords if each.arg == argument.name), None)
    if named is not None or len(call.args) <= argument.position:
        return named
    return call.args[argument.position]


def _mentions_mode(scope: _Scope, node: ast.expr | None) -> bool:
    return node is not None and any(isinstance(n, ast.expr) and scope.is_mode(n) for n in walk(node))


def _is_draw(call: ast.Call) -> bool:
    name = last_name(call.func)
    return name in DRAWING or name in _SAMPLES or ast.unparse(call.func).startswith(_STREAMS)


def _is_statistic(node: ast.expr) -> bool:
    return any(isinstance(each, ast.Call) and last_name(each.func) in STATISTICS for each in walk(node))


def _take_statistics(node: ast.If, in_body: bool) -> bool:
    """Whether the branch of train mode computes a statistic for a name that the other one reads from the object."""
    branches = [
        {target.id: each.value for each in body if isinstance(each, ast.Assign) for target in _names(each)}
        for body in (node.body, node.orelse)
    ]
    train, evaluation = branches if in_body else branches[::-1]
    return any(_is_statistic(train[each]) and _reads_self(evaluation[each]) for each in train.keys() & evaluation)


def _names(node: ast.Assign) -> Iterator[ast.Name]:
    for target in node.targets:
        yield from (each for each in walk(target) if isinstance(each, ast.Name))


def _reads_self(node: ast.expr) -> bool:
    return any(isinstance(each, ast.Attribute) and is_self(each.value) for each in walk(node))


def _has_effect(body: Sequence[ast.stmt]) -> bool:
    """Whether statements change what the function returns: they return, or assign to a local name."""
    nodes = (node for each in body for node in walk(each))
    return any(isinstance(n, ast.Return) or (isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)) for n in nodes)


def _leaves(body: Sequence[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], (ast.Return, ast.Raise))


def _is_read(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Load)
