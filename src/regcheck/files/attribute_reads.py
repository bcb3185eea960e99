"""Which code may read an attribute of the objects of a class: its own methods, related classes, or anybody."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property, lru_cache

from regcheck.lazy_dataclass import dataclass

from .dotted_name import SETTINGS, is_super, last_name
from .syntax import children, walk

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_NOTED = (
    *(ast.Attribute, ast.Call, *_COMPREHENSIONS),
    *(ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Delete, ast.For, ast.AsyncFor),
)
"""The nodes that read or assign attributes."""
_LISTINGS = frozenset("children named_children modules named_modules".split())
_OF_CHILDREN = frozenset(("children", "named_children"))
_REGISTERING = frozenset("add_module register_module".split())
_GROWING = frozenset("append extend insert update".split())
_SAME_MODEL = frozenset("to cuda cpu half float double train eval requires_grad_".split())
_LIBRARIES = frozenset("torchvision torchaudio timm transformers".split())
"""Libraries whose functions and classes build models without any class of a project."""

_TABLES = frozenset("_modules __dict__".split())
_BY_NAME = frozenset("getattr hasattr delattr attrgetter get_submodule rgetattr".split())
_OF_ALL = frozenset("vars dir".split())
_RESTORING = frozenset(
    "__getattr__ __getattribute__ __getstate__ __setstate__ __reduce__ __reduce_ex__ _load_from_state_dict".split()
)
"""Methods that may read attributes by name, or exist for the sake of objects that another version has stored."""

FRAMEWORK_BASES = (
    *(".nn.Module", "nn.modules.module.Module", ".LightningModule", "PreTrainedModel", "ModelMixin", "ConfigMixin"),
    *("HubMixin", "builtins.object", "abc.ABC", "typing.Generic", "typing.Protocol"),
)
"""Ends of the names of library classes that read no layer which a class derived from them registers."""

_LOOKING = re.compile(r"isinstance|issubclass|hasattr|type|print|len|id|str|repr|\w*(?:init|reset|freez|hook)\w*", re.I)
"""Functions that may be handed a module without running it."""

_NAMES_SETTINGS = re.compile(SETTINGS, re.I)


@dataclass
class ClassReads:
    """What one class statement, in the lines from `line` to `end`, says about attributes of `self`.

    `built` holds the calls that an attribute may be assigned from, in order; empty where anything else is assigned to
    it. With `reads_any`, its methods may read any attribute.
    """

    name: str
    line: int
    end: int
    bases: tuple[str, ...] = ()
    reads: set[str] = field(default_factory=set)
    built: dict[str, list[ast.Call]] = field(default_factory=dict)
    reads_any: bool = False

    def assign(self, name: str, calls: Sequence[ast.Call]) -> None:
        earlier = self.built.get(name)
        self.built[name] = [*calls] if earlier is None else [*earlier, *calls] if earlier and calls else []


@dataclass
class FileReads:
    """What the classes of a file read of themselves, and what any code in it reads of other objects.

    With `reads_any`, it may read any attribute of any object. `listed` names the classes of models whose children it
    lists.
    """

    classes: list[ClassReads] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    reads_any: bool = False


class AttributeReaders:
    """Answers whether any code of some files may read an attribute of a class."""

    def __init__(self, files: Iterable[FileReads]) -> None:
        files = [*files]
        self._reads_any = any(each.reads_any for each in files)
        self._elsewhere = frozenset[str]().union(*(each.elsewhere for each in files))
        self._classes: dict[str, list[ClassReads]] = {}
        self._reading: dict[str, list[ClassReads]] = {}
        self._reading_any: list[ClassReads] = []
        self._listed = {name for each in files for name in each.listed}
        for each in (each for file in files for each in file.classes):
            self._classes.setdefault(each.name, []).append(each)
            self._reading_any += [each] * each.reads_any
            for name in each.reads:
                self._reading.setdefault(name, []).append(each)

    def may_read(self, owner: ClassReads, name: str) -> bool:
        """Whether any code may read the attribute `name` that the constructor of `owner` assigns.

        Methods of a class that is not related to the owner read their own attribute, if that class or one that it
        derives from assigns one of this name.
        """
        if self._reads_any or name in self._elsewhere:
            return True
        if any(self._is_related(each, owner) for each in self._reading_any) or self._is_listed(owner):
            return True
        return any(
            self._is_related(each, owner) or not self._assigns(each, name) for each in self._reading.get(name, ())
        )

    def _is_related(self, one: ClassReads, other: ClassReads) -> bool:
        return one is other or one.name in self._above(other) or other.name in self._above(one)

    def _is_listed(self, owner: ClassReads) -> bool:
        """Whether any code lists the children of an object of the class, or of one that derives from it."""
        derived = (each for name in self._listed for each in self._classes.get(name, ()))
        return any(each.name == owner.name or owner.name in self._above(each) for each in derived)

    def _assigns(self, owner: ClassReads, name: str) -> bool:
        above = (each for base in self._above(owner) for each in self._classes.get(base, ()))
        return any(name in each.built for each in (owner, *above))

    def _above(self, owner: ClassReads) -> Collection[str]:
        """The names of the classes that a class derives from."""
        above, todo = set[str](), [*owner.bases]
        while todo:
            name = todo.pop()
            if name not in above:
                above.add(name)
                todo += [base for each in self._classes.get(name, ()) for base in each.bases]
        return above


def attribute_reads(tree: ast.Module) -> FileReads:
    """What the code of a file reads of objects' attributes.

    Reads of settings (`args.dropout`), of imported modules and of what libraries hold (`F.dropout`) are left out.
    """
    reader = _AttributeReader(tree)
    reader.read(tree, None, "")
    reader.end()
    return reader.file_reads


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """The names that a statement imports, with the package that each comes from; empty for a relative import."""
    module = "" if isinstance(node, ast.Import) or node.level else node.module or ""
    for each in node.names:
        package = each.name if isinstance(node, ast.Import) else module
        yield (each.asname or each.name).partition(".")[0], package.partition(".")[0]


def _imported_modules(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The names of modules that a statement imports: `import a`, `from . import a`."""
    if isinstance(node, ast.Import) or node.module is None:
        yield from (name for name, _ in _imported(node))


class _AttributeReader:
    """Collects the reads of one file."""

    def __init__(self, tree: ast.Module) -> None:
        self.file_reads = FileReads()
        self._tree = tree
        imports = [each for each in walk(tree) if isinstance(each, (ast.Import, ast.ImportFrom))]
        self._imported = {name: package for each in imports for name, package in _imported(each)}
        self._modules = {name for each in imports for name in _imported_modules(each)}
        self._harmless: set[ast.AST] = set()
        """Listings of modules in loops that run none of them, and containers that code adds layers to."""
        self._listed_attributes: list[tuple[ClassReads, str, bool]] = []
        """Attributes of objects whose modules are listed: the class, the name, and whether only children are."""
        self._bound: set[ast.Name] = set()
        """The targets of assignments to one name."""

    def end(self) -> None:
        """Resolves what the constructors of the file decide, after all of it is read."""
        for owner, name, of_children in self._listed_attributes:
            calls = owner.built.get(name, ())
            self._listing([self._classes_of(each) for each in calls] or [None], of_children)

    def read(self, node: ast.AST, owner: ClassReads | None, own: str) -> None:
        """Reads code, in a method of `owner` the first parameter of which has the name `own`; else both are empty."""
        for child in children(node):
            if isinstance(child, (ast.Name, ast.Constant)):
                continue
            if isinstance(child, _NOTED):
                self._note(child, owner, own)
            if isinstance(child, ast.ClassDef):
                self.read(child, self._class(child), "")
            elif isinstance(child, _Function) and isinstance(node, ast.ClassDef):
                self.read(child, owner, _own_name(child))
            else:
                self.read(child, owner, own)

    def _class(self, node: ast.ClassDef) -> ClassReads:
        bases = (each.value if isinstance(each, ast.Subscript) else each for each in node.bases)
        reads = ClassReads(node.name, node.lineno, node.end_lineno or 0, tuple(filter(None, map(last_name, bases))))
        self.file_reads.classes.append(reads)
        for each in node.body:
            if isinstance(each, _Function):
                reads.reads_any = reads.reads_any or each.name in _RESTORING
            for target in _targets(each):
                if isinstance(target, ast.Name):
                    reads.assign(target.id, ())
        return reads

    def _note(self, node: ast.AST, owner: ClassReads | None, own: str) -> None:
        if isinstance(node, ast.Attribute):
            self._attribute(node, owner, own)
        elif isinstance(node, ast.Call):
            self._call(node, owner, own)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            self._loop(node.iter, node.target, node.body)
        elif isinstance(node, _COMPREHENSIONS):
            results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            for each in node.generators:
                self._loop(each.iter, each.target, [*map(ast.Expr, (*results, *each.ifs))])
        if owner is not None:
            targets = [*_targets(node)]
            calls = _calls(node.value) if len(targets) == 1 and isinstance(node, (ast.Assign, ast.AnnAssign)) else ()
            for target in targets:
                for part in walk(target):
                    if isinstance(part, ast.Attribute) and _is_name(part.value, own):
                        owner.assign(part.attr, calls if part is target else ())

    def _attribute(self, node: ast.Attribute, owner: ClassReads | None, own: str) -> None:
        if not isinstance(node.ctx, ast.Load) or node in self._harmless:
            return
        if owner is not None and (_is_name(node.value, own) or is_super(node.value)):
            owner.reads.add(node.attr)
            owner.reads_any = owner.reads_any or node.attr in _TABLES
        elif self._may_be_model(node.value):
            self.file_reads.elsewhere.add(node.attr)
            self.file_reads.reads_any = self.file_reads.reads_any or node.attr == "_modules"

    def _call(self, node: ast.Call, owner: ClassReads | None, own: str) -> None:
        name, callee = last_name(node.func), node.func
        if name in _LISTINGS and isinstance(callee, ast.Attribute) and node not in self._harmless:
            self._list(callee.value, name in _OF_CHILDREN, owner, own)
        elif owner is not None and isinstance(callee, ast.Attribute) and name in _REGISTERING:
            if _is_name(callee.value, own):
                _assign_by_name(owner, node.args)
        elif owner is not None and name == "setattr" and node.args and _is_name(node.args[0], own):
            _assign_by_name(owner, node.args[1:])
        elif owner is not None and isinstance(callee, ast.Attribute) and name in _GROWING:
            grown = callee.value
            if isinstance(grown, ast.Attribute) and _is_name(grown.value, own) and owner.built.get(grown.attr):
                self._harmless.add(grown)
                owner.assign(grown.attr, [each for each in node.args[-1:] if isinstance(each, ast.Call)])
        elif name in _OF_ALL and node.args and _is_name(node.args[0], own):
            self._any(node.args[0], owner, own)
        elif name in _BY_NAME:
            named = node.args if isinstance(callee, ast.Attribute) or name == "attrgetter" else node.args[1:]
            of = node.args[0] if node.args and named != node.args else callee
            for each in named[:1]:
                if not (isinstance(each, ast.Constant) and isinstance(each.value, str)):
                    if self._may_be_model(of):
                        self._any(of, owner, own)
                elif owner is not None and _is_name(of, own):
                    owner.reads.update(each.value.split("."))
                elif self._may_be_model(of):
                    self.file_reads.elsewhere.update(each.value.split("."))

    def _list(self, receiver: ast.AST, of_children: bool, owner: ClassReads | None, own: str) -> None:
        """Notes that code lists the modules of an object, or only its children."""
        if owner is not None and _is_name(receiver, own):
            owner.reads_any = True
        elif owner is not None and isinstance(receiver, ast.Attribute) and _is_name(receiver.value, own):
            self._listed_attributes.append((owner, receiver.attr, of_children))
        else:
            self._listing([self._classes_of(receiver)], of_children)

    def _listing(self, classes: Iterable[Collection[str] | None], of_children: bool) -> None:
        """Notes that code lists the modules of an object of some classes, None for unknown ones."""
        for each in classes:
            if each is None or (each and not of_children):
                self.file_reads.reads_any = True
            else:
                self.file_reads.listed.update(each)

    def _classes_of(self, value: ast.AST, seen: frozenset[str] = frozenset()) -> Collection[str] | None:
        """The name of the class that an expression's value is an object of.

        It is empty for a model of a library, and None where it is unknown.
        """
        if isinstance(value, ast.Name):
            if value.id in seen:
                return ()
            bound, seen = self._bindings.get(value.id, [None]), seen | {value.id}
            classes = [None if each is None else self._classes_of(each, seen) for each in bound]
            return None if None in classes else {name for each in classes for name in each or ()}
        if not isinstance(value, ast.Call):
            return None
        name, root = last_name(value.func), value.func
        if isinstance(root, ast.Attribute) and name in _SAME_MODEL:
            return self._classes_of(root.value, seen)
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and self._imported.get(root.id) in _LIBRARIES:
            return ()
        return {name} if name[:1].isupper() else None

    @cached_property
    def _bindings(self) -> Mapping[str, Sequence[ast.expr | None]]:
        """What the file assigns to each name by itself, calls alone; None for any other value."""
        bindings: dict[str, list[ast.expr | None]] = {}
        for node in walk(self._tree):
            if isinstance(node, ast.arg):
                bindings.setdefault(node.arg, []).append(None)
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                call = node.value if isinstance(node.value, ast.Call) else None
                bindings.setdefault(node.targets[0].id, []).append(call)
                self._bound.add(node.targets[0])
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in self._bound:
                bindings.setdefault(node.id, []).append(None)
        return bindings

    def _any(self, receiver: ast.AST, owner: ClassReads | None, own: str) -> None:
        if owner is not None and _is_name(receiver, own):
            owner.reads_any = True
        else:
            self.file_reads.reads_any = True

    def _loop(self, over: ast.AST, target: ast.AST, body: Sequence[ast.AST]) -> None:
        """Notes that a loop over listed modules runs none of them and keeps none."""
        while isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and over.args:
            over = over.args[0]  # list(…), enumerate(…), reversed(…)
        if isinstance(over, ast.Call) and last_name(over.func) in _LISTINGS:
            names = {each.id for each in walk(target) if isinstance(each, ast.Name)}
            if all(_only_looks(each, names) for each in body):
                self._harmless.add(over)

    def _may_be_model(self, receiver: ast.AST) -> bool:
        root = receiver
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and root.id in self._imported:
            package = self._imported[root.id]
            if package == "torch" or package in _LIBRARIES or (receiver is root and root.id in self._modules):
                return False
        return not _NAMES_SETTINGS.search(last_name(receiver))


def _assign_by_name(owner: ClassReads, args: Sequence[ast.expr]) -> None:
    """Notes that a class registers a layer under a name that stands in the source."""
    if len(args) == 2 and isinstance(args[0], ast.Constant) and isinstance(args[0].value, str):
        owner.assign(args[0].value, _calls(args[1]))


def _own_name(function: _Function) -> str:
    """The name under which a method knows its object."""
    static = any(last_name(each) in ("staticmethod", "classmethod") for each in function.decorator_list)
    names = [*function.args.posonlyargs, *function.args.args]
    return "" if static or not names else names[0].arg


def _targets(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, (ast.Assign, ast.Delete)):
        yield from node.targets
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.For, ast.AsyncFor)):
        yield node.target


def _calls(value: ast.expr | None) -> Sequence[ast.Call]:
    """The calls that an expression is the result of: one, or those of a conditional expression beside constants."""
    if isinstance(value, ast.IfExp):
        one, other = _calls(value.body), _calls(value.orelse)
        constant = isinstance(value.body, ast.Constant) or isinstance(value.orelse, ast.Constant)
        return [*one, *other] if constant or (one and other) else ()
    return [value] if isinstance(value, ast.Call) else ()


def calls_in(value: ast.expr) -> Iterator[ast.Call]:
    """The calls in an expression, outermost first."""
    return (each for each in walk(value) if isinstance(each, ast.Call))


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and bool(name) and node.id == name


def _only_looks(node: ast.AST, names: Collection[str]) -> bool:
    """Whether code only looks at the attributes and types of the modules with these names."""
    if isinstance(node, ast.Name):
        return not (isinstance(node.ctx, ast.Load) and node.id in names)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr not in ("forward", "__call__") or node.value.id not in names
    inside: list[ast.AST] = [*children(node)]
    if isinstance(node, ast.Call) and _LOOKING.fullmatch(last_name(node.func)):
        inside = [each for each in inside if not isinstance(each, ast.Name)]
    return all(_only_looks(each, names) for each in inside)


@lru_cache(maxsize=16)
def attribute_reads_of(text: str) -> FileReads:
    """What the code of a file with this text reads; anything if it cannot be parsed."""
    try:
        return attribute_reads(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return FileReads(reads_any=True)
