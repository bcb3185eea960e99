"""Which functions are worth interpreting as programs of their own."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .names import Project
from .values import External, Function, Value

_TELLING = frozenset(("no_grad", "inference_mode", "set_grad_enabled", "backward", "weight_decay"))
_PLAIN_DECORATORS = (
    "torch.",
    "functools.",
    "contextlib.",
    "typing.",
    "pytest.",
    "hydra.",
    "click.",
    "typer.",
    "builtins.",
)


def worthwhile(project: Project) -> Iterator[Function]:
    """The functions that use models or optimizers themselves, or call scanned functions that do.

    A method is worth it only where it builds an optimizer: how its object was treated before cannot be told. What an
    unknown decorator takes (a registry of model factories, say) is worth it only for what it does itself.
    """
    functions = [(each, *_mentioned(each.node)) for each in project.functions()]
    own = {id(each.node) for each, words, _ in functions if words & _TELLING}
    telling = {_simple(each) for each, _, _ in functions if id(each.node) in own}
    while True:
        more = {_simple(each) for each, _, called in functions if called & telling} - telling
        if not more:
            break
        telling |= more
    for each, words, _ in functions:
        calls = _simple(each) in telling and (id(each.node) in own or not _is_taken(project, each))
        if "weight_decay" in words or (each.owner is None and (calls or "Sequential" in words)):
            yield each


def is_plain(decorator: Value) -> bool:
    """Whether a decorator leaves a function's meaning alone."""
    return isinstance(decorator, External) and decorator.name.startswith(_PLAIN_DECORATORS)


def _is_taken(project: Project, function: Function) -> bool:
    decorators = [] if isinstance(function.node, ast.Lambda) else function.node.decorator_list
    heads = [each.func if isinstance(each, ast.Call) else each for each in decorators]
    return not all(is_plain(project.resolve(function.source, each)) for each in heads)


def _simple(function: Function) -> str:
    return function.name.rpartition(".")[2]


def _mentioned(node: ast.AST) -> tuple[set[str], set[str]]:
    """The names a function mentions, and the names of what it calls."""
    words: set[str] = set()
    called: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute):
            words.add(each.attr)
        elif isinstance(each, ast.Name):
            words.add(each.id)
        elif isinstance(each, ast.keyword) and each.arg:
            words.add(each.arg)
        elif isinstance(each, ast.Call):
            callee = each.func
            called.add(callee.attr if isinstance(callee, ast.Attribute) else getattr(callee, "id", ""))
    return words, called
