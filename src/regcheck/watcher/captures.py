"""The inputs of a call, copied before the call can change them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import nn

LIMIT = 16_000_000
"""A call whose inputs have more elements than this is not captured."""

_ATOMS = (bool, int, float, complex, str, bytes, Enum, slice, range, type, torch.dtype, torch.device, torch.Size)


class CannotCopy(Exception):
    """Why the inputs of a call cannot be kept."""


@dataclass(frozen=True, eq=False)
class Capture:
    """One call of a model: the live model, copies of its inputs, and the flag of every module as it was.

    `model_key` is equal for models that are built alike. `whole` is False where the call was made by a method of
    a larger module that contains this one: then this is a part, whatever it is called.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    modes: Mapping[str, bool]
    model_key: str
    whole: bool = True


def copied(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Detached copies of a call's inputs.

    Raises:
        CannotCopy: an input cannot be copied, or is too large.
    """
    if torch._C._len_torch_dispatch_stack():
        raise CannotCopy("it ran under a dispatch mode, which would see the copying")
    with torch._C.DisableTorchFunction(), torch.inference_mode(False), torch.no_grad():
        copier = _Copier()
        return tuple(copier(each) for each in args), {name: copier(each) for name, each in kwargs.items()}


class _Copier:
    def __init__(self) -> None:
        self._elements = 0

    def __call__(self, value: Any) -> Any:
        if value is None or isinstance(value, (*_ATOMS, nn.Module)):
            return value
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(self(each) for each in value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self(each) for each in value))
        if isinstance(value, dict) and type(value).__module__ in ("builtins", "collections"):
            twin = copy.copy(value)
            twin.update((key, self(each)) for key, each in value.items())
            return twin
        try:
            return copy.deepcopy(value)
        except Exception as error:
            raise CannotCopy(f"an input of type {type(value).__name__} cannot be copied: {error}") from None

    def _tensor(self, value: torch.Tensor) -> torch.Tensor:
        if type(value) not in (torch.Tensor, nn.Parameter) or torch._C._functorch.is_functorch_wrapped_tensor(value):
            raise CannotCopy(f"an input is a {type(value).__name__} that only lives inside the call")
        if value.is_cuda and torch.cuda.is_current_stream_capturing():
            raise CannotCopy("it ran while a CUDA graph was being captured")
        self._elements += value.numel()
        if self._elements > LIMIT:
            raise CannotCopy(f"its inputs have more than {LIMIT:,} elements")
        return value.clone()
