"""Draw the values of inputs: smooth signals, valid ids, positions and boxes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch

from regcheck.lazy_dataclass import dataclass

SAMPLES = 4
LARGEST = 2**25
"""The most elements of one drawn tensor: 128 MB of single precision."""

AMPLE = 2**22
"""The most elements of all samples together, beyond which fewer samples are drawn: four images of about 590 × 590."""


class TooLarge(Exception):
    """A guess needs too much memory."""


@dataclass(frozen=True)
class Spec:
    """The shape and range of a tensor; a size of None is the number of samples.

    With `below` it is a tensor of ids from 0 to `below` - 1, without those in `avoid`.
    """

    dims: tuple[int | None, ...]
    below: int | None = None
    avoid: frozenset[int] = frozenset()

    def drawn(self, samples: int) -> torch.Tensor:
        """A tensor of that shape and range.

        Raises:
            TooLarge: it has more than `LARGEST` elements.
        """
        shape = tuple(samples if size is None else size for size in self.dims)
        if math.prod(shape) > LARGEST:
            raise TooLarge(f"{shape} is too large for a guess")
        return smooth(shape) if self.below is None else ids(shape, self.below, self.avoid)


def affordable(size: Sequence[int]) -> int:
    """The number of samples to draw: fewer of a large size."""
    return max(1, min(SAMPLES, AMPLE // max(1, math.prod(size))))


def smooth(shape: tuple[int, ...]) -> torch.Tensor:
    """Low-frequency waves of that shape, different in every sample and channel, of about unit variance.

    Neighbouring positions resemble each other, as in the images that a network is trained on, unlike in white noise.
    """
    generator = torch.Generator().manual_seed(0)
    if len(shape) <= 2 and shape[-1:] < (1000,):
        return torch.randn(shape, generator=generator)
    lead = math.prod(shape[:2]) if len(shape) > 2 else shape[0]
    extents = shape[2:] if len(shape) > 2 else shape[1:]
    result = torch.zeros(lead, *extents)
    for _ in range(4):
        wave = (torch.rand(lead, generator=generator) * 2 * math.pi).view(-1, *[1] * len(extents))
        for axis, size in enumerate(extents):
            grid = torch.linspace(0, 2 * math.pi, size).view([-1 if i == axis else 1 for i in range(len(extents))])
            cycles = torch.randint(0, 4, (lead,), generator=generator).view(-1, *[1] * len(extents))
            wave = wave + cycles * grid
        result += torch.sin(wave)
    return (result / math.sqrt(2)).view(shape)


def ids(shape: tuple[int, ...], below: int, avoid: Collection[int] = ()) -> torch.Tensor:
    """Ids less than `below`, spread over the range, without those in `avoid` unless no id remains."""
    spread = min(below, 4096)
    allowed = [each for each in range(spread) if each not in avoid] or [*range(max(spread, 1))]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(0, len(allowed), shape, generator=generator)
    return torch.tensor(allowed)[chosen]


def increasing(samples: int, length: int) -> torch.Tensor:
    """Positions 0, 1, 2, … in every sample."""
    return torch.arange(length).expand(samples, length).clone()


def boxes(samples: int, length: int, side: int = 1000) -> torch.Tensor:
    """A box (left, top, right, bottom) per token, within a page of that side."""
    low = increasing(samples, length) % (side // 4)
    return torch.stack([low, low, low + side // 8, low + side // 8], -1)
