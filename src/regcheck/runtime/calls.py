"""Wrappers of torch's functions that report model calls, mode changes and backward passes.

They report root calls only: a module called from inside another call costs two checks, and adds no stack frame where
no other tool has wrapped the call.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import nn

from regcheck.core.coverage import Coverage
from regcheck.lazy_dataclass import dataclass

from .thread_targets import ThreadState, caller_frame

OnResult = Callable[[Any], None]
"""Receives the result of a call."""


class Profiler(AbstractContextManager["Profiler"], Protocol):
    """Goes around one call, unnoticed, and shows what it did."""

    def note_call(self, module: nn.Module) -> None:
        """Note that the call calls a module."""

    def inert_coverage(self, result: Any) -> Coverage | None:
        """The coverage of a call that does nothing which a rule starts from; None for any other call."""


class Following(NamedTuple):
    """What follows a reported call: who receives its result, and the profiler to run it under, if any."""

    on_result: OnResult
    profiler: Profiler | None = None


OnCall = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], FrameType], Following | None]
OnMode = Callable[[nn.Module, bool, FrameType], None]


class _Nesting(threading.local):
    """Whether this thread is inside a `train()` call."""

    inside = False


class Patches:
    """Attributes that one recorder has replaced by wrappers, and can restore.

    Recorders may start and stop in any order. A wrapper that another recorder has wrapped since leaves the chain; one
    that other code has wrapped stays in place and reports nothing.
    """

    _installed: ClassVar[list[_Patch]] = []
    _lock: ClassVar = threading.RLock()

    def __init__(self) -> None:
        self._own: list[_Patch] = []

    def put(self, owner: Any, name: str, wrap: Callable[..., Any], note: Callable[..., Any]) -> None:
        """Replace an attribute by `wrap(original, note)`."""
        with self._lock:
            original = vars(owner)[name]
            patch = _Patch(owner, name, original, wrap(original, note))
            setattr(owner, name, patch.replacement)
            self._own.append(patch)
            self._installed.append(patch)

    def restore(self) -> None:
        """Restore every attribute that this recorder has replaced."""
        with self._lock:
            while self._own:
                patch = self._own.pop()
                self._installed.remove(patch)
                if vars(patch.owner).get(patch.name) is patch.replacement:
                    setattr(patch.owner, patch.name, patch.original)
                for each in self._installed:
                    if each.original is patch.replacement:
                        each.wrap(patch.original)


@dataclass(eq=False)
class _Patch:
    """One replaced attribute."""

    owner: Any
    name: str
    original: Any
    replacement: Any

    def wrap(self, another: Any) -> None:
        """Make the wrapper call another original."""
        for cell in self.replacement.__closure__:
            with contextlib.suppress(ValueError):  # a cell may be empty
                if cell.cell_contents is self.original:
                    cell.cell_contents = another
        self.original = self.replacement.__wrapped__ = another


def wrap_call(original: Callable[..., Any], note: OnCall, thread: ThreadState) -> Callable[..., Any]:
    """`Module.__call__` that reports each root call to `note` before it runs, and its result to what `note` returns."""
    is_compiling, is_tracing = torch.compiler.is_compiling, torch.compiler.is_dynamo_compiling
    own = original is vars(nn.Module).get("_wrapped_call_impl")

    @functools.wraps(original)
    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807, it replaces a method
        __tracebackhide__ = True
        # In this order a compiled program does not depend on the state of the thread.
        compiles = is_tracing()
        if compiles or thread.inside:
            if not compiles and thread.on_inner_call is not None:
                thread.on_inner_call(self)
            if own and self._compiled_call_impl is None:
                return self._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return original(self, *args, **kwargs)
        if is_compiling():
            return original(self, *args, **kwargs)
        thread.inside = True
        try:
            following = note(self, args, kwargs, caller_frame(sys._getframe()))
            if following is None:
                return original(self, *args, **kwargs)
            if following.profiler is None:
                result = original(self, *args, **kwargs)
            else:
                thread.on_inner_call = following.profiler.note_call
                with following.profiler:
                    result = original(self, *args, **kwargs)
            following.on_result(result)
            return result
        finally:
            thread.inside, thread.on_inner_call = False, None

    return __call__


def wrap_train(original: Callable[..., Any], note: OnMode) -> Callable[..., Any]:
    """`Module.train` that reports each outermost call to `note` after it ran."""
    thread = _Nesting()
    is_compiling = torch.compiler.is_compiling

    @functools.wraps(original)
    def train(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if is_compiling() or thread.inside:
            return original(self, *args, **kwargs)
        thread.inside = True
        try:
            result = original(self, *args, **kwargs)
            note(self, self.training, caller_frame(sys._getframe()))
            return result
        finally:
            thread.inside = False

    return train


def wrap_load_state_dict(
    original: Callable[..., Any], note: Callable[[nn.Module, FrameType], None]
) -> Callable[..., Any]:
    """`Module.load_state_dict`; reports each call to `note` after it."""

    @functools.wraps(original)
    def load_state_dict(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        result = original(self, *args, **kwargs)
        note(self, caller_frame(sys._getframe()))
        return result

    return load_state_dict


def wrap_backward(original: Callable[..., Any], note: Callable[[FrameType, Any], None]) -> Callable[..., Any]:
    """`torch.autograd.backward` (also of `Tensor.backward`) or `torch.autograd.grad`.

    Reports each call to `note`, with the first argument: the tensors that the backward pass starts from.
    """
    is_compiling = torch.compiler.is_compiling

    @functools.wraps(original)
    def propagate(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        result = original(*args, **kwargs)
        if not is_compiling():
            note(caller_frame(sys._getframe()), args[0] if args else next(iter(kwargs.values())))
        return result

    return propagate
