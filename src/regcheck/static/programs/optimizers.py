"""Optimizers in source code: the call that builds one gives its decay and its parameter groups."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from regcheck.core.usage import Group, OptimizerInfo
from regcheck.static.interpreter.values import OPEN, Constant, Entries, Items, Parameters, Several, Value, argument
from regcheck.torch_api.arguments import BY_KEYWORD, Argument
from regcheck.torch_api.optimizers import DECAY, FLAG, OPTIMIZERS, UNLISTED

_NO_DECAY = Argument(BY_KEYWORD, DECAY, 0.0)
_NO_FLAG = Argument(BY_KEYWORD, FLAG, False)


def optimizer_info(
    name: str, key: str, args: tuple[Value, ...], kwargs: Mapping[str, Value], node: ast.expr
) -> OptimizerInfo:
    """The optimizer that `node`, a call of `torch.optim.name`, builds."""
    row = OPTIMIZERS.get(name, UNLISTED)
    given = row.decay or _NO_DECAY
    decay, flag = argument(args, kwargs, *given), argument(args, kwargs, *(row.flag or _NO_FLAG))
    parameters = argument(args, kwargs, 0, "params")
    names = tuple(dict.fromkeys(_names(node, given))) if isinstance(node, ast.Call) else ()
    return OptimizerInfo(key, name, name, tuple(_groups(parameters, decay, flag)), names)


def _names(call: ast.Call, decay: Argument) -> Iterator[str]:
    """The names in the expressions that a call gives as weight decay, for all parameters or for a group."""
    given = [each.value for each in call.keywords if each.arg == DECAY]
    given += call.args[decay.position : decay.position + 1]
    for each in (node for node in ast.walk(call) if isinstance(node, ast.Dict)):
        pairs = zip(each.keys, each.values, strict=True)
        given += [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == DECAY]
    for node in (inner for each in given for inner in ast.walk(each)):
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield ast.unparse(node)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value)


def _groups(parameters: Value, decay: Value, flag: Value) -> list[Group]:
    """The parameter groups, each with the optimizer's decay and flag unless it gives its own."""
    groups = parameters.items if isinstance(parameters, Items) else ()
    inner = [each.item if isinstance(each, Several) else each for each in groups]
    found = [
        _group(each.cells.get(DECAY, decay), each.cells.get(FLAG, flag), OPEN in each.cells, each)
        for each in inner
        if isinstance(each, Entries)
    ]
    return found if found and len(found) == len(inner) else [_group(decay, flag, False, parameters)]


def _group(decay: Value, flag: Value, is_open: bool, group: Value) -> Group:
    """A parameter group; `is_open` says that it may have entries that are unknown, a decay among them."""
    number = isinstance(decay, Constant) and isinstance(decay.value, (int, float))
    parameters = group.cells.get("params") if isinstance(group, Entries) else group
    return Group(
        float(decay.value) if number and isinstance(decay, Constant) and not is_open else None,
        bool(flag.value) if isinstance(flag, Constant) else None,
        *((parameters.holds, parameters.model) if isinstance(parameters, Parameters) else ()),
    )
