"""Track the results of calls: whether a loss is back-propagated through them, and whether training follows."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

import torch
from torch import nn

from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

from .call_sites import CallSite, Stack

SAMPLES = 3
"""So many calls in a row with one input are sampling, as in Monte-Carlo dropout."""

STEPS_PER_ROUND = 4
"""Two training steps, each counted as a backward pass and an optimizer's step."""

_MOST_TENSORS = 4
"""The most tensors of a result that get a hook; a loss over more tensors passes through these, too."""

_MOST_VALUES = 256
"""The most values of a result that are searched for tensors."""


@dataclass(slots=True, eq=False)
class ResultTracker:
    """The fate of the results of all equal calls.

    Attributes:
        around: the stack around the first call, where gradients were enabled.
        reached: where the tracker adds itself when a loss is back-propagated through a result.
        last_step: the number of training steps before the latest call, -1 before the first call.
        first_step: the number of training steps before the first call.
        rounds: how many runs of calls there were without a training step in between.
        input_repeats: how many calls in a row had the same input.
        repeats_input: such a run has reached `SAMPLES` calls, or the first input came back.
        compares: each input is compared with the first one.
        compares_in_a_row: so are the inputs of calls in a row, until a loss is back-propagated through a result.
        inputs: the number of inputs that differ from the first one, and that one; counted where `compares` is set.
        eval_left_on: where the program called `eval()` for a prediction, if one of these calls trained in that mode.
        mode_set_at: where the program set the mode of a prediction, or the eval mode that it trained in on purpose.
        scored_by: torch's losses that were called, as modules, on a result.
        feeds_models: a model was called on a result.
        consumers: those of these calls that had gradients.
    """

    site: CallSite
    around: Stack = ()
    reached: list[ResultTracker] = field(default_factory=list)
    last_step: int = -1
    first_step: int = 0
    rounds: int = 0
    backpropagated: bool = False
    input_repeats: int = 0
    repeats_input: bool = False
    compares: bool = False
    compares_in_a_row: bool = False
    inputs: int = 0
    eval_left_on: Place | None = None
    mode_set_at: Place | None = None
    _first: torch.Tensor | None = None
    _in_a_row: int = 0
    _single_steps: int = 0
    _unsettled: list[list[bool]] = field(default_factory=list)
    _predicts: bool = False
    scored_by: dict[str, None] = field(default_factory=dict)
    feeds_models: bool = False
    consumers: dict[ResultTracker, None] = field(default_factory=dict)
    _input: weakref.ref[torch.Tensor] | None = None

    def note_call(self, step: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Note one more call, after `step` training steps."""
        tensor = next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)), None)
        previous = None if self._input is None else self._input()
        repeated = tensor is not None and tensor is previous and step == self.last_step
        self.input_repeats = self.input_repeats + 1 if repeated else 1
        self.repeats_input = self.repeats_input or self.input_repeats >= SAMPLES
        self._input = None if tensor is None else weakref.ref(tensor)
        in_a_row = self.compares_in_a_row and step == self.last_step and not self.backpropagated
        if (self.compares or in_a_row) and type(tensor) is torch.Tensor and not _is_intercepted():
            self._compare(tensor, trained=step != self.last_step)
        if step != self.last_step:
            self._single_steps += self._in_a_row == 1
            self._settle()
            self._in_a_row = 0
            self.first_step = self.first_step if self.rounds else step
            self.rounds += 1
            self.last_step = step
        self._in_a_row += 1

    def has_input_of(self, other: ResultTracker) -> bool:
        """Whether the latest call had the very input of the latest one of other calls."""
        mine = None if self._input is None else self._input()
        return mine is not None and other._input is not None and mine is other._input()

    @property
    def ends_in_a_row(self) -> bool:
        """Whether the last calls came in a row, with another input each."""
        return self._in_a_row > 1 and self.input_repeats == 1 and not self.repeats_input

    @property
    def feeds_training(self) -> bool:
        """Whether the program trains another model on a result."""
        return any(each.backpropagated for each in self.consumers)

    @property
    def also_predicts(self) -> bool:
        """Whether no loss uses the results of calls in a row, on a line through which the program otherwise trains.

        A step must usually be one call, so that results which a step computes and leaves out do not count.
        """
        return self.backpropagated and (self._predicts or self._leaves_out)

    @property
    def follows(self) -> bool:
        """Whether a backward pass through the next result, or the lack of one, would be news."""
        in_a_row = self._in_a_row > 1 and self._single_steps > 1
        return not self.backpropagated or (in_a_row and len(self._unsettled) < _MOST_TENSORS)

    def _settle(self) -> None:
        """Decide on the calls in a row: a training step has followed, or the program has ended."""
        self._predicts = self._predicts or self._leaves_out
        self._unsettled.clear()

    @property
    def _leaves_out(self) -> bool:
        """Whether no loss uses the result of one of the calls in a row."""
        return not all(used for (used,) in self._unsettled)

    def _compare(self, tensor: torch.Tensor, trained: bool) -> None:
        """Count another input, or note that the first one comes back while nothing is trained."""
        if self._first is None or trained:
            self._first, self.inputs = tensor.detach().clone(), 1
        elif self._first.shape == tensor.shape and bool(torch.equal(self._first, tensor)):
            self.repeats_input = True
        else:
            self.inputs += 1

    def alternates(self, steps: int) -> bool:
        """Whether calls and training alternate: at most `STEPS_PER_ROUND` steps between two calls on average."""
        return self.rounds > 1 and self.last_step < steps <= self.first_step + self.rounds * STEPS_PER_ROUND

    def follow(self, result: Any, witness: Callable[[Any], None] | None = None) -> None:
        """Register hooks that note a backward pass through the result; the result itself stays untouched.

        Args:
            result: what the call returned.
            witness: another hook to register.
        """
        if torch._C._len_torch_dispatch_stack():
            return
        hooks = [] if witness is None else [witness]
        if self.follows:
            hooks.append(self._use_of_one_call() if self.backpropagated else self._note_backward)
        tensors = 0
        for tensor in itertools.islice(_values(result), _MOST_VALUES):
            if type(tensor) not in (torch.Tensor, nn.Parameter):
                continue
            if torch._C._functorch.is_functorch_wrapped_tensor(tensor) or tensor.grad_fn is None:
                continue
            for each in hooks:
                tensor.grad_fn.register_prehook(each)
            tensors += 1
            if tensors == _MOST_TENSORS:
                return

    def _use_of_one_call(self) -> Callable[[Any], None]:
        """A hook that notes that a loss uses the result of this one call."""
        used = [False]
        self._unsettled.append(used)

        def note(gradients: Any) -> None:
            used[0] = True

        return note

    def _note_backward(self, gradients: Any) -> None:
        if not self.backpropagated:
            self.backpropagated = True
            self.reached.append(self)


def _is_intercepted() -> bool:
    """Whether a mode of the program would see an operation on a tensor."""
    return bool(torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack())


def _values(value: Any, depth: int = 3) -> Iterator[Any]:
    """A value and its contents: items of containers, attributes of objects (without running properties)."""
    yield value
    if not depth or isinstance(value, (torch.Tensor, nn.Module, type)):
        return
    if isinstance(value, (tuple, list)):
        contents: Iterable[Any] = value
    elif isinstance(value, Mapping):
        contents = value.values()
    else:
        slots = (vars(kind).get("__slots__", ()) for kind in type(value).__mro__)
        names = [name for each in slots for name in ((each,) if isinstance(each, str) else each)]
        contents = [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in names)]
    for each in contents:
        yield from _values(each, depth - 1)
