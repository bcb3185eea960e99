"""Whether random numbers were drawn, told by the state of the generators, and on which line of the user's."""

from __future__ import annotations

import ctypes
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import nn

from regcheck.core.errors import stops
from regcheck.files.place import Place

from .accelerators import in_use, states
from .call_interceptor import TorchCallInterceptor, eager, is_placed, name_of
from .running import Locate
from .user_line import calling_place, is_the_users, runs_the_model

State = tuple[Any, ...]


class TorchStream:
    """Notices that torch's default generators moved on, whoever moved them."""

    def __init__(self) -> None:
        self._state = torch_state()

    def moved(self) -> bool:
        """Whether anything was drawn since this was asked last."""
        before, self._state = self._state, torch_state()
        return self._state != before


def torch_state() -> State:
    """The state of the default generators, of the CPU and of any accelerator in use; no mode sees it being read."""
    module = in_use()
    there = [] if module is None else states(module)
    here = torch._C.Generator.get_state(torch.default_generator)
    return tuple(ctypes.string_at(each.data_ptr(), each.numel()) for each in (here, *there))


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
"""How to read the state of each stream, by the word for it in messages."""


@dataclass(frozen=True)
class HiddenDraw:
    """A line that draws random numbers which no op of a graph tells: whose they are, and inside which module."""

    source: str
    module: str
    place: Place | None


@runs_the_model
def hidden_draws(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], locate: Locate | None = None
) -> tuple[HiddenDraw, ...]:
    """Run the model once more, line by line, and tell which lines move a generator other than by a torch call.

    That takes many times as long as a forward, and only what runs in this thread is told by its own line.
    """
    listener = _Listener(model, locate)
    before = sys.gettrace()
    with eager(), listener.watching():
        sys.settrace(listener.trace)
        try:
            model(*args, **kwargs)
        except BaseException as error:  # what was found before it raised is true all the same
            if stops(error):
                raise
        finally:
            sys.settrace(before)
    listener.compare()
    return tuple(listener.found)


class _Listener(TorchCallInterceptor):
    """Compares the generators between the user's lines; what torch calls are known to draw is let pass."""

    def __init__(self, model: nn.Module, locate: Locate | None) -> None:
        super().__init__(model, locate)
        self.found: dict[HiddenDraw, None] = {}
        self._states = {source: state() for source, state in STATES.items()}
        self._at: tuple[str, Place | None] = "", None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if is_placed(name_of(func)):
            self._states["torch's"] = torch_state()
        return result

    def left(self, module: nn.Module, args: Any, result: Any) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            self._states["torch's"] = torch_state()

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        """What the interpreter calls at every line; the line that ran is the one noted at the event before."""
        if not is_the_users(frame.f_code.co_filename):
            return None
        self.compare()
        at = frame.f_back if event == "return" else frame
        self._at = self.running.module, calling_place(at)
        return self.trace

    def compare(self) -> None:
        """Note the generators that moved since the event before."""
        for source, state in STATES.items():
            now = state()
            if now != self._states[source]:
                self._states[source] = now
                self.found[HiddenDraw(source, *self._at)] = None
