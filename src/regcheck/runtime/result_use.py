"""Classify calls by how the calling function's source uses their result."""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from types import ModuleType

from torch.nn import functional

from regcheck.core.usage import DECIDING
from regcheck.files.dotted_name import is_self, last_name
from regcheck.files.loaded_modules import file_of
from regcheck.files.notebook import SUFFIX
from regcheck.torch_api.functions import METADATA
from regcheck.torch_api.losses import LOSS_FUNCTIONS, LOSSES

from .call_sites import CallSite

DECISION, VALUE, SHAPE = "decision", "value", "shape"

_GRAPH_EXITS = frozenset(("detach", "data", "numpy", "item", "tolist", "cpu"))
_SCORING = (ast.Sub, ast.Mult, ast.Eq, ast.NotEq)
_THRESHOLDS = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)
_REDUCING = frozenset(("mean", "sum", "median", "norm", "average"))
"""Functions and methods that compute one number from a tensor, if they get nothing else."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def classify_use(site: CallSite) -> str:
    """The use of the result: `DECISION`, `VALUE`, `SHAPE` (nothing but the shape is read), or empty where unknown."""
    call = _call_at(site)
    if call is None:
        return ""
    uses = {*_uses(call, _syntax(site.place.path).parents, set(), False)}
    if uses == {SHAPE}:
        return SHAPE
    return DECISION if DECISION in uses else VALUE if VALUE in uses else ""


@lru_cache(maxsize=1024)
def passes_mode(site: CallSite) -> bool:
    """Whether a site calls `train(mode)` with a mode that the code computes, as `eval()` and `train(False)` do not."""
    call = _call_at(site)
    if call is None or last_name(call.func) != "train":
        return False
    arguments = [*call.args, *(each.value for each in call.keywords)]
    return len(arguments) == 1 and not isinstance(arguments[0], ast.Constant)


def loss_of(module: object) -> str:
    """The name in `torch.nn.functional` of the loss that a module of torch computes; empty for any other module."""
    kind = type(module)
    return LOSSES.get(kind.__name__, "") if kind.__module__ == "torch.nn.modules.loss" else ""


@lru_cache(maxsize=4096)
def functional_losses(site: CallSite) -> tuple[str, ...]:
    """The losses of `torch.nn.functional` that the function at hand calls on the very result of a call."""
    if not any(name in "".join(linecache.getlines(site.place.path)) for name in LOSS_FUNCTIONS):
        return ()
    call, parents = _call_at(site), _syntax(site.place.path).parents
    if call is None:
        return ()
    values: list[ast.expr] = [call, *_only_reads(call, parents)]
    consumers = [parents[value] for value in values]
    return tuple(
        name
        for value, consumer in zip(values, consumers, strict=True)
        if isinstance(consumer, ast.Call) and consumer.args[:1] == [value]
        if (name := _function_of_torch(consumer.func, site.place.path)) in LOSS_FUNCTIONS
    )


def _only_reads(call: ast.Call, parents: Mapping[ast.AST, ast.AST]) -> list[ast.expr]:
    """Where the variable is read that a result is assigned to; nothing where its scope assigns it more than once."""
    parent = parents[call]
    assignment = parents[parent] if isinstance(parent, ast.Tuple) else parent
    if not isinstance(assignment, ast.Assign) or len(assignment.targets) != 1:
        return []
    target, scope = assignment.targets[0], parents[assignment]
    if isinstance(parent, ast.Tuple):
        if not isinstance(target, ast.Tuple) or len(target.elts) != len(parent.elts):
            return []
        target = target.elts[parent.elts.index(call)]
    if not isinstance(target, ast.Name):
        return []
    while scope in parents and not isinstance(scope, _FUNCTIONS):
        scope = parents[scope]
    uses = [each for each in ast.walk(scope) if isinstance(each, ast.Name) and each.id == target.id]
    reads: list[ast.expr] = [each for each in uses if isinstance(each.ctx, ast.Load)]
    return reads if len(reads) + 1 == len(uses) else []


def _function_of_torch(node: ast.expr, path: str) -> str:
    """The name of the function of `torch.nn.functional` that an expression at the top of a file stands for, or ""."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    module = _module_at(path)
    if module is None or not isinstance(node, ast.Name) or (names or [node.id])[0] not in LOSS_FUNCTIONS:
        return ""
    value = vars(module).get(node.id)
    for name in reversed(names):
        value = vars(value).get(name) if isinstance(value, ModuleType) else None
    name = (names or [node.id])[0]
    return name if value is not None and value is getattr(functional, name, None) else ""


def _module_at(path: str) -> ModuleType | None:
    """The imported module whose file that is; a notebook is the program, whose module has no file."""
    if path.endswith(SUFFIX):
        return sys.modules.get("__main__")
    return next((each for each in [*sys.modules.values()] if file_of(each) == path), None)


def _call_at(site: CallSite) -> ast.Call | None:
    """The call of a site, where the source tells which one it is."""
    calls = [each for each in _syntax(site.place.path).calls.get(site.place.line, ()) if _is_at(each, site)]
    if site.end is None:
        calls = [each for each in calls if not any(isinstance(node, ast.Call) for node in [*ast.walk(each)][1:])]
    return calls[0] if len(calls) == 1 else None


def _is_at(call: ast.Call, site: CallSite) -> bool:
    """Whether a node is the site's call; without an end (Python 3.10), whether it starts on the site's line."""
    if call.lineno != site.place.line or site.end is None:
        return call.lineno == site.place.line
    end = (call.end_lineno, (call.end_col_offset or 0) + 1)
    return call.col_offset + 1 == site.place.column and end == site.end


class _Syntax:
    """The syntax tree of a file; its calls and parents are nodes of the same tree."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree

    @cached_property
    def calls(self) -> Mapping[int, list[ast.Call]]:
        """The calls by the line that they begin on."""
        by_line: dict[int, list[ast.Call]] = {}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call):
                by_line.setdefault(node.lineno, []).append(node)
        return by_line

    @cached_property
    def parents(self) -> Mapping[ast.AST, ast.AST]:
        """The node around each node."""
        return {child: node for node in ast.walk(self._tree) for child in ast.iter_child_nodes(node)}


@lru_cache(maxsize=8)
def _syntax(path: str) -> _Syntax:
    try:
        return _Syntax(ast.parse("".join(linecache.getlines(path))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _Syntax(ast.Module([], []))


def _uses(node: ast.AST, parents: Mapping[ast.AST, ast.AST], bound: set[ast.Name], scored: bool) -> Iterator[str]:
    """The uses of an expression's value, also through the names that it is assigned to: `bound`, where it is.

    `scored`: the value is a difference, a product or a comparison with another value, of which one number is a score.
    """
    while node in parents:
        child, node = node, parents[node]
        if isinstance(node, ast.Attribute):
            if node.attr in METADATA:
                yield SHAPE
                return
            if DECIDING.search(node.attr) or _is_maximum(node, parents) or (scored and _reduces(node, parents)):
                yield DECISION
                return
            if node.attr in _GRAPH_EXITS:
                yield VALUE
        elif isinstance(node, ast.Call) and child is not node.func:
            name = last_name(node.func)
            if name == "len":
                yield SHAPE
                return
            is_score = scored and name in _REDUCING and not (node.args[1:] or node.keywords)
            if DECIDING.search(name.lower()) or is_score or (name == "max" and child is not node.args[-1]):
                yield DECISION
                return
            yield ""
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from _bound(target, node, parents, bound, scored)
            if not isinstance(node, ast.NamedExpr):
                return
        elif isinstance(node, (ast.BinOp, ast.Compare)):
            scored = scored or _scores(node, child, {each.id for each in bound})
        elif isinstance(node, (ast.stmt, *_FUNCTIONS)):
            yield ""
            return


def _bound(
    target: ast.AST, node: ast.AST, parents: Mapping[ast.AST, ast.AST], bound: set[ast.Name], scored: bool
) -> Iterator[str]:
    """The uses of the names that an assignment binds."""
    for each in ast.walk(target):
        if isinstance(each, (ast.Attribute, ast.Subscript)):
            yield ""
        elif isinstance(each, ast.Name) and each not in bound:
            bound.add(each)
            scope = node
            while scope in parents and not isinstance(scope, _FUNCTIONS):
                scope = parents[scope]
            mentions = [use for use in ast.walk(scope) if isinstance(use, ast.Name) and use.id == each.id]
            stores = [use for use in mentions if isinstance(use.ctx, ast.Store) and use is not each]
            for use in mentions:
                if isinstance(use.ctx, ast.Load) and not any(_hides(other, each, use, parents) for other in stores):
                    yield from _uses(use, parents, bound, scored)


def _hides(other: ast.Name, store: ast.Name, use: ast.Name, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """Whether another assignment to a name always runs between an assignment and a use of the name.

    The value of an assignment is computed first: `x = f(x)` uses what `x` was before.
    """
    statement: ast.AST = other
    while not isinstance(statement, ast.stmt):
        statement = parents[statement]
    around: ast.AST = use
    block = parents[statement]
    if isinstance(statement, ast.AugAssign) or not _begins_before(other, use):
        return False
    while around in parents and around is not block:
        if around is statement and isinstance(statement, (ast.Assign, ast.AnnAssign)):
            return False
        around = parents[around]
    is_between = _begins_before(store, other) or _begins_before(use, store)
    return around is block and not isinstance(block, ast.If) and is_between


def _begins_before(one: ast.expr, other: ast.expr) -> bool:
    return (one.lineno, one.col_offset) < (other.lineno, other.col_offset)


def _scores(node: ast.BinOp | ast.Compare, child: ast.AST, names: set[str]) -> bool:
    """Whether an operator compares a result with a threshold, or with a variable's value.

    That value comes neither from the result nor from another model.
    """
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], _THRESHOLDS):
        return True
    operator, operands = (node.op, [node.left, node.right]) if isinstance(node, ast.BinOp) else (node.ops[0], [])
    operands = operands or [node.left, *getattr(node, "comparators", ())]
    others = [part for each in operands if each is not child for part in ast.walk(each)]
    variables = {part.id for part in others if isinstance(part, ast.Name)}
    calls = [part.func for part in others if isinstance(part, ast.Call)]
    models = [each for each in calls if isinstance(each, ast.Name) or is_self(getattr(each, "value", each))]
    return isinstance(operator, _SCORING) and bool(variables) and names.isdisjoint(variables) and not models


def _reduces(node: ast.Attribute, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """Whether this is the method in a call that computes one number, as `.mean()`."""
    call = parents.get(node)
    return node.attr in _REDUCING and isinstance(call, ast.Call) and not (call.args or call.keywords)


def _is_maximum(node: ast.Attribute, parents: Mapping[ast.AST, ast.AST]) -> bool:
    """Whether this is `.max(dim)`, which returns the index of the maximum as well."""
    call = parents.get(node)
    return node.attr == "max" and isinstance(call, ast.Call) and bool(call.args or call.keywords)
