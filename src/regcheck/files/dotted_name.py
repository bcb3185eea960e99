"""Names in source."""

from __future__ import annotations

import ast

SETTINGS = (
    r"(?:\b|_)(?:arg|argument|cfg|conf|config|configuration|flag|hparam|hp|namespace|opt|option|param|setting)s?\Z"
)
"""A pattern for the end of a name that holds settings, as `args` and `self.config` do."""


def last_name(node: ast.AST) -> str:
    """The last part of a dotted name; empty for any other expression."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_self(node: ast.AST) -> bool:
    """Whether an expression is the name `self`."""
    return isinstance(node, ast.Name) and node.id == "self"


def is_super(node: ast.AST) -> bool:
    """Whether an expression is a call of `super`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def decorator_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The decorators of a function that are single names."""
    return {each.id for each in function.decorator_list if isinstance(each, ast.Name)}
