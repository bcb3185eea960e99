"""Keep probabilities in the place of drop rates: what a call in source names the rate that it passes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from regcheck.files.dotted_name import last_name

from .arguments import Argument
from .functions import DROPPING
from .layers import LAYERS

KeepNames = Mapping[tuple[int, int], str]

_KEEPING = frozenset("keep keeping keepprob keeprate retain retaining retention survival survive".split())
_WORD = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*")
_MENTION = re.compile(rb"keep(?!_?dim)|retain(?!_graph)|retention|surviv", re.IGNORECASE)


def may_keep(content: bytes) -> bool:
    """Whether a file has a name that says that a share is kept."""
    return _MENTION.search(content) is not None


def says_keep(name: str) -> bool:
    """Whether a name says that it is the share to keep: `keep_prob`, `keepRate`, `p_retain`."""
    return not _KEEPING.isdisjoint(each.lower() for each in _WORD.findall(name))


def keep_names_of(tree: ast.Module) -> KeepNames:
    """The dropouts whose rate is a name that says keep, by line and column (from 1) of the call: the name.

    A rate that is an argument of the constructor has the name that all constructions in the file give it.
    A name that the file computes by a subtraction, as in `keep = 1 - keep`, may hold a drop rate in spite of its name.
    """
    named = [*_named_rates(tree)]
    found = [(call, name) for call, name in (*named, *_constructed(tree, named)) if says_keep(name)]
    converted = {*_subtracted(tree)} if found else set()
    return {(call.lineno, call.col_offset + 1): name for call, name in found if name not in converted}


def _named_rates(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """The calls that drop at a rate that is a name, an attribute or an entry, with its name."""
    for call in ast.walk(tree):
        given = _rate_of(last_name(call.func)) if isinstance(call, ast.Call) else None
        if given is None or not isinstance(call, ast.Call):
            continue
        rates = [each.value for each in call.keywords if each.arg == given.name]
        if not any(isinstance(each, ast.Starred) for each in call.args):
            rates += call.args[given.position : given.position + 1]
        for rate in filter(_name_of, rates[:1]):
            yield call, _name_of(rate)


def _name_of(rate: ast.expr) -> str:
    """The name of a variable, an attribute or an entry; empty for any other expression."""
    if isinstance(rate, ast.Subscript) and isinstance(rate.slice, ast.Constant):
        return str(rate.slice.value)
    return last_name(rate)


def _constructed(tree: ast.Module, named: Sequence[tuple[ast.Call, str]]) -> Iterator[tuple[ast.Call, str]]:
    """The dropouts whose rate is a constructor's argument, with the only name that constructions give that argument."""
    calls: dict[str, list[ast.Call]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            calls.setdefault(last_name(node.func), []).append(node)
    for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name in calls):
        for method in owner.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                inside = {id(node) for node in ast.walk(method)}
                parameters = [each.arg for each in method.args.args[1:]]
                for call, rate in named:
                    if id(call) in inside and rate in parameters:
                        given = {*_given(calls[owner.name], rate, parameters.index(rate))}
                        if len(given) == 1:
                            yield call, given.pop()


def _given(calls: Sequence[ast.Call], name: str, position: int) -> Iterator[str]:
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
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.Sub):
            yield from map(last_name, node.targets)
