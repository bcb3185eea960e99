"""Measurements of one process never wait for the others."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from regcheck.core.errors import CannotMeasure
from regcheck.tracing.unwrap import processes

_NAMESPACES = ("c10d", "_c10d_functional", "_c10d_functional_autograd")


def without_communication() -> AbstractContextManager[Any]:
    """In one of several processes, refuses collective and point-to-point operations: the others do not take part.

    Such an operation then raises `CannotMeasure` before it begins.
    """
    if processes() == 1:
        return nullcontext()
    refusal: AbstractContextManager[Any] = _Refusal()  # type: ignore[no-untyped-call]
    return refusal


class _Refusal(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has not typed its own
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace in _NAMESPACES:
            raise CannotMeasure(f"`{func.__name__}` waits for the other processes, which do not run the model again")
        return func(*args, **(kwargs or {}))
