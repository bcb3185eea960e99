"""Keep probabilities in the place of drop rates: what a call in source names the rate that it passes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from regcheck.files.dotted_name import last_name
from regcheck.files.syntax import children, walk

from .arguments import Argument
from .functions import DROPPING
from .layers import LAYERS

KeepNames = Mapping[tuple[int, int], str]

_KEEPING = frozenset("keep keeping keepprob keeprate retain retaining retention survival survive".split())
_WORD = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*")
_MOST_HOPS = 8
"""The most names that one rate is followed through."""
_MENTION = re.compile(rb"keep(?!_?dim)|retain(?!_graph)|retention|surviv", re.IGNORECASE)


def may_keep(content: bytes) -> bool:
    """Whether a file has a name that says that a share is kept."""
    return _MENTION.search(content) is not None


def says_keep(name: str) -> bool:
    """Whether a name says that it is the share to keep: `keep_prob`, `keepRate`, `p_retain`."""
    return not _KEEPING.isdisjoint(each.lower() for each in _WORD.findall(name))


def keep_names_of(tree: ast.Module) -> KeepNames:
    """The dropouts whose rate is a name that says keep, by line and column (from 1) of the call: the name.

    A rate has the names of the variables and attributes that hold it on its way to the call, and the name that all
    constructions in the file give to an argument of the constructor. A name that the file computes by a subtraction, as
    in `keep = 1 - keep`, may hold a drop rate in spite of its name.
    """
    rates = [*_rates(tree)]
    if not rates:
        return {}
    scopes = _Scopes(tree)
    names = [(call, name) for call, rate in rates for name in scopes.names_of(call, rate) if says_keep(name)]
    converted = {*_subtracted(tree)} if names else set()
    first = {(call.lineno, call.col_offset + 1): name for call, name in reversed(names)}
    return {place: name for place, name in first.items() if name not in converted}


@lru_cache(maxsize=8)
def _keep_names_in(text: str) -> KeepNames:
    """The dropouts of a file's text whose rate is a name that says keep; none of a text that is not Python."""
    try:
        return keep_names_of(ast.parse(text)) if may_keep(text.encode()) else {}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def keep_name_at(text: str, line: int, column: int) -> str:
    """The name that says keep of the rate of the call at a position (from 1) of a file's text; empty where it has none.

    Column 1 stands for the only such call of the line: Python 3.10 does not know columns.
    """
    names = _keep_names_in(text)
    if column == 1:
        names_at_line = [name for (number, _), name in names.items() if number == line]
        return names_at_line[0] if len(names_at_line) == 1 else ""
    return names.get((line, column), "")


def _rates(tree: ast.Module) -> Iterator[tuple[ast.Call, ast.expr]]:
    """The calls that drop, with the expression of their rate."""
    for call in walk(tree):
        argument = _rate_of(last_name(call.func)) if isinstance(call, ast.Call) else None
        if argument is None or not isinstance(call, ast.Call):
            continue
        rates = [each.value for each in call.keywords if each.arg == argument.name]
        if not any(isinstance(each, ast.Starred) for each in call.args):
            rates += call.args[argument.position : argument.position + 1]
        yield from ((call, rate) for rate in rates[:1])


def _name_of(rate: ast.expr) -> str:
    """The name of a variable, an attribute or an entry; empty for any other expression."""
    if isinstance(rate, ast.Subscript) and isinstance(rate.slice, ast.Constant):
        return str(rate.slice.value)
    return last_name(rate)


class _Scopes:
    """The variables and attributes of a file that hold one value each, and the constructions of its classes."""

    def __init__(self, tree: ast.Module) -> None:
        self._around: dict[ast.AST, tuple[ast.ClassDef | None, ast.FunctionDef | None]] = {}
        self._constructions: dict[str, list[ast.Call]] = {}
        self._values: dict[tuple[ast.AST | None, str], list[ast.expr | None]] = {}
        """The values of each name in a function and of each attribute of a class; None where they are not followed."""
        self._enter(tree, None, None)

    def _enter(self, node: ast.AST, owner: ast.ClassDef | None, function: ast.FunctionDef | None) -> None:
        todo = [(node, owner, function)]
        while todo:
            node, owner, function = todo.pop()
            self._around[node] = owner, function
            if isinstance(node, ast.Call):
                self._constructions.setdefault(last_name(node.func), []).append(node)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self._note(targets[0], node.value if len(targets) == 1 else None, owner, function)
            elif isinstance(node, (ast.AugAssign, ast.For, ast.comprehension, ast.NamedExpr)):
                self._note(node.target, None, owner, function)
            if isinstance(node, ast.ClassDef):
                owner, function = node, None
            elif isinstance(node, ast.FunctionDef):
                function = node
            todo += [(child, owner, function) for child in children(node)]

    def _note(
        self, target: ast.expr, value: ast.expr | None, owner: ast.ClassDef | None, function: ast.FunctionDef | None
    ) -> None:
        for each in walk(target):
            key = self._key(each, owner, function)
            if key is not None:
                self._values.setdefault(key, []).append(value if each is target else None)

    def _key(
        self, name: ast.expr | ast.AST, owner: ast.ClassDef | None, function: ast.FunctionDef | None
    ) -> tuple[ast.AST | None, str] | None:
        if isinstance(name, ast.Name):
            return function, name.id
        if isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name) and name.value.id == "self" and owner:
            return owner, name.attr
        return None

    def names_of(self, call: ast.Call, rate: ast.expr) -> Iterator[str]:
        """The names of a rate, from the call back to where it comes from."""
        owner, function = self._around[call]
        for _ in range(_MOST_HOPS):
            if isinstance(rate, ast.Call) and last_name(rate.func) == "float" and len(rate.args) == 1:
                rate = rate.args[0]
            name = _name_of(rate)
            if name:
                yield name
            key = self._key(rate, owner, function)
            values = self._values.get(key, []) if key is not None else []
            if isinstance(rate, ast.Name) and not values and function:
                arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
                if rate.id not in [each.arg for each in arguments]:
                    values = self._values.get((None, rate.id), [])
                elif owner and function.name == "__init__":
                    yield from self._passed_names(owner, function, rate.id)
            if len(values) != 1 or values[0] is None:
                return
            rate = values[0]
            function = self._around[rate][1]

    def _passed_names(self, owner: ast.ClassDef, constructor: ast.FunctionDef, name: str) -> Iterator[str]:
        """The only name that constructions of a class give to an argument."""
        parameters = [each.arg for each in constructor.args.args[1:]]
        if name not in parameters:
            return
        passed_names = {*_passed_names(self._constructions.get(owner.name, ()), name, parameters.index(name))}
        if len(passed_names) == 1:
            yield passed_names.pop()


def _passed_names(calls: Sequence[ast.Call], name: str, position: int) -> Iterator[str]:
    """What calls name the value of one argument; empty for a value without a name."""
    for call in calls:
        values = [each.value for each in call.keywords if each.arg == name]
        values += call.args[position : position + 1]
        yield from map(_name_of, values[:1])


def _rate_of(function: str) -> Argument | None:
    """The argument for the drop rate of a function or layer of torch; None for any other."""
    if function in DROPPING:
        return DROPPING[function].rate
    layer = LAYERS.get(function)
    return layer.rate if layer is not None and layer.function in DROPPING else None


def _subtracted(tree: ast.Module) -> Iterator[str]:
    """The last parts of the names that a file assigns a difference to."""
    for node in walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Sub):
            yield from map(last_name, node.targets)
