"""Run a model on the first samples of its batch only, where a measurement on all of them takes too much work."""

from __future__ import annotations

from typing import Any

import torch

from regcheck.core.graph import Flow, Graph
from regcheck.tracing.example_inputs import Inputs, mapped

MARGIN = 0.75
"""The share of the affordable samples that a run uses: a run on fewer samples still makes as many calls."""

FEWEST = 2
"""The fewest samples of a run: batch norm trains on two or more."""


def affordable(size: int, whole: int, overhead: int, runs: int, left: float) -> int:
    """How many samples so many runs can use with the work that is `left`; at least `FEWEST`.

    A run on `size` samples takes the work `whole`, and `overhead` whatever its samples.
    """
    if runs * (whole + overhead) <= left:
        return size
    return min(size, max(FEWEST, int(MARGIN * size * (left / runs - overhead) / whole)))


def batch_size(inputs: Inputs) -> int:
    """The leading size that all input tensors have in common; zero where they differ."""
    tensors: list[torch.Tensor] = []

    def collect(tensor: torch.Tensor) -> torch.Tensor:
        tensors.append(tensor)
        return tensor

    mapped((inputs.args, dict(inputs.kwargs)), collect)
    sizes = {each.size(0) if each.dim() and each.layout is torch.strided else 0 for each in tensors}
    return sizes.pop() if len(sizes) == 1 else 0


def first_samples(inputs: Inputs, count: int) -> Inputs:
    """The inputs with the first samples of each tensor."""

    def first(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach()[:count].requires_grad_(tensor.requires_grad)

    args: tuple[Any, ...] = mapped(inputs.args, first)
    return Inputs(args, mapped(dict(inputs.kwargs), first), inputs.origin)


def differ_in_batch_only(whole: Graph, part: Graph, size: int, count: int) -> bool:
    """Whether a model makes the same calls on `count` samples as on `size`, and has an output row for each sample."""
    pairs = ((whole.train, part.train), (whole.eval, part.eval))
    return all(_same_calls(one, other) and _same_outputs(one, other, size, count) for one, other in pairs)


def _same_calls(whole: Flow, part: Flow) -> bool:
    return [each.site for each in whole] == [each.site for each in part]


def _same_outputs(whole: Flow, part: Flow, size: int, count: int) -> bool:
    shapes = [_shapes(each) for each in (whole, part)]
    return shapes[1] == {name: shape and (count, *shape[1:]) for name, shape in shapes[0].items()} and all(
        shape is not None and shape[:1] == (size,) for shape in shapes[0].values()
    )


def _shapes(flow: Flow) -> dict[str, tuple[int, ...] | None]:
    return {name: flow.ops[key].shape for name, key in flow.outputs if key in flow.ops}
