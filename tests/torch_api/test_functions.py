"""The table of functions holds what the installed torch does: names, arguments for `F.` and aten, effects."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from regcheck.core.graph import Drops, Kind
from regcheck.torch_api.arguments import BY_KEYWORD, Argument, signature
from regcheck.torch_api.functions import (
    BATCH_NORM_TRAINING,
    CALL_ALIASES,
    CELLS,
    DROPOUTS,
    DROPPING,
    FOREIGN,
    KINDS,
    NOT_ZERO_AT_ZERO,
    SOURCE_ALIASES,
    STACKED,
    STACKED_ATEN,
    STACKED_ATEN_PACKED,
    kind_of,
)
from regcheck.torch_api.losses import LOSS_FUNCTIONS

IN_PYTHON = sorted(name for name in DROPPING if inspect.isfunction(getattr(F, name, None)))
IN_ATEN = sorted(name for name, how in DROPPING.items() if how.train is not None)
ELSEWHERE = frozenset().union(*FOREIGN.values()) | {name for name in KINDS if "::" in name}
"""Functions of other packages, which are not there to be asked."""

NOT_OF_TORCH = {"getitem", "identity", "radd", "rmul", "rtruediv", "random", "rearrange", "truediv", "convolution"}
"""Names of operators, of a layer without a function, and of a function of another package."""


def aten(name: str) -> list[Any]:
    """The schemas of an aten operator."""
    packet = getattr(torch.ops.aten, name)
    return [getattr(packet, each)._schema for each in packet.overloads()]


def stands_in(argument: Argument, names: list[str]) -> bool:
    return names[argument.position] == argument.name


@pytest.mark.parametrize("name", IN_PYTHON)
def test_arguments_of_dropping_functions_stand_where_f_takes_them(name: str) -> None:
    """Rate and switch have the position, the name and the default that the function in `F.` gives them."""
    parameters = [*inspect.signature(getattr(F, name)).parameters.values()]
    how = DROPPING[name]
    assert how.training is not None
    for argument in (how.rate, how.training):
        torchs = parameters[argument.position]
        default = None if torchs.default is inspect.Parameter.empty else torchs.default
        assert (torchs.name, default) == (argument.name, argument.default)


@pytest.mark.parametrize("name", IN_ATEN)
def test_arguments_of_dropping_functions_stand_where_aten_takes_them(name: str) -> None:
    """Rate and switch have the position and the name that the aten operator gives them."""
    how = DROPPING[name]
    names = [each.name for each in aten(name)[0].arguments]
    assert how.train is not None
    assert stands_in(how.rate, names)
    assert stands_in(how.train, names)


def test_every_dropping_function_of_torch_is_checked() -> None:
    """A function that drops is in `F.` or in aten, has no switch at all, or belongs to another package."""
    modeless = {name for name, how in DROPPING.items() if how.training is None}
    assert DROPPING.keys() == {*IN_PYTHON, *IN_ATEN} | modeless
    assert modeless <= ELSEWHERE | {"scaled_dot_product_attention"}
    names = [each.name for each in aten("scaled_dot_product_attention")[0].arguments]
    assert stands_in(DROPPING["scaled_dot_product_attention"].rate, names)


def test_a_switch_has_the_name_that_the_call_gives_it() -> None:
    """`torch.dropout(x, p, train=True)` and `F.dropout(x, p, training=True)` have the same switch."""
    how = DROPPING["dropout"]
    assert [how.switch(names) for names in ((), ("training",), ("train",))] == [how.training, how.training, how.train]
    assert DROPPING["scaled_dot_product_attention"].switch(("train",)) is None


@pytest.mark.parametrize("name", sorted(DROPOUTS))
def test_a_dropping_function_drops_what_the_table_says(name: str) -> None:
    """Elements are dropped each on its own, channels as a whole."""
    torch.manual_seed(0)
    function: Callable[..., torch.Tensor] = getattr(F, name, None) or getattr(torch, name)
    extents = {"dropout1d": (5,), "dropout3d": (5, 5, 5)}.get(name, (5, 5))
    result = function(torch.ones(8, 16, *extents), 0.5, True).flatten(2)
    dropped = result < 0.5  # zero, or far below for alpha dropout
    whole = bool((dropped.all(-1) | ~dropped.any(-1)).all())
    assert dropped.any()
    assert not dropped.all()
    assert (DROPPING[name].drops is Drops.CHANNELS) is whole


def test_batch_norm_takes_its_switch_in_one_place() -> None:
    """`F.batch_norm` and the aten operator have their switch in the same position, under the same name."""
    parameters = inspect.signature(F.batch_norm).parameters
    assert [*parameters].index("training") == BATCH_NORM_TRAINING.position
    assert parameters["training"].default is BATCH_NORM_TRAINING.default
    assert stands_in(BATCH_NORM_TRAINING, [each.name for each in aten("batch_norm")[0].arguments])


@pytest.mark.parametrize("name", sorted(STACKED))
def test_stacked_recurrent_functions_take_their_arguments_in_two_orders(name: str) -> None:
    """The operator for padded sequences and that for packed ones have the orders in the table."""
    orders = [[each.name for each in schema.arguments] for schema in aten(name)]
    for order in (STACKED_ATEN, STACKED_ATEN_PACKED):
        assert [*order] in [each[: len(order)] for each in orders]


def holders(name: str) -> bool:
    """Whether torch has a function, a method or an operator of that name."""
    places = (torch, F, torch.Tensor, torch._C._nn, torch.ops.aten, torch.special)
    return any(hasattr(place, each) for place in places for each in (name, f"{name}_", f"_{name}"))


@pytest.mark.parametrize("name", sorted(KINDS.keys() - ELSEWHERE - NOT_OF_TORCH))
def test_torch_has_every_function_of_the_table(name: str) -> None:
    """Each name stands for a function of torch, a method of its tensors or an operator."""
    assert holders(name)


@pytest.mark.parametrize("name", sorted({*CALL_ALIASES, *SOURCE_ALIASES}))
def test_aliases_stand_for_functions_of_the_table(name: str) -> None:
    """Each alias names something that torch or NumPy has, and stands for a function whose kind is in the table."""
    assert holders(name) or hasattr(torch.Tensor, f"__{name}__") or hasattr(np.ndarray, name)
    meant = {aliases[name] for aliases in (CALL_ALIASES, SOURCE_ALIASES) if name in aliases}
    assert Kind.OTHER not in map(kind_of, meant)


def test_cells_and_stacks_are_all_recurrent_functions() -> None:
    """A recurrent function takes one step, or stacks layers."""
    assert {name for name, kind in KINDS.items() if kind is Kind.RECURRENT} == CELLS | STACKED


def test_losses_are_functions_of_torch() -> None:
    """`F.` has each loss, but for those that are newer than the oldest torch supported."""
    assert {name for name in LOSS_FUNCTIONS if not hasattr(F, name)} <= {"linear_cross_entropy"}
    written = {name for name in vars(F) if name.endswith(("_loss", "cross_entropy", "kl_div", "with_logits"))}
    assert written <= LOSS_FUNCTIONS | {"boolean_dispatch"}


_MORE: Mapping[str, tuple[Any, ...]] = {"threshold": (-1.0, 20.0), "prelu": (torch.ones(1),), "pow": (2,), "glu": (0,)}
_MORE |= {"clamp": (-1.0, 1.0)}
_INFINITE = frozenset(("log", "rsqrt"))


@pytest.mark.parametrize(
    "name", sorted(name for name, kind in KINDS.items() if kind in (Kind.ACTIVATION, Kind.SIGMOID))
)
def test_activations_map_zero_where_the_table_says(name: str) -> None:
    """An activation maps zero to another number exactly if it is listed; of two, the value is infinite."""
    function: Callable[..., torch.Tensor] = getattr(F, name, None) or getattr(torch, name)
    value = float(function(torch.zeros(2), *_MORE.get(name, ()))[0])
    assert (name in NOT_ZERO_AT_ZERO | _INFINITE) is (value != 0)
    assert (name in _INFINITE) is (abs(value) == float("inf"))


KERNELS = re.compile(
    r"_scaled_dot_product_\w+|_(?:flash|efficient)_attention_\w+"  # of `F.scaled_dot_product_attention`
    r"|_cudnn_rnn|miopen_rnn"  # of the recurrent functions
    r"|normal_functional"  # of `Tensor.normal_`
    r"|rrelu\w*"  # of `F.rrelu`, an activation, which draws in train mode only
)
"""Operators that draw and that nobody calls by name: the function that picks them is in the table."""


def test_every_operator_that_draws_is_in_the_table() -> None:
    """Each operator that can be called by name and draws, as torch tags it, is in the table, or is a kernel of one."""
    tagged = set()
    registered = {str(name).removeprefix("aten::").partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    for name in registered:
        public = not name.startswith("_") and any(hasattr(where, name) for where in (torch, F, torch.Tensor))
        packet = getattr(torch.ops.aten, name, None) if public else None
        if isinstance(packet, torch._ops.OpOverloadPacket):
            overloads = [getattr(packet, each) for each in packet.overloads()]
            if any(torch.Tag.nondeterministic_seeded in each.tags for each in overloads):
                tagged.add(name)
    names = {CALL_ALIASES.get(name.strip("_"), name.strip("_")) for name in tagged if not KERNELS.fullmatch(name)}
    draws = {name for name in names if name in DROPPING or name in STACKED or kind_of(name) is Kind.RANDOM}
    assert names - draws == set()
    assert len(draws) > 20


def test_a_signature_is_written_without_commas() -> None:
    """Positions count from zero, defaults are Python's literals, and what follows a star goes by keyword."""
    assert signature("input p=0.5 * flag=False mode='mean'") == {
        "input": Argument(0, "input"),
        "p": Argument(1, "p", 0.5),
        "flag": Argument(BY_KEYWORD, "flag", False),
        "mode": Argument(BY_KEYWORD, "mode", "mean"),
    }
