"""Source code that multiplies with a random mask which it has drawn once: in a constructor, into a cache, on import.

The reader knows one file, and claims a mask only if it sees every assignment: a mask that any other code sets, changes
or deletes may be drawn anew.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache

from regcheck.files.dotted_name import is_self, last_name
from regcheck.files.escape import encode
from regcheck.files.syntax import children, walk

from .functions import DROPPING

Function = ast.FunctionDef | ast.AsyncFunctionDef
Products = Mapping[tuple[int, int], str]

_BITS = frozenset(("bernoulli", "bernoulli_", "Bernoulli", "binomial"))
_UNIFORM = frozenset(("rand", "rand_like", "uniform_", "uniform"))
_CUTS = frozenset("lt gt le ge less greater less_equal greater_equal floor floor_ ceil round round_".split())
_CACHES = frozenset(("cache", "lru_cache", "cached_property"))
PRODUCTS = frozenset("mul masked_fill where".split())
"""The functions that drop what a mask selects, by their names in both front ends."""

_SPELLINGS = PRODUCTS | {f"{name}_" for name in PRODUCTS} | {"multiply", "multiply_"}
_VIEWS = frozenset(
    "to type type_as float half double bool view view_as reshape expand expand_as unsqueeze squeeze div mul clone"
    " contiguous detach get cuda cpu t transpose permute logical_not".split()
)
_DRAWN = re.compile(rb"ernoulli|binomial|\brand(?:_like)?\(|(?<!init)\.uniform_?\(|ropout\w*\([^#\n]*\bones")
_DEEPEST = 4
_ANY = "*"
_EMPTY = (ast.Dict, ast.List)


@lru_cache(maxsize=4)
def products_in(text: str) -> Products:
    """The products of a file's text, as `products_of` returns them; none where it cannot be parsed."""
    if not may_draw(encode(text)):
        return {}
    try:
        return products_of(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def may_draw(content: bytes) -> bool:
    """Whether a file names a function that draws masks."""
    return _DRAWN.search(content) is not None


def products_of(tree: ast.Module) -> Products:
    """The products with a mask that is drawn once, by line and column (from 1): the words that say when it is drawn."""
    return {(node.lineno, node.col_offset + 1): words for node, words in _products(tree)}


def _products(tree: ast.Module) -> Iterator[tuple[ast.BinOp | ast.AugAssign | ast.Call, str]]:
    file = _File(tree)
    for function in file.functions:
        for node in walk(function):
            if isinstance(node, (ast.BinOp, ast.AugAssign, ast.Call)):
                for factor in _factors(node):
                    if words := file.origin(factor, function):
                        yield node, words
                        break


def _factors(node: ast.BinOp | ast.AugAssign | ast.Call) -> list[ast.expr]:
    """The operands of a product; none for any other operation."""
    if isinstance(node, ast.Call):
        if last_name(node.func) not in _SPELLINGS:
            return []
        return [*([node.func.value] if isinstance(node.func, ast.Attribute) else []), *node.args]
    if not isinstance(node.op, ast.Mult):
        return []
    return [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]


class _File:
    """The functions, classes and assignments of one file."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.functions = [node for node in walk(tree) if isinstance(node, Function)]
        self._classes = [node for node in walk(tree) if isinstance(node, ast.ClassDef)]
        self._parents = {child: node for node in walk(tree) for child in children(node)}
        self._origins: dict[tuple[ast.ClassDef | None, str], str] = {}

    def origin(self, node: ast.expr, function: Function, depth: int = 0) -> str:
        """The words that say when the mask is drawn that an expression of a function stands for; empty for others."""
        if depth > _DEEPEST:
            return ""
        inner: list[ast.expr] = []
        if isinstance(node, ast.Attribute) and is_self(node.value):
            return self._slot_origin(self._class_of(function), node.attr)
        if isinstance(node, ast.Name):
            return self._origin_of_name(node.id, function, depth)
        if isinstance(node, ast.Call):
            callee = self._callee(node.func, function)
            if callee is not None:
                return self._origin_of_results(callee, depth)
            if isinstance(node.func, ast.Attribute) and node.func.attr in _VIEWS:
                inner = [node.func.value]
        elif isinstance(node, ast.Subscript):
            inner = [node.value]
        elif isinstance(node, ast.UnaryOp):
            inner = [node.operand]
        elif isinstance(node, ast.Compare):
            inner = [node.left]
        elif isinstance(node, ast.IfExp):
            inner = [node.body, node.orelse]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Sub)):
            inner = [node.left, node.right]
        return next((words for each in inner if (words := self.origin(each, function, depth + 1))), "")

    def _origin_of_name(self, name: str, function: Function, depth: int) -> str:
        values = _assigned(function, name)
        if values:
            origins = [self.origin(each, function, depth + 1) if each is not None else "" for each in values]
            return origins[0] if all(origins) else ""
        default = _defaults(function).get(name)
        if default is not None:
            return "in a default argument, which is evaluated once" if _draws_mask(default, None) else ""
        is_parameter = any(each.arg == name for each in walk(function.args) if isinstance(each, ast.arg))
        return "" if is_parameter else self._slot_origin(None, name)

    def _origin_of_results(self, function: Function, depth: int) -> str:
        """The same of what a function returns: a mask that is drawn once, or a draw that a cache keeps."""
        results = [node.value for node in _own_nodes(function) if isinstance(node, ast.Return)]
        if not results or None in results:
            return ""
        if any(last_name(_callee_of(each)) in _CACHES for each in function.decorator_list):
            drawn = all(_draws_mask(each, function) for each in results if each is not None)
            return "at the first call, and cached" if drawn else ""
        origins = [self.origin(each, function, depth + 1) for each in results if each is not None]
        return origins[0] if all(origins) else ""

    def _callee(self, func: ast.expr, function: Function) -> Function | None:
        """The method of the same class, or the function at the top of the file, that a call enters."""
        if isinstance(func, ast.Attribute) and is_self(func.value):
            return self._method(self._class_of(function), func.attr)
        named = [each for each in self.tree.body if isinstance(each, Function) and isinstance(func, ast.Name)]
        return next((each for each in named if each.name == getattr(func, "id", "")), None)

    def _class_of(self, node: ast.AST) -> ast.ClassDef | None:
        while node in self._parents and not isinstance(node, ast.ClassDef):
            node = self._parents[node]
        return node if isinstance(node, ast.ClassDef) else None

    @staticmethod
    def _method(owner: ast.ClassDef | None, name: str) -> Function | None:
        methods = (each for each in (owner.body if owner else ()) if isinstance(each, Function))
        return next((each for each in methods if each.name == name), None)

    def _slot_origin(self, owner: ast.ClassDef | None, name: str) -> str:
        """The same of an attribute of a class's objects, or of a global variable (`owner` is None)."""
        key = owner, name
        if key not in self._origins:
            self._origins[key] = ""  # code that draws a mask from itself
            self._origins[key] = self._drawn_once(owner, name)
        return self._origins[key]

    def _drawn_once(self, owner: ast.ClassDef | None, name: str) -> str:
        origins = []
        for node, value in self._stores(owner, name):
            function = self._function_of(node)
            is_construction = self._is_construction(function, owner)
            if value is None:
                return ""
            if _is_nothing(value):
                if not is_construction:
                    return ""
            elif not _draws_mask(value, function):
                return ""
            elif is_construction:
                origins.append("in the constructor" if owner is not None else "when the module is imported")
            elif self._is_guarded(node, function, name):
                origins.append("at the first call")
            else:
                return ""
        return origins[0] if origins else ""

    @cached_property
    def _changing(self) -> Mapping[str, list[ast.AST]]:
        """The statements and calls that may change a variable, by each name in what they change."""
        by_name: dict[str, list[ast.AST]] = {}
        for node in walk(self.tree):
            if isinstance(node, ast.Global):
                names = {*node.names}
            elif isinstance(node, (ast.Assign, ast.Delete)):
                names = {last_name(each) for target in node.targets for each in walk(target)}
            elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.For)):
                names = {last_name(each) for each in walk(node.target)}
            elif isinstance(node, ast.Call):
                of = node.func.value if isinstance(node.func, ast.Attribute) else None
                texts = {each.value for each in node.args[:2] if isinstance(each, ast.Constant)}
                named = {each.value.value for each in node.keywords if isinstance(each.value, ast.Constant)}
                sets = last_name(node.func) in ("setattr", "delattr")
                names = {last_name(of) if of else "", *map(str, texts | named), *([_ANY] if sets else [])}
            else:
                continue
            for name in names:
                by_name.setdefault(name, []).append(node)
        return by_name

    def _stores(self, owner: ast.ClassDef | None, name: str) -> Iterator[tuple[ast.AST, ast.expr | None]]:
        """Whatever may change a variable: each node, with the value that it assigns (None: another change)."""
        own = [owner, *self._subclasses(owner)] if owner is not None else []
        for node in (*self._changing.get(name, ()), *self._changing.get(_ANY, ())):
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    base = target.value if isinstance(target, ast.Subscript) else target
                    if self._names(base, owner, own, name) and node.value is not None:
                        yield node, node.value
                    elif isinstance(target, (ast.Tuple, ast.List)) and any(
                        self._names(each, owner, own, name) for each in walk(target)
                    ):
                        yield node, None
            elif isinstance(node, ast.Global):
                if owner is None and name in node.names:
                    yield node, None
            elif isinstance(node, (ast.AugAssign, ast.Delete, ast.For)):
                changed: list[ast.expr] = node.targets if isinstance(node, ast.Delete) else [node.target]
                if any(self._names(each, owner, own, name) for target in changed for each in walk(target)):
                    yield node, None
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if self._names(node.func.value, owner, own, name) and _changes(node.func.attr):
                    yield node, None
                elif node.func.attr == "register_buffer" and owner is not None and self._class_of(node) in own:
                    arguments = [*node.args, *[each.value for each in node.keywords]]
                    if len(arguments) > 1 and isinstance(arguments[0], ast.Constant) and arguments[0].value == name:
                        yield node, arguments[1]
            elif isinstance(node, ast.Call) and _sets_attribute(node, name):
                yield node, None

    def _names(self, node: ast.AST, owner: ast.ClassDef | None, own: list[ast.ClassDef], name: str) -> bool:
        """Whether an expression is the variable: of objects of the class, or of any object but those of others."""
        if owner is None:
            return isinstance(node, ast.Name) and node.id == name and self._is_global(node)
        if not isinstance(node, ast.Attribute) or node.attr != name:
            return isinstance(node, ast.Name) and node.id == name and self._parents.get(self._parents[node]) is owner
        return not is_self(node.value) or self._class_of(node) in own

    def _is_global(self, node: ast.Name) -> bool:
        """Whether a name is one of the file, and not one that its function assigns as a whole."""
        function = self._function_of(node)
        return function is None or not _assigned(function, node.id) or _is_declared_global(function, node.id)

    def _subclasses(self, owner: ast.ClassDef) -> list[ast.ClassDef]:
        return [each for each in self._classes if any(last_name(base) == owner.name for base in each.bases)]

    def _function_of(self, node: ast.AST) -> Function | None:
        while node in self._parents:
            node = self._parents[node]
            if isinstance(node, Function):
                return node
            if isinstance(node, ast.ClassDef):
                return None
        return None

    def _is_construction(self, function: Function | None, owner: ast.ClassDef | None) -> bool:
        """Whether code runs once: at the top of the file, in a constructor, or in a method that only that one calls."""
        if function is None:
            return True
        return owner is not None and (function.name == "__init__" or function.name in self._builders)

    @cached_property
    def _builders(self) -> frozenset[str]:
        """The names of methods that no code but constructors mentions."""
        within: dict[str, bool] = {}
        for node in walk(self.tree):
            if isinstance(node, ast.Attribute):
                function = self._function_of(node)
                in_constructor = function is not None and function.name == "__init__" and is_self(node.value)
                within[node.attr] = within.get(node.attr, True) and in_constructor
        methods = {each.name for each in self.functions} - {"forward"}
        return frozenset(name for name, only in within.items() if only and name in methods)

    def _is_guarded(self, node: ast.AST, function: Function | None, name: str) -> bool:
        """Whether a statement runs only while the variable is empty, or does not fit."""
        while function is not None and node is not function:
            parent = self._parents[node]
            if isinstance(parent, ast.If) and node in parent.body and _is_about(parent.test, name, ast.Or):
                return True
            block = next((b for _, b in ast.iter_fields(parent) if isinstance(b, list) and node in b), [])
            for earlier in block[: block.index(node)] if node in block else ():
                leaves = isinstance(earlier, ast.If) and isinstance(earlier.body[-1], ast.Return)
                if leaves and _is_about(earlier.test, name, ast.And):
                    return True
            node = parent
        return False


def _is_about(test: ast.expr, name: str, joined_by: type[ast.boolop]) -> bool:
    """Whether a test asks about the variable alone: all of the parts `joined_by` an operator do, or one of others."""
    if isinstance(test, ast.BoolOp):
        each = [_is_about(value, name, joined_by) for value in test.values]
        return all(each) if isinstance(test.op, joined_by) else any(each)
    return any(
        (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.Name) and node.id == name)
        or (isinstance(node, ast.Constant) and node.value == name)
        for node in walk(test)
    )


def _draws_mask(node: ast.expr, function: Function | None) -> bool:
    """Whether an expression draws a mask: random bits, a comparison of uniform numbers, or dropped ones."""
    nodes = [*_expanded(node, function)]
    names = [last_name(each.func) for each in nodes if isinstance(each, ast.Call)]
    if not _BITS.isdisjoint(names):
        return True
    if any(name.startswith("ones") for name in names) and not DROPPING.keys().isdisjoint(names):
        return True
    is_cut = any(isinstance(each, ast.Compare) for each in nodes) or not _CUTS.isdisjoint(names)
    return is_cut and not _UNIFORM.isdisjoint(names)


def _expanded(node: ast.expr, function: Function | None, depth: int = 0) -> Iterator[ast.AST]:
    """The nodes of an expression, and those of what its local names are assigned."""
    for each in walk(node):
        yield each
        if isinstance(each, ast.Name) and function is not None and depth < _DEEPEST:
            for value in _assigned(function, each.id):
                if value is not None and value is not node:
                    yield from _expanded(value, function, depth + 1)


def _assigned(function: Function, name: str) -> list[ast.expr | None]:
    """The values that a function assigns to a local name; None for one that is not an expression."""
    values: list[ast.expr | None] = []
    for node in _own_nodes(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    values.append(node.value)
                elif any(
                    isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in walk(target)
                ):
                    values.append(None)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr, ast.AugAssign, ast.For, ast.withitem)):
            bound: ast.expr | None = node.optional_vars if isinstance(node, ast.withitem) else node.target
            if bound is not None and any(isinstance(n, ast.Name) and n.id == name for n in walk(bound)):
                values.append(node.value if isinstance(node, (ast.AnnAssign, ast.NamedExpr)) else None)
    return values


@lru_cache(maxsize=64)
def _own_nodes(function: Function) -> Sequence[ast.AST]:
    """The nodes of a function's body without those of inner functions."""
    nodes: list[ast.AST] = []
    todo: list[ast.AST] = [*reversed(function.body)]
    while todo:
        node = todo.pop()
        nodes.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            todo += reversed([*children(node)])
    return nodes


def _defaults(function: Function) -> dict[str, ast.expr]:
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    pairs = [*zip(reversed(positional), reversed(spec.defaults), strict=False)]
    pairs += [(each, value) for each, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value is not None]
    return {each.arg: value for each, value in pairs}


def _callee_of(decorator: ast.expr) -> ast.expr:
    return decorator.func if isinstance(decorator, ast.Call) else decorator


def _changes(method: str) -> bool:
    """Whether a method of a tensor, a dict or a list changes it."""
    in_place = method.endswith("_") and not method.startswith("_") and method != "requires_grad_"
    return in_place or method in ("clear", "pop", "update", "setdefault", "append", "popitem", "insert", "extend")


def _sets_attribute(call: ast.Call, name: str) -> bool:
    """Whether this is a `setattr` or `delattr` of the attribute, or of one whose name is not written there."""
    if last_name(call.func) not in ("setattr", "delattr") or len(call.args) < 2:
        return False
    return not isinstance(call.args[1], ast.Constant) or call.args[1].value == name


def _is_nothing(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return last_name(value.func) in ("dict", "list") and not value.args
    return isinstance(value, _EMPTY) or (isinstance(value, ast.Constant) and value.value is None)


def _is_declared_global(function: Function, name: str) -> bool:
    return any(isinstance(node, ast.Global) and name in node.names for node in walk(function))
