"""The code around a finding, and edits that keep its formatting."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from functools import cached_property
from typing import Any, TypeGuard, TypeVar

from regcheck.core.patch import Edit
from regcheck.files.dotted_name import decorator_names
from regcheck.files.syntax import children, walk
from regcheck.files.text import NEWLINE
from regcheck.static.interpreter.values import External
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

Node = TypeVar("Node", bound=ast.expr)

_SKIPPED = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


class File:
    """A parsed file or notebook cell. Positions are those of its syntax tree: columns count bytes of UTF-8."""

    def __init__(self, path: str, text: str, tree: ast.Module | None = None) -> None:
        self.path = path
        self.newline = (NEWLINE.search(text) or [""])[0] or "\n"
        self.lines = [line.encode() for line in NEWLINE.split(text)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.tree = tree or ast.parse(NEWLINE.sub("\n", text))
        self._text = text

    @cached_property
    def project(self) -> Project:
        source = Source(self.path, self._text.encode())
        source.tree = self.tree
        return Project([source])

    @cached_property
    def modules(self) -> set[ast.ClassDef]:
        """The classes that are certainly `nn.Module`s."""
        return {each.node for each in self.project.definitions if each.is_module}

    def tokens(self, node: ast.AST) -> list[tokenize.TokenInfo]:
        """The tokens of an expression, with columns in characters as `tokenize` counts them."""
        (first, start), (last, end) = _start(node), _end(node)
        lines = [*self.lines[first - 1 : last - 1], self.lines[last - 1][:end]]
        text = [each.decode() for each in lines]
        before = len(lines[0][:start].decode())
        text[0] = " " * before + text[0][before:]
        # Inside of brackets, no line of the expression begins a statement.
        tokens = tokenize.generate_tokens(io.StringIO("\n".join(["(", *text, ")"])).readline)
        below = [each._replace(start=_moved(each.start, first), end=_moved(each.end, first)) for each in tokens]
        return [each for each in below if first <= each.start[0] <= last]

    def at(self, line: int, column: int, advice: str = "") -> Spot:
        """The code at a finding's position, with the finding's advice; the column counts characters."""
        return Spot(self, line, len(self.lines[line - 1].decode()[: column - 1].encode()), advice)


class Spot:
    """The code around one finding; see `regcheck.core.patch.Code`."""

    def __init__(self, file: File, line: int, column: int, advice: str) -> None:
        self._file = file
        self.advice = advice
        self.tree = file.tree
        found_at = _chain_at(file.tree, line, column, ast.Call) or _chain_at(file.tree, line, column, ast.Attribute)
        outermost, *around = found_at or (ast.Pass(),)
        self.around = tuple(around)
        calls = (node for node in walk(outermost) if _begins_at(node, line, column, ast.Call))
        self.calls = tuple(sorted(calls, key=lambda node: _end(node), reverse=True))

    def name_of(self, node: ast.expr) -> str:
        value = self._file.project.resolve(self._file.project.sources[0], node)
        return value.name if isinstance(value, External) else ""

    def text_of(self, node: ast.AST) -> str:
        first, last = _start(node), _end(node)
        lines = self._file.lines[first[0] - 1 : last[0]]
        lines = [*lines[:-1], lines[-1][: last[1]]]
        lines[0] = lines[0][first[1] :]
        return self._file.newline.join(each.decode() for each in lines)

    def module_method(self) -> tuple[ast.ClassDef, ast.FunctionDef] | None:
        above = iter(self.around)
        function = next((each for each in above if isinstance(each, _FUNCTIONS)), None)
        owner = next(above, None)
        if not (isinstance(function, ast.FunctionDef) and isinstance(owner, ast.ClassDef)):
            return None
        arguments = [*function.args.posonlyargs, *function.args.args]
        bound = bool(arguments) and arguments[0].arg == "self" and not _is_unbound(function)
        return (owner, function) if bound and owner in self._file.modules else None

    def replaced(self, node: ast.AST, text: str) -> Edit:
        return self._edit(_start(node), _end(node), text)

    def inserted_before(self, node: ast.AST, text: str) -> Edit:
        return self._edit(_start(node), _start(node), text)

    def inserted_after(self, node: ast.AST, text: str) -> Edit:
        return self._edit(_end(node), _end(node), text)

    def with_argument(self, call: ast.Call, text: str) -> tuple[Edit, ...]:
        file = self._file
        close = (_end(call)[0], self._character(*_end(call)) - 1)
        tokens, opening = file.tokens(call), self._opening(call)
        inside = [each for each in tokens if each.end <= close and each.start >= opening]
        last = [each for each in inside if each.type not in _SKIPPED][-1]
        if last.string == "(":
            return (self._at(last.end, text),)
        comma = last.string == ","
        commented = next((each for each in inside if each.type == tokenize.COMMENT and each.start >= last.end), None)
        if last.end[0] == close[0] or (last.end[0] + 1 == close[0] and not comma and not commented):
            return (self._at(last.end, f" {text}," if comma else f", {text}"),)
        # One argument on each line: the new one gets a line of its own, below a comment on the last.
        indent = re.match(r"\s*", file.lines[last.start[0] - 1].decode())
        line = f"{file.newline}{indent[0] if indent else ''}{text},"
        end = (last.end[0], len(file.lines[last.end[0] - 1].decode()))
        return (self._at(end, line),) if comma else (self._at(last.end, ","), self._at(end, line))

    def without_argument(self, call: ast.Call, argument: ast.keyword) -> Edit | None:
        lines = self._file.lines
        (first, start), (last, end) = _start(argument), _end(argument)
        inside = (first, self._character(first, start)), (last, self._character(last, end))
        tokens = self._file.tokens(call)
        before = [each for each in tokens if each.end <= inside[0] and each.type not in _SKIPPED][-1]
        after = next(each for each in tokens if each.start >= inside[1] and each.type not in _SKIPPED)
        following = after.end if after.string == "," else inside[1]
        comments = [each.start for each in tokens if each.type == tokenize.COMMENT and each.start > before.end]
        if before.end[0] < first and any(before.end[0] < line <= last for line, _ in comments):
            return None
        rest = lines[following[0] - 1].decode()[following[1] :].strip()
        if before.end[0] < first and following[0] == last < len(lines) and not rest:
            return Edit(first, 1, last + 1, 1, "")
        if before.string == ",":
            cut = (before.start, inside[1])
        else:
            after = next(each for each in tokens if each.start >= following and each.type not in _SKIPPED)
            cut = (inside[0], after.start)
        if any(cut[0] <= each < cut[1] for each in comments):
            return None
        return Edit(cut[0][0], cut[0][1] + 1, cut[1][0], cut[1][1] + 1, "")

    def line_before(self, statement: ast.stmt, text: str) -> Edit | None:
        decorators = getattr(statement, "decorator_list", [])
        line, column = _start(decorators[0]) if decorators else _start(statement)
        indent = self._file.lines[line - 1][:column].decode()
        if indent.strip() or decorators:
            return None
        return Edit(line, 1, line, 1, f"{indent}{text}{self._file.newline}")

    def line_after(self, statement: ast.stmt, text: str) -> Edit | None:
        line, column = _start(statement)
        indent = self._file.lines[line - 1][:column].decode()
        last = self._file.lines[_end(statement)[0] - 1]
        rest = last[_end(statement)[1] :].decode().strip()
        if indent.strip() or (rest and not rest.startswith("#")):
            return None
        end = (_end(statement)[0], len(last.decode()))
        return self._at(end, f"{self._file.newline}{indent}{text}")

    def _opening(self, call: ast.Call) -> tuple[int, int]:
        """The position of the parenthesis that opens the arguments."""
        line, column = _end(call.func)
        start = (line, self._character(line, column))
        return next(each.start for each in self._file.tokens(call) if each.start >= start and each.string == "(")

    def _character(self, line: int, column: int) -> int:
        """The column in characters, from 0, of a column in bytes."""
        return len(self._file.lines[line - 1][:column].decode())

    def _at(self, position: tuple[int, int], text: str) -> Edit:
        """An insertion at a position whose column counts characters from 0."""
        line, column = position
        return Edit(line, column + 1, line, column + 1, text)

    def _edit(self, start: tuple[int, int], end: tuple[int, int], text: str) -> Edit:
        return Edit(start[0], self._character(*start) + 1, end[0], self._character(*end) + 1, text)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def _chain_at(tree: ast.Module, line: int, column: int, kind: type[ast.expr]) -> list[ast.AST]:
    """The outermost node of a kind that begins at a position, and all nodes around it, from the inside out."""
    todo: list[tuple[ast.AST, Any]] = [(tree, None)]
    while todo:
        link: Any = todo.pop()
        if _begins_at(link[0], line, column, kind):
            chain: list[ast.AST] = []
            while link is not None:
                node, link = link
                chain.append(node)
            return chain
        todo += [(child, link) for child in children(link[0])][::-1]
    return []


def _begins_at(node: ast.AST, line: int, column: int, kind: type[Node]) -> TypeGuard[Node]:
    return isinstance(node, kind) and (node.lineno, node.col_offset) == (line, column)


def _moved(position: tuple[int, int], first: int) -> tuple[int, int]:
    return position[0] + first - 2, position[1]


def _start(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0)


def _end(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "end_lineno", None) or 1, getattr(node, "end_col_offset", None) or 0


def _is_unbound(function: ast.FunctionDef) -> bool:
    return not decorator_names(function).isdisjoint(("staticmethod", "classmethod"))
