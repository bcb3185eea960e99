"""What becomes of the results of calls: whether a loss is propagated back through them, and what follows them."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from regcheck.files.place import Place

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
    they came with no such step between them. `around` is what ran around the first, if gradients were on. When a loss
    is propagated back through a result, the tracker adds itself to `reached`.

    `eval_left_on` is where the program called `eval()` for a prediction, if one of these calls trained in that mode;
    `mode_set_at` is where it set the mode of a prediction, or the eval mode that it meant to train in. `inputs` counts
    the calls with another input than the first call's, and that one; they are compared where `compares` is set.
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
    eval_left_on: Place | None = None
    mode_set_at: Place | None = None
    compares: bool = False
    inputs: int = 0
    _first: torch.Tensor | None = None
    _in_a_row: int = 0
    _single_steps: int = 0
    _unsettled: list[list[bool]] = field(default_factory=list)
    _predicts: bool = False
    _input: weakref.ref[torch.Tensor] | None = None

    def came(self, at: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """One more of these calls is made, after `at` training steps."""
        given = next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)), None)
        known = None if self._input is None else self._input()
        self.same = self.same + 1 if given is not None and given is known and at == self.at else 1
        self.repeated = self.repeated or self.same >= SAMPLES
        self._input = None if given is None else weakref.ref(given)
        if self.compares and type(given) is torch.Tensor and not _intercepted():
            self._compare(given, trained=at != self.at)
        if at != self.at:
            self._single_steps += self._in_a_row == 1
            self._settle()
            self._in_a_row = 0
            self.since = self.since if self.turns else at
            self.turns += 1
            self.at = at
        self._in_a_row += 1

    @property
    def predicts(self) -> bool:
        """Whether calls through which the program otherwise trains come in a row, and no loss uses their results.

        A step must usually be one call, so that results which a step computes and leaves out do not count.
        """
        self._settle()
        return self.propagated and self._predicts

    @property
    def follows(self) -> bool:
        """Whether the result of the next call still tells something."""
        return not self.propagated or (self._in_a_row > 1 and self._single_steps > 1 and len(self._unsettled) < _MOST)

    def _settle(self) -> None:
        """Decide on the calls in a row, now that a training step has followed or the program has ended."""
        self._predicts = self._predicts or not all(used for (used,) in self._unsettled)
        self._unsettled.clear()

    def _compare(self, given: torch.Tensor, trained: bool) -> None:
        """Count a further input, or note that the first one comes back while nothing is trained."""
        if self._first is None or trained:
            self._first, self.inputs = given.detach().clone(), 1
        elif self._first.shape == given.shape and bool(torch.equal(self._first, given)):
            self.repeated = True
        else:
            self.inputs += 1

    def alternates(self, steps: int) -> bool:
        """Whether such calls and training took turns, with no more than `TURN` steps between two calls on average."""
        return self.turns > 1 and self.at < steps <= self.since + self.turns * TURN

    def follow(self, result: Any) -> None:
        """Learn of it when a loss is propagated back through a result; the result itself is not touched."""
        if not self.follows or torch._C._len_torch_dispatch_stack():
            return
        propagate = self._expect_use() if self.propagated else self._propagate
        found = 0
        for tensor in itertools.islice(_values(result), _LOOKED_AT):
            if type(tensor) not in (torch.Tensor, nn.Parameter):
                continue
            if torch._C._functorch.is_functorch_wrapped_tensor(tensor) or tensor.grad_fn is None:
                continue
            tensor.grad_fn.register_prehook(propagate)
            found += 1
            if found == _MOST:
                return

    def _expect_use(self) -> Callable[[Any], None]:
        """A hook that notes that a loss uses the result of this one call."""
        used = [False]
        self._unsettled.append(used)

        def note(gradients: Any) -> None:
            used[0] = True

        return note

    def _propagate(self, gradients: Any) -> None:
        if not self.propagated:
            self.propagated = True
            self.reached.append(self)


def _intercepted() -> bool:
    """Whether somebody would notice an operation on a tensor."""
    return bool(torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack())


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
