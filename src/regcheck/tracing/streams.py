"""Detect random draws by the state of the generators, and the user's line that makes them."""

from __future__ import annotations

import ctypes
import random
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import nn

from regcheck.core.errors import stops
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

from .accelerators import in_use, states
from .call_interceptor import TorchCallInterceptor, eager, is_placed, name_of
from .forward_call import run
from .running import Locate
from .script_interpreter import is_opaque_script
from .user_line import calling_place, is_user_code, runs_the_model

State = tuple[Any, ...]


class TorchStream:
    """Detects that torch's default generators advanced."""

    def __init__(self) -> None:
        self._state = torch_state()

    def moved(self) -> bool:
        """Whether a generator advanced since the last call of this method."""
        before, self._state = self._state, torch_state()
        return self._state != before


def torch_state() -> State:
    """The states of the default generators of the CPU and of an accelerator in use, read without entering any mode."""
    module = in_use()
    on_accelerator = [] if module is None else states(module)
    on_cpu = torch._C.Generator.get_state(torch.default_generator)
    return tuple(ctypes.string_at(each.data_ptr(), each.numel()) for each in (on_cpu, *on_accelerator))


def python_state() -> State:
    """The state of Python's global random stream."""
    return random.getstate()


def numpy_state() -> State:
    """The state of NumPy's global random stream; NumPy is not imported for it."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return ()
    _, words, *rest = numpy.random.get_state()
    return words.tobytes(), tuple(rest)


STATES = {"Python's": python_state, "NumPy's": numpy_state, "torch's": torch_state}
"""The function that reads each stream's state, by the stream's owner as messages name it."""


@dataclass(frozen=True)
class HiddenDraw:
    """A line that draws random numbers outside of any op: the stream's owner, and the running module."""

    source: str
    module: str
    place: Place | None


@runs_the_model
def hidden_draws(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], locate: Locate | None = None
) -> tuple[HiddenDraw, ...]:
    """Run the model again, line by line, and return the lines that advance a generator other than by a torch call.

    It takes many times as long as a forward, and sees lines of this thread only.
    """
    listener = _Listener(model, locate)
    before = sys.gettrace()
    with eager(), listener.watching():
        sys.settrace(listener.trace)
        try:
            run(model, args, kwargs)
        except BaseException as error:  # the draws before the error are valid all the same
            if stops(error):
                raise
        finally:
            sys.settrace(before)
    listener.compare()
    return tuple(listener.draws)


class _Listener(TorchCallInterceptor):
    """Compares the generators between the user's lines; draws of torch calls do not count."""

    def __init__(self, model: nn.Module, locate: Locate | None) -> None:
        super().__init__(model, locate)
        self.draws: dict[HiddenDraw, None] = {}
        self._states = {source: state() for source, state in STATES.items()}
        self._at: tuple[str, Place | None] = "", None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if is_placed(name_of(func)):
            self._states["torch's"] = torch_state()
        return result

    def left(self, module: nn.Module, args: Any, result: Any) -> None:
        if is_opaque_script(module):
            self._states["torch's"] = torch_state()

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        """The interpreter's trace function; the line that ran is the one of the event before."""
        if not is_user_code(frame.f_code.co_filename):
            return None
        self.compare()
        at = frame.f_back if event == "return" else frame
        self._at = self.running.module, calling_place(at)
        return self.trace

    def compare(self) -> None:
        """Note the generators that advanced since the event before."""
        for source, state in STATES.items():
            now = state()
            if now != self._states[source]:
                self._states[source] = now
                self.draws[HiddenDraw(source, *self._at)] = None
