"""Optimizers as the call that builds them describes them."""

from __future__ import annotations

from collections.abc import Mapping

from regcheck.core.usage import Group, Optimizer

from .values import OPEN, Entries, Items, Known, Parameters, Several, Value, argument

_DECAY = {"Adagrad": 3, "LBFGS": 99, "ASGD": 5}
_COUPLED_BY_DEFAULT = 0.0
_FLAG = "decoupled_weight_decay"


def described(name: str, key: str, args: tuple[Value, ...], kwargs: Mapping[str, Value]) -> Optimizer:
    """The optimizer that a call of `torch.optim.name` builds."""
    default = 0.01 if name == "AdamW" else _COUPLED_BY_DEFAULT
    decay = argument(args, kwargs, _DECAY.get(name, 4), "weight_decay", default)
    flag = argument((), kwargs, 99, _FLAG, False)
    parameters = argument(args, kwargs, 0, "params")
    return Optimizer(key, name, name, tuple(_groups(parameters, decay, flag)))


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
    number = isinstance(decay, Known) and isinstance(decay.value, (int, float))
    known = isinstance(flag, Known)
    parameters = group.cells.get("params") if isinstance(group, Entries) else group
    return Group(
        float(decay.value) if number and isinstance(decay, Known) and not more else None,
        bool(flag.value) if known and isinstance(flag, Known) else None,
        *((parameters.holds, parameters.model) if isinstance(parameters, Parameters) else ()),
    )
