"""The loops around a model call in source: whether each pass hands in another input, and of how many samples."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from regcheck.files.dotted_name import last_name
from regcheck.files.syntax import children, walk
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.state import Frame

_Loop = ast.For | ast.AsyncFor | ast.While | ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COPYING = frozenset(("repeat", "repeat_interleave", "expand", "tile"))
"""Methods that hand one input in several times, as a batch."""
_NEW_AXIS = frozenset(("unsqueeze", "unsqueeze_", "expand_dims"))
_SHAPING = frozenset(("view", "reshape"))
_JOINING = frozenset(("cat", "concat", "concatenate", "stack", "vstack", "pad_sequence"))
_GROWING = frozenset(("append", "extend", "insert"))


@dataclass(frozen=True)
class Repetition:
    """How loops repeat a call. A loop over several callees repeats none of them.

    Attributes:
        of_inputs: the innermost loop hands in another input at each pass.
        of_one_input: it hands in the same one.
        loops: the other loops, of any function around the call, that may hand each input in again.
        copies: the code around copies inputs within a batch.
        at_once: the innermost loop is a comprehension, in which nothing is trained.
        single: the input is one sample, as a batch of its own.
    """

    of_inputs: bool = False
    of_one_input: bool = False
    loops: tuple[ast.AST, ...] = ()
    copies: bool = False
    at_once: bool = False
    single: bool = False

    def is_again(self, training: Container[ast.AST]) -> bool:
        """Whether an input may come again before anything is trained; `training` are the loops that train."""
        return self.copies or any(each not in training for each in self.loops)


def repetition_of(call: ast.AST, frames: Sequence[Frame]) -> Repetition:
    """How the loops of running functions repeat a call in the innermost one."""
    body = _body_of(frames[-1])
    inner = [each for each in _loops_around(body, call) if _changing(each, call).isdisjoint(_names_in_callee(call))]
    around: list[ast.AST] = []
    for outer, called in pairwise(frames):
        calling = _loops_that_call(called.name.rpartition(".")[2], _body_of(outer))
        around += [loop for loop, each in calling if inner or not hands_in(loop, each)]
    copies = not _COPYING.isdisjoint(_names_called(body))
    around += [each for each in inner[:-1] if not hands_in(each, call)]
    repetition = Repetition(loops=tuple(around), copies=copies, single=not copies and _is_single(call, body))
    if not inner:
        return repetition
    of_inputs = hands_in(inner[-1], call)
    at_once = not isinstance(inner[-1], _LOOPS)
    return replace(repetition, of_inputs=of_inputs, of_one_input=not of_inputs, at_once=at_once)


def is_of_one_input(call: ast.AST, frame: Frame) -> bool:
    """Whether every loop around a call, in its own function, hands in the same input at each pass."""
    return not any(hands_in(each, call) for each in _loops_around(_body_of(frame), call))


def _is_single(call: ast.AST, body: ast.AST) -> bool:
    """Whether code makes a batch of one sample, from which it computes an argument of a call."""
    assigned: dict[str, list[ast.expr]] = {}
    for each in walk(body):
        if isinstance(each, ast.Assign):
            for target in each.targets:
                if isinstance(target, ast.Name):
                    assigned.setdefault(target.id, []).append(each.value)
    adds_axis, seen = False, set[str]()
    todo = [*call.args] if isinstance(call, ast.Call) else []
    while todo:
        for each in walk(todo.pop()):
            if isinstance(each, ast.Call) and last_name(each.func) in _JOINING:
                return False
            if isinstance(each, ast.Name) and each.id not in seen:
                seen.add(each.id)
                todo += assigned.get(each.id, ())
            adds_axis = adds_axis or _adds_axis(each)
    return adds_axis


def _adds_axis(node: ast.AST) -> bool:
    """Whether an expression puts one axis, of length one, ahead of all others."""
    if isinstance(node, ast.Subscript):
        first = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
        return (isinstance(first, ast.Constant) and first.value is None) or last_name(first) == "newaxis"
    if not isinstance(node, ast.Call):
        return False
    name, positions = last_name(node.func), [each.value for each in node.args if isinstance(each, ast.Constant)]
    axes = [each.value.value for each in node.keywords if isinstance(each.value, ast.Constant)]
    if name in _NEW_AXIS:
        return 0 in (*positions[-1:], *axes)
    return name in _SHAPING and isinstance(node.args[0] if node.args else None, ast.Constant) and positions[0] == 1


def _body_of(frame: Frame) -> ast.AST:
    return frame.function.node if frame.function is not None else frame.source.tree


def _loops_around(body: ast.AST, call: ast.AST) -> tuple[_Loop, ...]:
    """The loops and comprehensions in a function, or in a file, that contain a call; the outermost first."""
    for child in children(body):
        if child is call:
            return (body,) if isinstance(body, _Loop) else ()
    for child in children(body):
        if any(each is call for each in walk(child)):
            inner = _loops_around(child, call)
            return (body, *inner) if isinstance(body, _Loop) else inner
    return ()


def hands_in(loop: _Loop, call: ast.AST) -> bool:
    """Whether the arguments of a call depend on what the loop changes from pass to pass."""
    changing = _changing(loop, call)
    arguments = [*call.args, *call.keywords] if isinstance(call, ast.Call) else []
    return any(not changing.isdisjoint(_names(each)) for each in arguments)


def _changing(loop: _Loop, call: ast.AST) -> set[str]:
    """The names whose values change from pass to pass: by the loop's targets, or by the results of a call in it."""
    changing = {each.id for target in _targets(loop) for each in walk(target) if isinstance(each, ast.Name)}
    changes = [*_changes(loop)]
    for _ in range(3):  # chains of assignments, whatever their order
        for changed, value in changes:
            comes_back = isinstance(loop, ast.While) or any(each is call for each in walk(value))
            if comes_back or not changing.isdisjoint(_names(value)):
                changing |= changed
    return changing


def _changes(loop: _Loop) -> Iterator[tuple[set[str], ast.expr]]:
    """The names that a loop's body assigns to, or whose lists it extends, with what they get."""
    for each in walk(loop):
        if isinstance(each, (ast.For, ast.AsyncFor, ast.comprehension)) and each is not loop:
            yield _names(each.target), each.iter
        elif isinstance(each, ast.Assign):
            yield {name for target in each.targets for name in _names(target)}, each.value
        elif isinstance(each, (ast.NamedExpr, ast.AnnAssign, ast.AugAssign)) and each.value is not None:
            yield _names(each.target), each.value
        elif isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in _GROWING:
            yield from ((_names(each.func.value), value) for value in each.args[-1:])


def _names_in_callee(call: ast.AST) -> set[str]:
    return _names(call.func) if isinstance(call, ast.Call) else set()


def _targets(loop: _Loop) -> Iterator[ast.expr]:
    if isinstance(loop, (ast.For, ast.AsyncFor)):
        yield loop.target
    elif not isinstance(loop, ast.While):
        yield from (each.target for each in loop.generators)


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in walk(node) if isinstance(each, ast.Name)}


def _loops_that_call(name: str, body: ast.AST) -> Iterator[tuple[_Loop, ast.Call]]:
    """The loops that call a function or method of this name, with each of the calls."""
    for loop in (each for each in walk(body) if isinstance(each, _Loop)):
        for each in walk(loop):
            if isinstance(each, ast.Call) and last_name(each.func) == name:
                yield loop, each


def _names_called(body: ast.AST) -> frozenset[str]:
    return frozenset([last_name(each.func) for each in walk(body) if isinstance(each, ast.Call)])
