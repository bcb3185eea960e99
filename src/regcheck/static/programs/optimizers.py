"""Optimizers as the call that builds them describes them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from regcheck.core.usage import Group, OptimizerInfo
from regcheck.static.interpreter.values import OPEN, Constant, Entries, Items, Parameters, Several, Value, argument

_DECAY = {"Adagrad": 3, "LBFGS": 99, "ASGD": 5}
_COUPLED_BY_DEFAULT = 0.0
_FLAG = "decoupled_weight_decay"


def described(
    name: str, key: str, args: tuple[Value, ...], kwargs: Mapping[str, Value], node: ast.expr
) -> OptimizerInfo:
    """The optimizer that a call of `torch.optim.name` builds, which stands at `node`."""
    default = 0.01 if name == "AdamW" else _COUPLED_BY_DEFAULT
    decay = argument(args, kwargs, _DECAY.get(name, 4), "weight_decay", default)
    flag = argument((), kwargs, 99, _FLAG, False)
    parameters = argument(args, kwargs, 0, "params")
    fed = tuple(dict.fromkeys(_names(node, _DECAY.get(name, 4)))) if isinstance(node, ast.Call) else ()
    return OptimizerInfo(key, name, name, tuple(_groups(parameters, decay, flag)), fed)


def _names(call: ast.Call, position: int) -> Iterator[str]:
    """The names in what a call of an optimizer gives as weight decay, to all parameters or to a group of them."""
    given = [each.value for each in call.keywords if each.arg == "weight_decay"]
    given += call.args[position : position + 1]
    for each in (node for node in ast.walk(call) if isinstance(node, ast.Dict)):
        pairs = zip(each.keys, each.values, strict=True)
        given += [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "weight_decay"]
    for node in (inner for each in given for inner in ast.walk(each)):
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield ast.unparse(node)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value)


def _groups(parameters: Value, decay: Value, flag: Value) -> list[Group]:
    groups = parameters.items if isinstance(parameters, Items) else ()
    inner = [each.item if isinstance(each, Several) else each for each in groups]
    found = [
        _group(each.cells.get("weight_decay", decay), each.cells.get(_FLAG, flag), OPEN in each.cells, each)
        for each in inner
        if isinstance(each, Entries)
    ]
    return found if found and len(found) == len(inner) else [_group(decay, flag, False, parameters)]


def _group(decay: Value, flag: Value, more: bool, group: Value) -> Group:
    number = isinstance(decay, Constant) and isinstance(decay.value, (int, float))
    known = isinstance(flag, Constant)
    parameters = group.cells.get("params") if isinstance(group, Entries) else group
    return Group(
        float(decay.value) if number and isinstance(decay, Constant) and not more else None,
        bool(flag.value) if known and isinstance(flag, Constant) else None,
        *((parameters.holds, parameters.model) if isinstance(parameters, Parameters) else ()),
    )
