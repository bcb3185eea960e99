"""The axes that the table follows are those that torch's functions put features and positions on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcheck.torch_api.axes import AxesInFlow
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

FEATURES, HEIGHT, WIDTH = 7, 11, 13
"""Sizes of a map that name its axes; the batch has 2 samples."""


class Net(nn.Module):
    def __init__(self, does: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.does = nn.Conv2d(3, FEATURES, 3), does

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self.conv(x))


def axes_of_last(does: Callable[[Tensor], Tensor]) -> tuple[set[int], set[int]]:
    """The sizes of the axes of the result that hold features, and of those that hold positions."""
    x = torch.randn(2, 3, HEIGHT + 2, WIDTH + 2)
    graph = trace_model(Net(does), "model", Inputs((x,))).graph
    assert graph is not None
    (_, last), *_ = graph.train.outputs
    op = graph.train.ops[last]
    axes = AxesInFlow(graph.train).of(op)
    assert op.shape is not None
    if axes is None:
        return set(), set()
    assert axes.rank == len(op.shape)
    features = set() if axes.features is None else {op.shape[axes.features]}
    return features, {op.shape[axis] for axis in axes.positions}


@pytest.mark.parametrize(
    "does",
    [
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: torch.permute(x, (3, 1, 0, 2)),
        lambda x: x.transpose(1, -1),
        lambda x: x.mT,
        lambda x: x.movedim(1, -1),
        lambda x: torch.moveaxis(x, 3, 0),
        lambda x: x.swapaxes(0, 2),
        lambda x: x.unsqueeze(1),
        lambda x: x.unsqueeze(-1),
        lambda x: x.unsqueeze(2).squeeze(2),
        lambda x: x[:1].squeeze(),
        lambda x: x[0],
        lambda x: x[None, ..., None],
        lambda x: x[:, None, :, :],
        lambda x: torch.stack([x, x], 2),
        lambda x: x.flatten(0, 1).unflatten(0, (2, FEATURES)),
        lambda x: x.expand(5, -1, -1, -1, -1),
        lambda x: x.view(2, 1, FEATURES, HEIGHT, WIDTH),
        lambda x: torch.cat([x, x]).softmax(1),
        lambda x: torch.maximum(x, x.relu()),
        lambda x: x + torch.zeros(FEATURES, 1, 1),
        lambda x: x.cumsum(2),
        lambda x: torch.clamp(x, 0) * torch.sigmoid(x),
    ],
)
def test_axes_that_stay_are_followed(does: Callable[[Tensor], Tensor]) -> None:
    """The axis of each role has the size that it had before the call."""
    features, positions = axes_of_last(does)
    assert features <= {FEATURES}
    assert positions == {HEIGHT, WIDTH}


@pytest.mark.parametrize(
    ("does", "features", "positions"),
    [
        (lambda x: x[:, :, 3], {FEATURES}, {WIDTH}),
        (lambda x: x[..., 3], {FEATURES}, {HEIGHT}),
        (lambda x: x.select(2, 3), {FEATURES}, {WIDTH}),
        (lambda x: x.unbind(3)[0], {FEATURES}, {HEIGHT}),
        (lambda x: x.mean(2), {FEATURES}, {WIDTH}),
        (lambda x: x.amax((2, 3), keepdim=True), {FEATURES}, set()),
        (lambda x: x.max(dim=-1)[0], {FEATURES}, {HEIGHT}),
        (lambda x: x.mean(1), set(), {HEIGHT, WIDTH}),
        (lambda x: x[:, :, -1:], {FEATURES}, {WIDTH}),
        (lambda x: x[:, 3], set(), {HEIGHT, WIDTH}),
        (lambda x: x.chunk(2, -1)[0], {FEATURES}, {HEIGHT, 7}),
        (lambda x: F.pad(x, (1, 1)), {FEATURES}, {HEIGHT, WIDTH + 2}),
        (lambda x: F.interpolate(x, scale_factor=2), {FEATURES}, {2 * HEIGHT, 2 * WIDTH}),
        (lambda x: F.adaptive_avg_pool2d(x, 1), {FEATURES}, set()),
        (lambda x: x.flatten(1), {FEATURES * HEIGHT * WIDTH}, set()),
        (lambda x: x.view(2, -1), {FEATURES * HEIGHT * WIDTH}, set()),
        (lambda x: x.flatten(2), {FEATURES}, set()),
        (lambda x: x.reshape(2, FEATURES, -1), {FEATURES}, set()),
        (lambda x: x @ torch.randn(WIDTH, 5), set(), set()),
        (lambda x: F.linear(x, torch.randn(5, WIDTH)), {5}, set()),
        (lambda x: torch.fft.rfft(x).abs(), {FEATURES}, {HEIGHT, WIDTH // 2 + 1}),
    ],
)
def test_axes_that_change_are_followed(
    does: Callable[[Tensor], Tensor], features: set[int], positions: set[int]
) -> None:
    """Removed, merged and pooled axes lose their roles; a linear layer makes features of its last axis."""
    assert axes_of_last(does) == (features, positions)
