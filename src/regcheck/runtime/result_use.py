"""Classify calls by how the calling function's source uses their result."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from .call_sites import CallSite

DECISION, VALUE, SHAPE = "decision", "value", "shape"

_DECISION_NAMES = re.compile(
    r"argmax|argsort|topk|cross_entropy|loss$|loss_|_loss|criterion|accura|metric|confusion|(?:^|_)auc"
)
_GRAPH_EXITS = frozenset(("detach", "numpy", "item", "tolist", "cpu"))
_METADATA = frozenset("shape size numel nelement dim ndim ndimension stride dtype device requires_grad".split())
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def classify_use(site: CallSite) -> str:
    """The use of the result: `DECISION`, `VALUE`, `SHAPE` (nothing but the shape is read), or empty where unknown."""
    tree, parents = _tree(site.place.path), _parents(site.place.path)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_at(node, site)] if tree else []
    if site.end is None:
        calls = [each for each in calls if not any(isinstance(node, ast.Call) for node in [*ast.walk(each)][1:])]
    if len(calls) != 1:
        return ""
    uses = {*_uses(calls[0], parents, set())}
    if uses == {SHAPE}:
        return SHAPE
    return DECISION if DECISION in uses else VALUE if VALUE in uses else ""


def _is_at(call: ast.Call, site: CallSite) -> bool:
    """Whether a node is the site's call; without an end (Python 3.10), whether it starts on the site's line."""
    if call.lineno != site.place.line or site.end is None:
        return call.lineno == site.place.line
    end = (call.end_lineno, (call.end_col_offset or 0) + 1)
    return call.col_offset + 1 == site.place.column and end == site.end


@lru_cache(maxsize=8)
def _tree(path: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(path)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@lru_cache(maxsize=8)
def _parents(path: str) -> Mapping[ast.AST, ast.AST]:
    tree = _tree(path)
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)} if tree else {}


def _uses(node: ast.AST, parents: Mapping[ast.AST, ast.AST], names: set[str]) -> Iterator[str]:
    """The uses of an expression's value, also through the names that it is assigned to."""
    while node in parents:
        child, node = node, parents[node]
        if isinstance(node, ast.Attribute):
            if node.attr in _METADATA:
                yield SHAPE
                return
            if _DECISION_NAMES.search(node.attr) or _is_maximum(node, parents):
                yield DECISION
                return
            if node.attr in _GRAPH_EXITS:
                yield VALUE
        elif isinstance(node, ast.Call) and child is not node.func:
            name = _name(node.func)
            if name == "len":
                yield SHAPE
                return
            if _DECISION_NAMES.search(name.lower()):
                yield DECISION
                return
            yield ""
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from _bound(target, node, parents, names)
            if not isinstance(node, ast.NamedExpr):
                return
        elif isinstance(node, (ast.stmt, *_FUNCTIONS)):
            yield ""
            return


def _bound(target: ast.AST, node: ast.AST, parents: Mapping[ast.AST, ast.AST], names: set[str]) -> Iterator[str]:
    """The uses of the names that an assignment binds."""
    for each in ast.walk(target):
        if isinstance(each, (ast.Attribute, ast.Subscript)):
            yield ""
        elif isinstance(each, ast.Name) and each.id not in names:
            names.add(each.id)
            scope = node
            while scope in parents and not isinstance(scope, _FUNCTIONS):
                scope = parents[scope]
            for use in ast.walk(scope):
                if isinstance(use, ast.Name) and use.id == each.id and isinstance(use.ctx, ast.Load):
                    yield from _uses(use, parents, names)


def _is_maximum(node: ast.Attribute, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """Whether this is `.max(dim)`, which returns the index of the maximum as well."""
    call = parents.get(node)
    return node.attr == "max" and isinstance(call, ast.Call) and bool(call.args or call.keywords)


def _name(node: ast.AST) -> str:
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
