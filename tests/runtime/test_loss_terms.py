"""The summands without a gradient that the graph of a loss shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from regcheck.runtime.loss_terms import constants_in

NET = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
SIZE = sum(each.detach().abs().sum() for each in NET.parameters())


def data() -> torch.Tensor:
    return NET(torch.ones(5, 3)).square().mean()


def lasso() -> torch.Tensor:
    return torch.as_tensor(sum(each.abs().sum() for each in NET.parameters()))


LOSSES: dict[str, tuple[int, Callable[[], torch.Tensor]]] = {
    "a tensor": (1, lambda: data() + 0.1 * SIZE),
    "a number": (1, lambda: (data() + float(SIZE)) / 2),
    "two of them": (2, lambda: -(data() + 1.0) * 3 + SIZE),
    "in a stack": (1, lambda: torch.stack((data(), torch.as_tensor(SIZE))).sum()),
    "a leaf of its own": (1, lambda: data() + 0.1 * torch.tensor(float(SIZE), requires_grad=True)),
    "beside a penalty with a gradient": (1, lambda: data() + lasso() + SIZE),
    "nothing but data": (0, data),
    "a factor": (0, lambda: SIZE * data() / SIZE),
    "a penalty with a gradient": (0, lambda: data() + 0.1 * lasso()),
    "inside of a nonlinear function": (0, lambda: (data() + 1).log()),
    "without any gradient": (0, lambda: data().detach() + SIZE),
}


@pytest.mark.parametrize(("number", "loss"), LOSSES.values(), ids=LOSSES)
def test_summands_without_a_gradient_are_counted(number: int, loss: Callable[[], torch.Tensor]) -> None:
    """Each summand of the loss without a node counts; the zero that `sum` begins a penalty with does not."""
    assert constants_in(loss()) == number


def test_all_losses_of_one_backward_pass_are_read() -> None:
    """Several losses that are back-propagated together are all searched."""
    assert constants_in([data() + 1, data(), data() + SIZE]) == 2


def test_no_code_of_the_program_runs() -> None:
    """A subclass of `Tensor` is not asked, because its own code would answer."""

    class Loud(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *args: object, **kwargs: object) -> None:
            raise AssertionError("the program's own code ran")

    loss = (data() + 1).as_subclass(Loud)
    assert constants_in(loss) == 0
