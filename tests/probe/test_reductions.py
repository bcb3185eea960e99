"""Counts and sums over large tensors are exact, the same in one pass as piece by piece, and copy nothing whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from regcheck.probe import reductions, statistics
from regcheck.probe.devices import chosen
from regcheck.probe.reductions import Tally, fingerprint, moments, pieces, tally, tally_at_once, tally_in_pieces, wide

SHAPES = [(), (1,), (40,), (3, 0), (6, 30), (1, 5, 1, 7), (4, 5, 6, 7), (2, 3, 9, 10, 4), (70, 3)]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "turned round": lambda x: x.permute([*range(x.dim())][::-1]).contiguous().permute([*range(x.dim())][::-1]),
    "every second": lambda x: torch.stack([x, 1 - x], -1)[..., 0],
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that these tensors have many, of unequal sizes."""
    monkeypatch.setitem(reductions.PIECE, "cpu", 23)


def masked(shape: tuple[int, ...], along: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """What a dropout makes of ones, whose units extend along some axes."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [1 if axis in along else size for axis, size in enumerate(shape)]
    return ((torch.rand(drawn, generator=generator) >= 0.4) * 1.25).expand(shape).to(dtype).clone()


def by_definition(values: Tensor) -> Tally:
    empty = values == 0
    axes = [axis for axis, size in enumerate(values.shape) if size > 1]
    same = tuple(axis for axis in axes if torch.equal(empty, empty.narrow(axis, 0, 1).expand_as(empty)))
    return Tally(int(empty.sum()), values.numel(), same)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_tally_is_what_it_says(shape: tuple[int, ...], layout: str) -> None:
    """Zeros are counted and constant axes found, to the integer, whatever the shape, the layout and the units."""
    for turn in range(2 ** len(shape)):
        along = tuple(axis for axis in range(len(shape)) if turn >> axis & 1)
        values = LAYOUTS[layout](masked(shape, along, turn))
        assert tally(values) == by_definition(values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("along", [(), (3,), (2, 3), (1, 2, 3), (0,), (0, 1), (0, 1, 2, 3)])
def test_at_once_and_in_pieces_are_the_same(along: tuple[int, ...], dtype: torch.dtype) -> None:
    """The one reduction that other devices are given tells the same integers, or that it cannot tell."""
    values = masked((4, 5, 6, 7), along, 1, dtype)
    assert tally_at_once(values, along) == tally_in_pieces(values, along) == by_definition(values)
    for more in {0, 1, 2, 3} - {*along} if along else ():
        axes = tuple(sorted((*along, more)))
        assert tally_at_once(values, axes) is None
        assert tally_in_pieces(values, axes) == by_definition(values)


def test_what_float32_cannot_count_is_not_counted_in_it() -> None:
    """More than 2²⁴ elements under one count are left to the pieces."""
    one = torch.ones(1).expand(2**24 + 2)
    assert tally_at_once(one, ()) is None and tally_at_once(one, (0,)) is None


def test_a_change_far_from_the_corner_is_seen() -> None:
    """A mask that is constant but for its very last element is constant along no axis."""
    values = torch.ones(20, 20, 20)
    values[-1, -1, -1] = 0
    assert tally(values) == Tally(1, 8000, ())


@pytest.mark.parametrize("device", chosen(("auto",)))
def test_every_device_tells_the_same(device: str) -> None:
    """The tally of a mask is the same integers on each device that is present."""
    for along in ((), (2, 3), (0,)):
        values = masked((64, 32, 16, 16), along, 3)
        assert tally(values.to(device)) == by_definition(values)


@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_show_everything_once(shape: tuple[int, ...]) -> None:
    """Pieces are small, show the same parts of all tensors, and together show every element once."""
    values = torch.arange(math.prod(shape)).reshape(shape)
    found = [*pieces(values, -values)]
    assert all(part.numel() <= 23 and torch.equal(part, -other) for part, other in found)
    assert sorted(each for part, _ in found for each in part.flatten().tolist()) == [*range(values.numel())]


def test_moments_are_those_of_all_parts() -> None:
    """Mean and variance are those of everything put together, and values that are all alike do not vary at all."""
    parts = [torch.randn(7, 11) * 3 + 100, torch.randn(50)]
    values = torch.cat([each.flatten() for each in parts]).double()
    assert moments(parts) == pytest.approx((float(values.mean()), float(values.var(correction=0))), rel=1e-13)
    assert moments([torch.full((1000,), 0.1)]) == (float(torch.tensor(0.1)), 0.0)
    assert all(map(math.isnan, moments([torch.empty(0)])))


def test_a_deviation_is_that_of_the_farthest_element() -> None:
    """It is found in whatever piece it is; values that are no numbers in both runs do not differ, in one they do."""
    one = torch.randn(9, 9)
    other = one.clone()
    other[8, 7] += 3
    assert statistics.deviation([one], [other]) == pytest.approx(3, rel=1e-6)
    one[0, 0] = other[0, 0] = math.nan
    one[0, 1] = other[0, 1] = math.inf
    assert statistics.deviation([one], [other]) == pytest.approx(3, rel=1e-6)
    other[0, 2] = math.nan
    assert statistics.deviation([one], [other]) == math.inf


class Largest(TorchDispatchMode):
    """Notes the largest memory that a call made beside that of some values."""

    bytes = 0

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.given = values.untyped_storage().data_ptr()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() != self.given:
            self.bytes = max(self.bytes, result.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize(
    "read",
    [
        tally,
        lambda x: tally_in_pieces(x, (2, 3)),
        lambda x: tally_at_once(x, (2, 3)),
        lambda x: moments([x]),
        lambda x: statistics.deviation([x], [x]),
    ],
    ids=["tally", "in pieces", "at once", "moments", "deviation"],
)
def test_nothing_is_copied_whole(read: Callable[[Tensor], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """No temporary is larger than a piece in float64, or than a hundredth of what is read."""
    monkeypatch.setitem(reductions.PIECE, "cpu", 2**10)
    values = masked((64, 64, 16, 16), (2, 3), 5)
    with Largest(values) as made:
        read(values)
    assert 0 < made.bytes <= max(8 * 2**10, values.nbytes // 100)


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn],
)
def test_a_fingerprint_shows_any_change(dtype: torch.dtype) -> None:
    """One element, two exchanged, and all negated: each shows, whatever the type; the same values have the same."""
    values = torch.randn(11, 13).sign().to(dtype) if dtype is torch.bool else (torch.randn(11, 13) * 9).to(dtype)
    known = fingerprint(values)
    assert fingerprint(values.clone()) == known and fingerprint(values.t().contiguous().t()) == known
    for change in ([(0, 0)], [(10, 12)], [(3, 5), (7, 2)]):
        other = values.clone().view(torch.uint8)
        for row, column in change:
            other[row, column] ^= 1
        assert fingerprint(other.view(dtype)) != known
    swapped = values.clone()
    swapped[0], swapped[1] = values[1], values[0]
    assert fingerprint(swapped) != known or torch.equal(values[0], values[1])
    if dtype.is_floating_point and dtype.itemsize > 1:
        assert fingerprint(-values) != known
    assert fingerprint(values[:0]) == fingerprint(values[:0].clone())


def test_wide_is_float64() -> None:
    """On a device that has it nothing is moved."""
    assert wide(torch.ones(2)).dtype is torch.float64
