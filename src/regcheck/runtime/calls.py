"""Model calls, mode changes and backward passes, as wrappers of torch's own functions.

Only root calls are noted: a module called from inside another one's call passes through at the price of two checks, and
without a frame of its own where nobody else has wrapped the call.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, ClassVar

import torch
from torch import nn

from .thread_targets import Thread, above

Follow = Callable[[Any], None]
"""Is given the result of a call."""

NoteCall = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], FrameType], Follow | None]
NoteMode = Callable[[nn.Module, bool, FrameType], None]


class _Thread(threading.local):
    """Whether this thread is inside a call that sets modes."""

    inside = False


class Patches:
    """Attributes that a watch has put wrappers in place of, and can put back.

    Watches may begin and end in any order. A wrapper that another watch has wrapped meanwhile is taken out from under
    it; one that somebody else has wrapped stays, and notes nothing.
    """

    _standing: ClassVar[list[_Patch]] = []
    _lock: ClassVar = threading.RLock()

    def __init__(self) -> None:
        self._mine: list[_Patch] = []

    def put(self, owner: Any, name: str, wrap: Callable[..., Any], note: Callable[..., Any]) -> None:
        """Wrap an attribute."""
        with self._lock:
            original = vars(owner)[name]
            patch = _Patch(owner, name, original, wrap(original, note))
            setattr(owner, name, patch.replacement)
            self._mine.append(patch)
            self._standing.append(patch)

    def take_back(self) -> None:
        """Put back every attribute that was wrapped."""
        with self._lock:
            while self._mine:
                patch = self._mine.pop()
                self._standing.remove(patch)
                if vars(patch.owner).get(patch.name) is patch.replacement:
                    setattr(patch.owner, patch.name, patch.original)
                for each in self._standing:
                    if each.original is patch.replacement:
                        each.wrap(patch.original)


@dataclass(eq=False)
class _Patch:
    """One attribute with a wrapper in its place."""

    owner: Any
    name: str
    original: Any
    replacement: Any

    def wrap(self, another: Any) -> None:
        """Let the wrapper call another original."""
        for cell in self.replacement.__closure__:
            with contextlib.suppress(ValueError):  # a cell may be empty
                if cell.cell_contents is self.original:
                    cell.cell_contents = another
        self.original = self.replacement.__wrapped__ = another


def calling(original: Callable[..., Any], note: NoteCall, thread: Thread) -> Callable[..., Any]:
    """`Module.__call__`, telling `note` of every root call before it is made, and what `note` returns of its result."""
    is_compiling, is_tracing = torch.compiler.is_compiling, torch.compiler.is_dynamo_compiling
    own = original is vars(nn.Module).get("_wrapped_call_impl")

    @functools.wraps(original)
    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807, it replaces a method
        __tracebackhide__ = True
        # Asked in this order, a compiled program does not depend on the state of the thread.
        if is_tracing() or thread.inside:
            if own and self._compiled_call_impl is None:
                return self._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return original(self, *args, **kwargs)
        if is_compiling():
            return original(self, *args, **kwargs)
        thread.inside = True
        try:
            follow = note(self, args, kwargs, above(sys._getframe()))
            result = original(self, *args, **kwargs)
            if follow is not None:
                follow(result)
            return result
        finally:
            thread.inside = False

    return __call__


def setting_mode(original: Callable[..., Any], note: NoteMode) -> Callable[..., Any]:
    """`Module.train`, telling `note` of the outermost call after it was made."""
    thread = _Thread()
    is_compiling = torch.compiler.is_compiling

    @functools.wraps(original)
    def train(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if is_compiling() or thread.inside:
            return original(self, *args, **kwargs)
        thread.inside = True
        try:
            result = original(self, *args, **kwargs)
            note(self, self.training, above(sys._getframe()))
            return result
        finally:
            thread.inside = False

    return train


def loading(original: Callable[..., Any], note: Callable[[nn.Module, FrameType], None]) -> Callable[..., Any]:
    """`Module.load_state_dict`, telling `note` of the call after it was made."""

    @functools.wraps(original)
    def load_state_dict(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        result = original(self, *args, **kwargs)
        note(self, above(sys._getframe()))
        return result

    return load_state_dict


def back_propagating(original: Callable[..., Any], note: Callable[[FrameType], None]) -> Callable[..., Any]:
    """`torch.autograd.backward`, through which `Tensor.backward` goes too, or `torch.autograd.grad`."""
    is_compiling = torch.compiler.is_compiling

    @functools.wraps(original)
    def propagate(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        result = original(*args, **kwargs)
        if not is_compiling():
            note(above(sys._getframe()))
        return result

    return propagate
