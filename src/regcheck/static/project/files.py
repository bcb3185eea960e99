"""The files of a scan: content, syntax tree, and the names that they bind at their top level."""

from __future__ import annotations

import ast
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from regcheck.core.finding import NotChecked
from regcheck.files.attribute_reads import FileReads, attribute_reads
from regcheck.files.dotted_name import SETTINGS, last_name
from regcheck.files.mentions import Mentions
from regcheck.files.project_folders import INSTALLATION
from regcheck.files.syntax import walk
from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.keep_probabilities import KeepNames, keep_names_of, may_keep
from regcheck.torch_api.reused_masks import Products, may_draw, products_of

from .discovery import parse

_FILE_SCOPE = (ast.If, ast.Try, ast.With)
_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?import[ \t]+(\([^)]{0,4000}\)|.*)", re.MULTILINE)
_WORD = re.compile(rb"\w+")
_CALLED = re.compile(rb"\b([\w\x80-\xff]+)\s*\(")
_ATTRIBUTE = re.compile(rb"\.[ \t]*(\w+)")
_DEFINED = re.compile(rb"^[ \t]*(?:class|def|async[ \t]+def)[ \t]+(\w+)|^(\w+)[ \t]*[:=,]", re.MULTILINE)
_COMMENT = re.compile(rb"#.*|\\\\\n")
_OWN = re.compile(rb"(?:^|[^\w.])self\Z")
_ATTRIBUTE_SET = re.compile(rb"\.(\w+) *(?:[-+*/%@&|^]|//|\*\*|<<|>>)?=(?!=)")
_SETTINGS = re.compile(SETTINGS.encode(), re.I)

Binding = ast.stmt | ast.expr | None


class Import(NamedTuple):
    """An import statement: `level` counts its leading dots; `names` pairs each name with the one that it binds.

    `module` is None for `import a.b`, and then the names are dotted.
    """

    level: int
    module: str | None
    names: tuple[tuple[str, str], ...]


@dataclass(eq=False)
class Source:
    """One file. Reading `tree` parses it; a file that cannot be parsed has an empty tree."""

    path: str
    content: bytes
    named: bool = False
    """Whether the user named the file itself, not a folder above it."""
    analyzed: bool = True
    """Whether its models and functions are analyzed; of other files only names are looked up."""
    unread: NotChecked | None = None
    """The reason why the file cannot be parsed, once that was tried."""

    @cached_property
    def tree(self) -> ast.Module:
        tree = parse(self.path, self.content)
        if isinstance(tree, NotChecked):
            self.unread = tree
            return ast.Module([], [])
        return tree

    @cached_property
    def digest(self) -> str:
        """A digest of the content."""
        return hashlib.blake2b(self.content, digest_size=20).hexdigest()

    @cached_property
    def file(self) -> Path:
        return Path(os.path.realpath(self.path))

    @cached_property
    def folder(self) -> str:
        return os.path.dirname(self.file)

    @cached_property
    def products(self) -> Products:
        """The products with a random mask that is drawn once."""
        return products_of(self.tree) if may_draw(self.content) else {}

    @cached_property
    def keep_names(self) -> KeepNames:
        """The names of keep probabilities that dropouts take as their rates."""
        return keep_names_of(self.tree) if may_keep(self.content) else {}

    @cached_property
    def mentions(self) -> dict[ast.AST, Mentions]:
        """What pieces of the file's code mention, memoized."""
        return {}

    def assigned_in(self, function: ast.AST) -> frozenset[str]:
        """The names of the attributes that a function of the file assigns, of any object."""
        names = self._assigned.get(function)
        if names is None:
            stored = (n.attr for n in walk(function) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store))
            names = self._assigned[function] = frozenset(stored)
        return names

    @cached_property
    def _assigned(self) -> dict[ast.AST, frozenset[str]]:
        return {}

    @cached_property
    def attribute_reads(self) -> FileReads:
        """What the file's code reads of objects' attributes."""
        return attribute_reads(self.tree)

    @cached_property
    def module(self) -> str:
        """The dotted name, according to the `__init__.py` files around it."""
        parts = [*_package(self.folder), *([] if self.is_package else [self.file.stem])]
        return ".".join(parts)

    @cached_property
    def library(self) -> str:
        """The outermost package around the file, if the folder around that one says how to install it; else empty."""
        package = _package(self.folder)
        if not package:
            return ""
        around = self.folder
        for _ in package:
            around = os.path.dirname(around)
        homes = (around, os.path.dirname(around)) if os.path.basename(around) == "src" else (around,)
        published = any(os.path.exists(os.path.join(home, name)) for home in homes for name in INSTALLATION)
        return package[0] if published else ""

    @cached_property
    def is_package(self) -> bool:
        return os.path.basename(self.path) == "__init__.py"

    @cached_property
    def tail(self) -> str:
        """The last part of the dotted name under which others import the file."""
        return self.file.parent.name if self.is_package else self.file.stem

    @cached_property
    def is_test(self) -> bool:
        name = os.path.basename(self.path)
        return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"

    @cached_property
    def is_torch(self) -> bool:
        """Whether the file is part of torch; its objects are known by name and never looked up in files."""
        return self.module.partition(".")[0] == "torch"

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """The import statements anywhere in the file, read from its text, except imports of torch."""
        statements = []
        for package, text in _IMPORT.findall(self.content):
            module = package.lstrip(b".")
            level = len(package) - len(module)
            if module.partition(b".")[0] == b"torch" and not level:
                continue
            clauses = (
                part.decode(errors="replace").split() for part in _COMMENT.sub(b"", text).strip(b"() \t").split(b",")
            )
            names = tuple((words[0], words[-1]) for words in clauses if words)
            statements.append(Import(level, module.decode(errors="replace") if package else None, names))
        return tuple(statements)

    @cached_property
    def imported_words(self) -> frozenset[str]:
        """Every word of the file's import statements, except imports of torch; the folder's name for `from . import`.

        A package that imports on demand may import whatever it mentions.
        """
        if self.is_package and b"__getattr__" in self.content:
            return self.words
        words: set[bytes] = set()
        folders: set[str] = set()
        for package, names in _IMPORT.findall(self.content):
            if package.partition(b".")[0] != b"torch":
                words.update(_WORD.findall(package), _WORD.findall(names))
            if package and not package.strip(b"."):
                folders.add(self.file.parents[min(len(package), len(self.file.parents)) - 1].name)
        return frozenset(folders.union([each.decode() for each in words]))

    @cached_property
    def attribute_assignments(self) -> Mapping[str, bool]:
        """The attributes that the file assigns on other objects than `self`; True: only on settings."""
        assignments: dict[str, bool] = {}
        for match in _ATTRIBUTE_SET.finditer(self.content):
            start = match.start()
            if not _OWN.search(self.content, max(0, start - 6), start):
                on_settings = _SETTINGS.search(self.content, max(0, start - 16), start) is not None
                name = match[1].decode()
                assignments[name] = assignments.get(name, True) and on_settings
        return assignments

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of the file."""
        return frozenset(each.decode(errors="replace") for each in _WORD.findall(self.content))

    @property
    def called(self) -> frozenset[bytes]:
        """Every word of the file that stands before a parenthesis, in UTF-8."""
        return frozenset(_CALLED.findall(self.content))

    @cached_property
    def attributes(self) -> frozenset[str]:
        """Every word of the file that stands after a dot."""
        return frozenset(each.decode(errors="replace") for each in _ATTRIBUTE.findall(self.content))

    @cached_property
    def own_names(self) -> frozenset[str]:
        """The names that the file defines, read from its text: methods are among them, `__all__` and its like not."""
        names = {(one or other).decode(errors="replace") for one, other in _DEFINED.findall(self.content)}
        return frozenset(each for each in names if not each.startswith("__"))

    @cached_property
    def offered(self) -> frozenset[str]:
        """The names that a package may hand on from this file: its own, and those that it imports from its package."""
        top = self.module.partition(".")[0]
        inside = (each.names for each in self.imports if each.level or (each.module or "").partition(".")[0] == top)
        return self.own_names.union(*({bound for _, bound in names} for names in inside))

    @cached_property
    def calls(self) -> Mapping[str, Sequence[ast.Call]]:
        """The calls anywhere in the file by the last part of the callee's name."""
        by_name: dict[str, list[ast.Call]] = {}
        for node in walk(self.tree):
            if isinstance(node, ast.Call):
                by_name.setdefault(last_name(node.func), []).append(node)
        return by_name

    @cached_property
    def functions(self) -> Sequence[ast.stmt]:
        """The functions at the top of the file, and those of classes there."""
        functions: list[ast.stmt] = []
        for each in file_scope(self.tree.body):
            inside = file_scope(each.body) if isinstance(each, ast.ClassDef) else (each,)
            functions += (one for one in inside if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)))
        return functions

    def text_of(self, node: ast.stmt) -> bytes:
        """The lines of a statement, its decorators included."""
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(each.lineno for each in decorators)])
        return b"".join(self._lines[first - 1 : node.end_lineno])

    @cached_property
    def _lines(self) -> list[bytes]:
        return self.content.splitlines(keepends=True)

    @cached_property
    def bindings(self) -> dict[str, list[Binding]]:
        """The bindings of each top-level name; None for one that is not understood."""
        table: dict[str, list[Binding]] = {}
        for statement in file_scope(self.tree.body):
            for name, binding in bindings_of(statement):
                table.setdefault(name, []).append(binding)
        return table

    @cached_property
    def stars(self) -> list[ast.ImportFrom]:
        return [
            each
            for each in file_scope(self.tree.body)
            if isinstance(each, ast.ImportFrom) and each.names[0].name == "*"
        ]


def _package(folder: str) -> tuple[str, ...]:
    """The dotted name of a folder's package, in parts; empty if it is no package."""
    around, name = os.path.split(folder)
    if not name or not os.path.exists(os.path.join(folder, "__init__.py")):
        return ()
    return (*_package(around), name)


def file_scope(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, including those inside `if`, `try` and `with`."""
    todo = [*body][::-1]
    while todo:  # an `elif` is an `if` inside the one before it: there may be more of them than calls can be nested
        statement = todo.pop()
        yield statement
        if isinstance(statement, _FILE_SCOPE):
            parts = ("body", "handlers", "orelse", "finalbody")
            inside = (each for part in parts for each in getattr(statement, part, ()))
            flat = [stmt for each in inside for stmt in (each.body if isinstance(each, ast.ExceptHandler) else [each])]
            todo += reversed(flat)


def bindings_of(statement: ast.stmt) -> Iterator[tuple[str, Binding]]:
    """The names that a statement binds, each with its binding."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        yield statement.name, statement
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            yield alias.asname or alias.name.split(".")[0], statement
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Name):
                yield target.id, statement.value
            else:
                for node in walk(target):
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        yield node.id, None
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        yield statement.target.id, statement.value
    elif isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id, None
