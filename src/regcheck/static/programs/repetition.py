"""The loops around a model call in source: whether each pass hands in another input."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from regcheck.static.interpreter.state import Frame

_Loop = ast.For | ast.AsyncFor | ast.While | ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COPYING = frozenset(("repeat", "repeat_interleave", "expand", "tile"))
"""Methods that hand one input in several times, as a batch."""


@dataclass(frozen=True)
class Repetition:
    """How loops repeat a call.

    Attributes:
        of_inputs: the innermost loop hands in another input at each pass.
        of_one_input: it hands in the same one.
        again: another loop, of any function around the call, or a copy within a batch, hands each input in again.
        at_once: the innermost loop is a comprehension, in which nothing is trained.
    """

    of_inputs: bool = False
    of_one_input: bool = False
    again: bool = False
    at_once: bool = False


def repetition_of(call: ast.AST, frames: Sequence[Frame]) -> Repetition:
    """How the loops of running functions repeat a call in the innermost one."""
    body = _body_of(frames[-1])
    loops = _loops_around(body, call)
    if not loops:
        return Repetition()
    called_again = any(
        inner.name.rpartition(".")[2] in _called_in_loops(_body_of(outer)) for outer, inner in pairwise(frames)
    )
    again = called_again or len(loops) > 1 or not _COPYING.isdisjoint(_names_called(body))
    hands_in = _hands_in(loops[-1], call)
    return Repetition(hands_in, not hands_in, again, not isinstance(loops[-1], _LOOPS))


def _body_of(frame: Frame) -> ast.AST:
    return frame.function.node if frame.function is not None else frame.source.tree


def _loops_around(body: ast.AST, call: ast.AST) -> tuple[_Loop, ...]:
    """The loops and comprehensions in a function, or in a file, that contain a call; the outermost first."""
    for child in ast.iter_child_nodes(body):
        if child is call:
            return (body,) if isinstance(body, _Loop) else ()
    for child in ast.iter_child_nodes(body):
        if any(each is call for each in ast.walk(child)):
            inner = _loops_around(child, call)
            return (body, *inner) if isinstance(body, _Loop) else inner
    return ()


def _hands_in(loop: _Loop, call: ast.AST) -> bool:
    """Whether the arguments of a call depend on what the loop changes from pass to pass."""
    changing = {each.id for target in _targets(loop) for each in ast.walk(target) if isinstance(each, ast.Name)}
    for _ in range(3):  # chains of assignments, whatever their order
        for each in ast.walk(loop):
            if isinstance(each, (ast.Assign, ast.NamedExpr, ast.AnnAssign)) and each.value is not None:
                targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                if isinstance(loop, ast.While) or not changing.isdisjoint(_names(each.value)):
                    changing |= {name for target in targets for name in _names(target)}
    given = [*call.args, *call.keywords] if isinstance(call, ast.Call) else []
    return any(not changing.isdisjoint(_names(each)) for each in given)


def _targets(loop: _Loop) -> Iterator[ast.expr]:
    if isinstance(loop, (ast.For, ast.AsyncFor)):
        yield loop.target
    elif not isinstance(loop, ast.While):
        yield from (each.target for each in loop.generators)


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _called_in_loops(body: ast.AST) -> frozenset[str]:
    """The names of the functions and methods that loops call."""
    loops = (each for each in ast.walk(body) if isinstance(each, _Loop))
    return frozenset[str]().union(*map(_names_called, loops))


def _names_called(body: ast.AST) -> frozenset[str]:
    callees = (each.func for each in ast.walk(body) if isinstance(each, ast.Call))
    names = (each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in callees)
    return frozenset(names)
