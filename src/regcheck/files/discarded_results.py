"""Calls whose result no code reads: alone in a statement, or bound to a name that is overwritten or never read."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache

from .syntax import children, walk

Function = ast.FunctionDef | ast.AsyncFunctionDef
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_JUMPS = (ast.Break, ast.Continue)
_READERS_OF_ALL = frozenset(("locals", "vars", "eval", "exec"))


class FunctionBody:
    """The statements of one function, each with the node around it."""

    def __init__(self, function: Function) -> None:
        self._function = function

    @cached_property
    def _parents(self) -> Mapping[ast.AST, ast.AST]:
        return {child: node for node in walk(self._function) for child in children(node)}

    @cached_property
    def _shared(self) -> frozenset[str]:
        """The names that other functions may read: those of outer scopes, and those that inner functions use."""
        names: set[str] = set()
        for node in walk(self._function):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                names.update(node.names)
            elif isinstance(node, _SCOPES) and node is not self._function:
                names.update(each.id for each in walk(node) if isinstance(each, ast.Name))
        return frozenset(names)

    @cached_property
    def _read(self) -> frozenset[str]:
        """The names that the function reads."""
        return frozenset(_names_read_in(self._function))

    def discards(self, call: ast.AST) -> bool:
        """Whether no code of the function reads the result of a call in it, on any path."""
        value, statement = call, self._parents[call]
        while _is_outcome(value, statement):
            value, statement = statement, self._parents[statement]
        if isinstance(statement, ast.Tuple):
            value, statement = statement, self._parents[statement]
        if isinstance(statement, ast.Expr):
            return self._is_own(statement)
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is not value:
            return False
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [_bound(target, value, call) for target in targets]
        return self._is_own(statement) and all(name and self._is_unread(name, statement) for name in names)

    def _is_own(self, node: ast.AST) -> bool:
        """Whether a node is part of the function itself, and not of a function or class inside of it."""
        while not isinstance(node, _SCOPES):
            node = self._parents[node]
        return node is self._function

    def _is_unread(self, name: str, assignment: ast.stmt) -> bool:
        """Whether every path after an assignment ends, or assigns the name again, before anything reads the name."""
        if name in self._shared or not _READERS_OF_ALL.isdisjoint(self._read):
            return False
        return name not in self._read or self._is_dead(name, assignment)

    def _is_dead(self, name: str, statement: ast.AST) -> bool:
        """Whether the name is dead after a statement that is, or contains, its assignment."""
        parent = self._parents[statement]
        for following in _after(statement, parent):
            if _reads(following, name) or any(isinstance(each, _JUMPS) for each in walk(following)):
                return False
            if _ends_path(following, name):
                return True
        if parent is self._function:
            return True
        if isinstance(parent, _LOOPS):
            again = [parent.test] if isinstance(parent, ast.While) else []
            for each in (*again, *parent.body):
                if _reads(each, name):
                    return False
                if each is statement or _ends_path(each, name):
                    break
            later: Sequence[ast.AST] = parent.orelse
        else:
            later = () if isinstance(parent, (ast.If, ast.With)) else (parent,)
        return not any(_reads(each, name) for each in later) and self._is_dead(name, parent)


def _is_outcome(value: ast.AST, parent: ast.AST) -> bool:
    """Whether an expression's value may be that of the conditional expression or `and` around it."""
    if isinstance(parent, ast.IfExp):
        return parent.test is not value
    return isinstance(parent, ast.BoolOp) and parent.values[-1] is value


def _bound(target: ast.expr, value: ast.AST, call: ast.AST) -> str:
    """The name that an assignment of a value binds to a call in it, the value itself or an item; empty for others."""
    if isinstance(value, ast.Tuple):
        starred = isinstance(target, (ast.Tuple, ast.List)) and any(isinstance(e, ast.Starred) for e in target.elts)
        if not isinstance(target, (ast.Tuple, ast.List)) or starred or len(target.elts) != len(value.elts):
            return ""
        return next((_bound(*pair, call) for pair in zip(target.elts, value.elts, strict=True) if pair[1] is call), "")
    return target.id if isinstance(target, ast.Name) else ""


def _after(statement: ast.AST, parent: ast.AST) -> Sequence[ast.stmt]:
    """The statements that follow one in its block."""
    for _, block in ast.iter_fields(parent):
        if isinstance(block, list) and statement in block and isinstance(statement, ast.stmt):
            return block[block.index(statement) + 1 :]
    return ()


def _reads(node: ast.AST, name: str) -> bool:
    """Whether code reads a name."""
    return name in _names_read_in(node)


def _names_read_in(node: ast.AST) -> Iterator[str]:
    """The names that code reads, as augmented assignments do."""
    for each in walk(node):
        if isinstance(each, ast.Name):
            if isinstance(each.ctx, ast.Load):
                yield each.id
        elif isinstance(each, ast.AugAssign) and isinstance(each.target, ast.Name):
            yield each.target.id


def _ends_path(node: ast.AST, name: str) -> bool:
    """Whether a statement that does not read the name leaves the function or assigns the name again."""
    if isinstance(node, ast.Return):
        return True
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return False
    return any(name in _names(target) for target in (node.targets if isinstance(node, ast.Assign) else [node.target]))


def _names(target: ast.expr) -> Iterator[str]:
    """The names that an assignment to a target binds."""
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, (ast.Tuple, ast.List)):
        for each in target.elts:
            yield from _names(each)


def discards_at(text: str, line: int, column: int) -> bool:
    """Whether a function of a file discards the result of a call that begins at a position (from 1) of its text.

    Column 1 stands for any: Python 3.10 does not know columns.
    """
    functions = [each for each in _functions(text) if each.lineno <= line <= (each.end_lineno or 0)]
    if not functions:
        return False
    innermost = functions[-1]
    calls = [each for each in walk(innermost) if isinstance(each, ast.Call) and each.lineno == line]
    body = FunctionBody(innermost)
    return any(body.discards(each) for each in calls if column in (1, each.col_offset + 1))


@lru_cache(maxsize=2)
def _functions(text: str) -> Sequence[Function]:
    """The functions of a file, the outer ones first."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return [node for node in walk(tree) if isinstance(node, Function)]
