"""Evaluates conditions for train and eval mode at once, so that one run of a forward can stand for both."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

from regcheck.core.graph import Mode
from regcheck.files.syntax import children
from regcheck.static.interpreter.evaluator import Condition, Evaluator
from regcheck.static.interpreter.mode_values import ByMode, in_mode
from regcheck.static.interpreter.values import Constant, Unknown, Value

from .emit import Emitter

_PLAIN = (ast.Name, ast.Attribute, ast.Constant, ast.BoolOp, ast.UnaryOp, ast.Compare)


class SideEffect(Exception):
    """Evaluating an expression for the other mode changed the state: each mode must be run on its own."""


class BothModesEvaluator(Evaluator):
    """An evaluator that also evaluates conditions, and choices between constants, as the other mode would."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter

    def decide(self, node: ast.expr) -> Condition:
        tracker = self.emitter.tracker
        before, tracker.observed = tracker.observed, False
        result = super().decide(node)
        if tracker.observed and _is_plain(node):
            tracker.observed = self._in_other_mode(partial(super().decide, node)) != result
        tracker.observed |= before
        return result

    def _ifexp(self, node: ast.IfExp) -> Value:
        """Of a choice that the mode makes between constants, or unknown numbers, the result holds both."""
        tracker, mode = self.emitter.tracker, self.emitter.mode
        before, tracker.observed = tracker.observed, False
        test = self.decide(node.test)
        if test.result is None or not tracker.observed or not all(map(_is_plain, (node.test, node.body, node.orelse))):
            tracker.observed |= before
            return self.choose(node, test)
        tracker.observed = before
        other_test: bool | None = self._in_other_mode(partial(super().decide, node.test)).result
        mine: Value = in_mode(self.evaluate(node.body if test.result else node.orelse), mode)
        other = self._in_other_mode(partial(self.evaluate, node.body if other_test else node.orelse))
        other = in_mode(other, tracker.other)
        are_constant = isinstance(mine, (Constant, Unknown)) and isinstance(other, (Constant, Unknown))
        if other_test is None or not are_constant:
            tracker.observed = True
            return mine
        train, evaluation = (mine, other) if mode is Mode.TRAIN else (other, mine)
        return ByMode(tracker, train, evaluation)

    def _in_other_mode(self, evaluate: Callable[[], Any]) -> Any:
        """The result of an evaluation in the other mode.

        Raises:
            SideEffect: it changed the state.
        """
        before, steps = self._snapshot(), self.state.steps
        with self.emitter.tracker.switched():
            result = evaluate()
        if self._snapshot() != before:
            raise SideEffect
        self.state.steps = steps
        return result

    def _snapshot(self) -> tuple[object, ...]:
        state, emitter = self.state, self.emitter
        lengths = len(state.trail), len(state.created), len(state.doubts)
        return emitter.count, emitter.seeded, state.cuts, *lengths


def _is_plain(node: ast.expr) -> bool:
    """Whether an expression consists of names, attributes, constants and comparisons only."""
    return isinstance(node, _PLAIN) and all(_is_plain(each) for each in children(node) if isinstance(each, ast.expr))
