"""What becomes of the results of calls: whether a loss is propagated back through them, and what follows them."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .call_sites import CallSite, Stack

SAMPLES = 3
"""An input handed in so often in a row is sampled from, as in Monte-Carlo dropout."""

TURN = 4
"""Two training steps, of which each is a backward pass and what an optimizer does."""

_MOST = 4
"""So many tensors of a result are followed; a loss of more of them goes through these, too."""

_LOOKED_AT = 256
"""So many of the values in a result are looked at."""


@dataclass(slots=True, eq=False)
class ResultTracker:
    """What became of the results of all calls that are written down as one.

    `at` counts the training steps that came before the latest of them, `since` before the first, and `turns` how often
    they came with no such step between them. `around` is what ran around the first, if gradients were on. `scored_by`
    names the losses of torch that were called, as modules, on a result. When a loss
    is propagated back through a result, the fate adds itself to `reached`.
    """

    site: CallSite
    around: Stack = ()
    reached: list[ResultTracker] = field(default_factory=list)
    at: int = -1
    since: int = 0
    turns: int = 0
    propagated: bool = False
    same: int = 0
    repeated: bool = False
    scored_by: dict[str, None] = field(default_factory=dict)
    _input: weakref.ref[torch.Tensor] | None = None

    def came(self, at: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """One more of these calls is made, after `at` training steps."""
        given = next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)), None)
        known = None if self._input is None else self._input()
        self.same = self.same + 1 if given is not None and given is known and at == self.at else 1
        self.repeated = self.repeated or self.same >= SAMPLES
        self._input = None if given is None else weakref.ref(given)
        if at != self.at:
            self.since = self.since if self.turns else at
            self.turns += 1
            self.at = at

    def alternates(self, steps: int) -> bool:
        """Whether such calls and training took turns, with no more than `TURN` steps between two calls on average."""
        return self.turns > 1 and self.at < steps <= self.since + self.turns * TURN

    def follow(self, result: Any) -> None:
        """Learn of it when a loss is propagated back through a result; the result itself is not touched."""
        if self.propagated or torch._C._len_torch_dispatch_stack():
            return
        found = 0
        for tensor in itertools.islice(_values(result), _LOOKED_AT):
            if type(tensor) not in (torch.Tensor, nn.Parameter):
                continue
            if torch._C._functorch.is_functorch_wrapped_tensor(tensor) or tensor.grad_fn is None:
                continue
            tensor.grad_fn.register_prehook(self._propagate)
            found += 1
            if found == _MOST:
                return

    def _propagate(self, gradients: Any) -> None:
        if not self.propagated:
            self.propagated = True
            self.reached.append(self)


def _values(value: Any, depth: int = 3) -> Iterator[Any]:
    """A value and what it holds: items, and the attributes of objects, of which no property is run."""
    yield value
    if not depth or isinstance(value, (torch.Tensor, nn.Module, type)):
        return
    if isinstance(value, (tuple, list)):
        held: Iterable[Any] = value
    elif isinstance(value, Mapping):
        held = value.values()
    else:
        slots = (vars(kind).get("__slots__", ()) for kind in type(value).__mro__)
        names = [name for each in slots for name in ((each,) if isinstance(each, str) else each)]
        held = [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in names)]
    for each in held:
        yield from _values(each, depth - 1)
