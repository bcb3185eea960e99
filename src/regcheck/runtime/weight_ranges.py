"""The ranges of weights in a running program: before the first step of an optimizer, and before later ones."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.usage import Rows, WeightRange
from regcheck.lazy_dataclass import dataclass

from .optimizers import parameters_of
from .trained_parameters import is_plain

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

Names = Mapping[int, tuple[str, ...]]
"""The names of parameters, by their ids."""


@dataclass(eq=False)
class _Weight:
    """A weight, and the maxima, minima and norms of its rows and columns at two times."""

    parameter: weakref.ref[torch.Tensor]
    names: tuple[str, ...]
    first: tuple[torch.Tensor, ...]
    at_ends: torch.Tensor
    later: tuple[torch.Tensor, ...] | None = None


@dataclass(eq=False)
class _Trained:
    """The weights that an optimizer holds; `steps` counts those that it has begun."""

    weights: list[_Weight] = field(default_factory=list)
    steps: int = 0


class WeightRanges:
    """Looks at the weights before the steps 1, 2, 3, 5, 9, … of each optimizer: there the program has limited them."""

    def __init__(self) -> None:
        self._trained: Any = WeakIdKeyDictionary()
        self._moved: dict[int, _Trained] = {}
        """The weights to report, by the ids of their records: they outlive their optimizer."""

    def note_step(self, optimizer: Any, names_of: Callable[[], Names]) -> None:
        """An optimizer is about to step; `names_of` returns the names of the parameters of the program's models."""
        trained: _Trained | None = self._trained.get(optimizer)
        if trained is None:
            trained = self._trained[optimizer] = _Trained()
        before, trained.steps = trained.steps, trained.steps + 1
        if before & (before - 1) or _is_intercepted(optimizer):
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            if before == 0:
                names = names_of()
                weights = [each for each in parameters_of(optimizer) if id(each) in names and _is_weight(each)]
                trained.weights = [
                    _Weight(weakref.ref(each), names[id(each)], _rows(each), _at_ends(each)) for each in weights
                ]
                return
            for weight in trained.weights:
                parameter = weight.parameter()
                if parameter is not None and _is_weight(parameter):
                    weight.later = _rows(parameter)
                    self._moved[id(trained)] = trained

    def drain(self) -> Iterator[tuple[WeightRange, ...]]:
        """The weights of each optimizer that has stepped again since the last drain."""
        moved, self._moved = self._moved, {}
        for trained in moved.values():
            yield tuple(_range(each, each.later) for each in trained.weights if each.later is not None)


def _range(weight: _Weight, later: tuple[torch.Tensor, ...]) -> WeightRange:
    at_highest, at_lowest = weight.at_ends.tolist()
    first, then = (Rows(*(tuple(each.tolist()) for each in rows)) for rows in (weight.first, later))
    return WeightRange(weight.names, at_highest, at_lowest, first, then)


def _is_intercepted(optimizer: Any) -> bool:
    """Whether operators would reach the program's own code, or may not wait for their results."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
        return True
    return any(each.is_cuda for each in parameters_of(optimizer)) and torch.cuda.is_current_stream_capturing()


def _is_weight(parameter: torch.Tensor) -> bool:
    """Whether it has rows and columns of real numbers in memory."""
    return (
        isinstance(parameter, nn.Parameter)
        and parameter.dim() > 1
        and is_plain(parameter)
        and parameter.dtype in _FLOATS
    )


def _rows(parameter: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The figures of `Rows`."""
    rows = parameter.detach().flatten(1)
    columns = [axis for axis in range(parameter.dim()) if axis != 1]
    double = torch.float64 if parameter.dtype is torch.float64 else torch.float32
    norms = torch.linalg.vector_norm(rows, dim=1, dtype=double)
    column_norms = torch.linalg.vector_norm(parameter.detach(), dim=columns, dtype=double)
    return tuple(each.cpu() for each in (rows.amax(1), rows.amin(1), norms, column_norms))


def _at_ends(parameter: torch.Tensor) -> torch.Tensor:
    """How many elements are equal to the largest, and to the smallest."""
    weight = parameter.detach()
    return torch.stack([(weight == end).sum() for end in (weight.amax(), weight.amin())]).cpu()
