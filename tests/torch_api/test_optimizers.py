"""The table of optimizers holds what the installed torch does: classes, signatures, and what the decay does."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, optim

from regcheck.torch_api.arguments import BY_KEYWORD
from regcheck.torch_api.optimizers import COUPLED, DECAY, FLAG, OPTIMIZERS

CLASSES = {
    name: each
    for name, each in vars(optim).items()
    if isinstance(each, type) and issubclass(each, optim.Optimizer) and each is not optim.Optimizer
}
NEWER = {"Muon"}
"""Classes that the oldest torch supported does not have."""

STEPPED = sorted(CLASSES.keys() - {"SparseAdam"})  # which takes sparse gradients only
DECAYING = sorted(name for name in STEPPED if OPTIMIZERS[name].decay)


def test_the_table_has_every_optimizer() -> None:
    """Each class of torch.optim has a row, and each row a class."""
    assert CLASSES.keys() | NEWER == OPTIMIZERS.keys()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_arguments_stand_where_torch_takes_them(name: str) -> None:
    """Decay and flag have the position and the default that the constructor gives them, and none is left out."""
    parameters = dict([*inspect.signature(CLASSES[name].__init__).parameters.items()][1:])
    row = OPTIMIZERS[name]
    for each in row.arguments.values():
        torchs = parameters[each.name]
        position = [*parameters].index(each.name) if torchs.kind is not torchs.KEYWORD_ONLY else BY_KEYWORD
        default = None if torchs.default is inspect.Parameter.empty else torchs.default
        assert (position, default) == (each.position, each.default)
    assert {DECAY, FLAG} & parameters.keys() == {DECAY, FLAG} & row.arguments.keys()


RATE = 1e-6
"""The learning rate, small enough that weights stay where they begin."""

PATTERN = (1.0, -0.5, 2.0, 0.3, -1.0, 0.7, 1.5, -0.2, 0.9, 0.6)
"""What the gradients are multiplied by, step by step: more steps than any optimizer takes to warm up."""

UNEVEN = torch.tensor([[1.0, 0.0], [0.0, 100.0]], dtype=torch.float64)
"""Gradients, of which one is a hundred times another."""


def last_step(name: str, **settings: Any) -> Tensor:
    """What the last of some steps adds to the two weights, both close to one, that have a gradient; in float64."""
    weights = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    optimizer: Any = CLASSES[name]([weights], lr=RATE, **settings)

    def loss(factor: float) -> Tensor:
        optimizer.zero_grad()
        value = (weights * UNEVEN * factor).sum()
        value.backward()
        return value

    for factor in PATTERN:
        before = weights.detach().clone()
        optimizer.step(partial(loss, factor))
    return (weights.detach() - before).diagonal()


@pytest.mark.parametrize("name", STEPPED)
def test_adaptive_optimizers_take_steps_of_one_size(name: str) -> None:
    """Of two weights, one with a gradient a hundred times the other's, an adaptive optimizer moves both alike."""
    small, large = last_step(name, **({DECAY: 0.0} if OPTIMIZERS[name].decay else {})).abs().tolist()
    assert (large < 2 * small) is OPTIMIZERS[name].adaptive


def effective(name: str, **settings: Any) -> Tensor:
    """What the decay takes off the two weights in the last step, each relative to what was asked for."""
    decayed, undecayed = (last_step(name, **{**settings, DECAY: each}) for each in (1e-3, 0.0))
    return (undecayed - decayed) / (RATE * 1e-3)


@pytest.mark.parametrize("name", DECAYING)
def test_coupled_decay_is_uneven(name: str) -> None:
    """Weights with uneven gradients are decayed unevenly exactly by the optimizers that couple and adapt."""
    one, other = effective(name).tolist()
    assert (abs(one - other) > 0.5 * abs(one)) is (name in COUPLED)
    assert one != 0


@pytest.mark.parametrize("name", sorted(name for name in DECAYING if OPTIMIZERS[name].flag))
def test_the_flag_decouples_the_decay(name: str) -> None:
    """With its flag set, every weight is decayed as much as was asked for."""
    assert torch.allclose(effective(name, **{FLAG: True}), torch.ones(2, dtype=torch.float64), rtol=0.05)


@pytest.mark.parametrize("name", sorted(name for name in OPTIMIZERS if OPTIMIZERS[name].decoupled_class))
def test_the_decoupled_class_has_the_same_update(name: str) -> None:
    """Without decay it takes the same steps, and its own decay is what was asked for."""
    other = OPTIMIZERS[name].decoupled_class
    assert OPTIMIZERS[other].update == name
    assert torch.equal(last_step(name, **{DECAY: 0.0}), last_step(other, **{DECAY: 0.0}))
    assert torch.allclose(effective(other), torch.ones(2, dtype=torch.float64), rtol=0.05)
