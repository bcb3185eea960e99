"""Optimizers in source code: the call that builds one gives its decay and its parameter groups."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import replace

from regcheck.core.usage import Group, OptimizerInfo
from regcheck.static.interpreter.values import (
    OPEN,
    Constant,
    Entries,
    Items,
    Parameters,
    Several,
    Value,
    argument,
    by_default,
    clause_of,
)
from regcheck.static.torch_calls import number_of
from regcheck.torch_api.arguments import BY_KEYWORD, Argument
from regcheck.torch_api.optimizers import DECAY, FLAG, OPTIMIZERS, UNLISTED

_NO_DECAY = Argument(BY_KEYWORD, DECAY, 0.0)
_NO_FLAG = Argument(BY_KEYWORD, FLAG, False)


def optimizer_info(
    name: str, key: str, args: tuple[Value, ...], kwargs: Mapping[str, Value], node: ast.expr, is_off_by_default: bool
) -> OptimizerInfo:
    """The optimizer that `node`, a call of `torch.optim.name`, builds.

    A user who changes one default so that the call is made (`is_off_by_default`) may change that of the decay as well.
    """
    row = OPTIMIZERS.get(name, UNLISTED)
    given = row.decay or _NO_DECAY
    decay, flag = argument(args, kwargs, *given), argument(args, kwargs, *(row.flag or _NO_FLAG))
    parameters = argument(args, kwargs, 0, "params")
    names = tuple(dict.fromkeys(_names(node, given))) if isinstance(node, ast.Call) else ()
    groups = _groups(parameters, decay, flag)
    if is_off_by_default:
        groups = [replace(each, weight_decay=None) if each.by_default else each for each in groups]
    return OptimizerInfo(key, name, name, tuple(groups), names)


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
    flag = by_default(flag)
    parameters = group.cells.get("params") if isinstance(group, Entries) else group
    holds, model = (parameters.holds, parameters.model) if isinstance(parameters, Parameters) else ((), None)
    is_decoupled = bool(flag.value) if isinstance(flag, Constant) else None
    return Group(None if is_open else number_of(decay), is_decoupled, holds, model, clause_of(decay))
