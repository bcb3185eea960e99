"""The work of a forward is counted from shapes: like torch counts it, the same each time, and within a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from regcheck.core.graph import Mode
from regcheck.probe.runner import Runner
from regcheck.tracing.cost import CALL, ELEMENT, Meter, TooMuchWork, operations_of
from regcheck.tracing.record import record

X = torch.randn(4, 6, 10)
IMAGE = torch.randn(2, 4, 9, 9)

PRODUCTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {
    "linear": (F.linear, (X, torch.randn(3, 10)), {}),
    "matmul": (torch.matmul, (X, torch.randn(10, 7)), {}),
    "bmm": (torch.bmm, (X, torch.randn(4, 10, 5)), {}),
    "addmm": (torch.addmm, (torch.randn(5), torch.randn(6, 10), torch.randn(10, 5)), {}),
    "conv1d": (F.conv1d, (X, torch.randn(8, 6, 3)), {"padding": 1}),
    "conv2d": (F.conv2d, (IMAGE, torch.randn(8, 2, 3, 3)), {"groups": 2, "stride": 2}),
    "conv_transpose2d": (F.conv_transpose2d, (IMAGE, torch.randn(4, 5, 3, 3)), {}),
    "bilinear": (F.bilinear, (torch.randn(4, 3), torch.randn(4, 5), torch.randn(2, 3, 5)), {}),
    "einsum": (torch.einsum, ("bij,jk->bik", X, torch.randn(10, 7)), {}),
    "scaled_dot_product_attention": (F.scaled_dot_product_attention, (torch.randn(2, 3, 5, 8),) * 3, {}),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_counted_as_torch_counts_them(name: str) -> None:
    """Two operations for each multiplication that is added up, like torch's own counter of operations."""
    function, args, kwargs = PRODUCTS[name]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        result = function(*args, **kwargs)
    counted = operations_of(name, args, kwargs, result) - CALL
    if name == "bilinear":  # torch counts its first product only
        assert counted == 2 * 4 * 2 * 3 * 5
    else:
        assert counted == counter.get_total_flops() > 0


def test_layers_with_many_steps_are_counted_whole() -> None:
    """Every step of a recurrent layer counts, and every projection of attention."""
    lstm, x = nn.LSTM(10, 16, 2), torch.randn(7, 3, 10)
    products = 7 * 3 * (4 * 16 * (10 + 16) + 4 * 16 * (16 + 16))
    begins = 2 * (CALL + ELEMENT * 2 * 3 * 16)  # with a state and a cell of zeros
    assert work(lstm, x) == begins + CALL + 2 * products
    attention, y = nn.MultiheadAttention(8, 2), torch.randn(5, 3, 8)
    with FlopCounterMode(display=False) as counter:
        attention(y, y, y, need_weights=False)
    assert work(attention, y, y, y) == pytest.approx(CALL + counter.get_total_flops(), rel=0.01)


def work(model: nn.Module, *args: Tensor) -> int:
    return record(model.eval(), args, {}).operations


def test_other_calls_count_their_elements() -> None:
    """What multiplies nothing counts the elements that it reads or makes; what only reshapes counts as a call."""
    assert operations_of("relu", (X,), {}, X) == CALL + ELEMENT * X.numel()
    assert operations_of("sum", (X,), {}, X.sum()) == CALL + ELEMENT * X.numel()
    assert operations_of("rand", ((3, 4),), {}, torch.rand(3, 4)) == CALL + ELEMENT * 12
    assert operations_of("view", (X, 4, 60), {}, X.view(4, 60)) == CALL
    assert operations_of("linear", ("odd",), {}, X) == CALL + ELEMENT * X.numel()


def test_recordings_and_runs_count_the_same() -> None:
    """What was recorded is what a run of it takes, so that a plan fits."""
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3))
    recorded, runner = record(model.eval(), (IMAGE,), {}).operations, Runner(model, (IMAGE,), {}, "cpu")
    runner.run(Mode.EVAL, 0)
    assert recorded == runner.operations > 0


def test_what_takes_more_than_a_limit_is_stopped() -> None:
    """A forward ends with the call that goes beyond its limit, also where it catches exceptions."""

    class Endless(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            while Endless.calls < 1000:
                Endless.calls += 1
                try:
                    x = torch.relu(x)
                except Exception as error:
                    raise ValueError("caught") from error
            return x

    with pytest.raises(TooMuchWork, match="takes more than"):
        record(Endless(), (X,), {}, limit=5 * CALL)
    assert Endless.calls == 5
    meter = Meter(CALL)
    meter.count("view", (X,), {}, X)
    assert not meter.exceeded
