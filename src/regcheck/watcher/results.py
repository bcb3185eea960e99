"""What becomes of the results of calls: whether a loss is propagated back through them, and what follows them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import nn

from .frames import Site

SAMPLES = 3
"""An input handed in so often in a row is sampled from, as in Monte-Carlo dropout."""

_MOST = 4
"""So many tensors of a result are followed; a loss of more of them goes through these, too."""


@dataclass(slots=True, eq=False)
class Fate:
    """What became of the results of all calls that are written down as one.

    `at` counts the training steps that came before the latest of them.
    """

    site: Site
    at: int = 0
    propagated: bool = False
    same: int = 0
    repeated: bool = False
    _input: weakref.ref[torch.Tensor] | None = None

    def came(self, at: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """One more of these calls is made, after `at` training steps."""
        given = next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)), None)
        known = None if self._input is None else self._input()
        self.same = self.same + 1 if given is not None and given is known and at == self.at else 1
        self.repeated = self.repeated or self.same >= SAMPLES
        self._input = None if given is None else weakref.ref(given)
        self.at = at

    def follow(self, result: Any) -> None:
        """Learn of it when a loss is propagated back through a result; the result itself is not touched."""
        if self.propagated or torch._C._len_torch_dispatch_stack():
            return
        found = 0
        for tensor in _tensors(result):
            if type(tensor) not in (torch.Tensor, nn.Parameter):
                continue
            if torch._C._functorch.is_functorch_wrapped_tensor(tensor) or tensor.grad_fn is None:
                continue
            tensor.grad_fn.register_prehook(self._propagate)
            found += 1
            if found == _MOST:
                return

    def _propagate(self, gradients: Any) -> None:
        self.propagated = True


def _tensors(value: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each, depth - 1)
    elif depth and isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each, depth - 1)
    elif depth and is_dataclass(value):
        for name in fields(value):
            yield from _tensors(getattr(value, name.name, None), depth - 1)
