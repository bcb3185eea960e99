"""Model calls, mode changes and backward passes, as wrappers of torch's own functions.

Only root calls are noted: a module called from inside another one's call passes through at the price of two checks.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import nn

NoteCall = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], FrameType], None]
NoteMode = Callable[[nn.Module, bool, FrameType], None]


class _Thread(threading.local):
    """Whether this thread is inside a call that was noted."""

    inside = False


def calling(original: Callable[..., Any], note: NoteCall) -> Callable[..., Any]:
    """`Module.__call__`, telling `note` of every root call before it is made."""
    thread = _Thread()
    is_compiling = torch.compiler.is_compiling

    @functools.wraps(original)
    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807, it replaces a method
        __tracebackhide__ = True
        if is_compiling() or thread.inside:
            return original(self, *args, **kwargs)
        thread.inside = True
        try:
            note(self, args, kwargs, sys._getframe(1))
            return original(self, *args, **kwargs)
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
            note(self, self.training, sys._getframe(1))
            return result
        finally:
            thread.inside = False

    return train


def back_propagating(original: Callable[..., None], note: Callable[[FrameType], None]) -> Callable[..., None]:
    """`torch.autograd.backward`, through which `Tensor.backward` goes too."""
    is_compiling = torch.compiler.is_compiling

    @functools.wraps(original)
    def backward(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        original(*args, **kwargs)
        if not is_compiling():
            note(sys._getframe(1))

    return backward
