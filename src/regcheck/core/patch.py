"""Edits that fix a finding, and the interface to the code around it for rules that propose them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, Protocol

from regcheck.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Edit:
    """A text that replaces the source between two positions.

    Lines and columns count from 1, columns in characters; the end is not included. In a notebook they are those of the
    finding's cell.
    """

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


@dataclass(frozen=True)
class Patch:
    """Edits that belong together, with a description. A safe patch changes nothing but the defect."""

    message: str
    safe: bool
    edits: tuple[Edit, ...]

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Patch:
        """Rebuild a patch from its dictionary."""
        return cls(**{**document, "edits": tuple(Edit(**each) for each in document["edits"])})


class Code(Protocol):
    """The code around a finding, as a rule's `fix` sees it.

    `calls` are the calls that begin where the finding stands, the outermost first; `around` what contains them, or else
    the attribute that begins there, the innermost first, down to the file; `tree` the file. `advice` is the finding's
    own, the rule's `Suspicion.fix`.
    """

    advice: str
    tree: ast.Module
    calls: tuple[ast.Call, ...]
    around: tuple[ast.AST, ...]

    def name_of(self, node: ast.expr) -> str:
        """The qualified name that a dotted name resolves to at the top of the file (`torch.optim.Adam`), or empty."""

    def text_of(self, node: ast.AST) -> str:
        """The source of a node."""

    def module_method(self) -> tuple[ast.ClassDef, ast.FunctionDef] | None:
        """The class and the method that directly contain the place; None unless it is certainly a `torch.nn.Module`."""

    def replaced(self, node: ast.AST, text: str) -> Edit:
        """Replace a node by a text."""

    def inserted_before(self, node: ast.AST, text: str) -> Edit:
        """Insert a text right before a node."""

    def inserted_after(self, node: ast.AST, text: str) -> Edit:
        """Insert a text right after a node."""

    def with_argument(self, call: ast.Call, text: str) -> tuple[Edit, ...]:
        """Add an argument to a call, in the call's own layout."""

    def without_argument(self, call: ast.Call, argument: ast.keyword) -> Edit | None:
        """Remove a keyword argument from a call with its comma; None where a comment stands beside it."""

    def line_before(self, statement: ast.stmt, text: str) -> Edit | None:
        """Insert a line before a statement, indented like it; None where the statement does not begin its line."""

    def line_after(self, statement: ast.stmt, text: str) -> Edit | None:
        """Insert a line after a statement, indented like it; None where its lines contain anything else."""


def keyword(call: ast.Call, name: str) -> ast.keyword | None:
    """The keyword argument with this name."""
    return next((each for each in call.keywords if each.arg == name), None)


def argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    """The argument of a plain call, given by name or by position."""
    by_name = keyword(call, name)
    return by_name.value if by_name else call.args[position] if len(call.args) > position else None


def is_plain(call: ast.Call) -> bool:
    """Whether a call has no `*args` and no `**kwargs`."""
    return not any(isinstance(each, ast.Starred) for each in call.args) and all(each.arg for each in call.keywords)


def is_literal(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def mentions(trees: Sequence[ast.AST], name: str) -> list[ast.Name]:
    """Every place where a plain name is used or bound."""
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]


def builder(code: Code, call: ast.Call) -> ast.Call | None:
    """The call that builds the layer which `self.NAME(…)` runs; None unless the class binds that name exactly once."""
    owner = next((each for each in code.around if isinstance(each, ast.ClassDef)), None)
    if owner is None or not isinstance(call.func, ast.Attribute) or code.text_of(call.func.value) != "self":
        return None
    name = call.func.attr
    bound = [
        node
        for node in ast.walk(owner)
        if isinstance(node, ast.Attribute) and node.attr == name and not isinstance(node.ctx, ast.Load)
    ]
    values = [node.value for node in ast.walk(owner) if isinstance(node, ast.Assign) and node.targets == bound]
    return values[0] if len(bound) == 1 and values and isinstance(values[0], ast.Call) else None


def zero_unless(code: Code, number: ast.expr, condition: str) -> Edit:
    """Let a number be zero where a condition does not hold."""
    gate = f" if {condition} else 0.0"
    if isinstance(number, (ast.IfExp, ast.Lambda, ast.NamedExpr, ast.Await)):
        return code.replaced(number, f"({code.text_of(number)}){gate}")
    return code.inserted_after(number, gate)


def renamed(code: Code, used: ast.expr, new: str) -> tuple[Edit, ...]:
    """Name another member of the package, qualified or imported as the used one is; no edits where that is not sure."""
    package, _, old = code.name_of(used).rpartition(".")
    if isinstance(used, ast.Attribute):
        if code.name_of(used.value) != package:
            return ()
        return (code.replaced(used, f"{code.text_of(used.value)}.{new}"),)
    imports = [node for node in code.tree.body if isinstance(node, ast.ImportFrom) and node.module == package]
    aliases = [alias for node in imports for alias in node.names if alias.name == old]
    if not isinstance(used, ast.Name) or len(aliases) != 1 or (aliases[0].asname or old) != used.id:
        return ()
    there = code.name_of(ast.Name(new, ast.Load()))
    use = code.replaced(used, new)
    if there == f"{package}.{new}":
        return (use,)
    if there or mentions([code.tree], new):
        return ()
    if len(mentions([code.tree], used.id)) > 1 or _is_exported(code.tree, used.id):
        return (code.inserted_after(aliases[0], f", {new}"), use)
    if aliases[0].asname:
        return (code.replaced(aliases[0], f"{new} as {used.id}"),)
    return (code.replaced(aliases[0], new), use)


def _is_exported(tree: ast.Module, name: str) -> bool:
    """Whether a file names something in a string, as `__all__` does."""
    return any(isinstance(node, ast.Constant) and node.value == name for node in ast.walk(tree))
