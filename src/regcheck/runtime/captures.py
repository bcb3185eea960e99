"""The inputs of a call, copied before the call can change them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import nn

from .models import bytes_of, parts, stored
from .weak_state import RevivableRef

LIMIT = 16_000_000
"""A call whose inputs have more elements than this is not captured."""

KEPT = 512 * 2**20
"""Of one take, no more bytes of inputs than this are kept, and none of the parameters of models that are gone."""

MOST = 100
"""No more calls than this are captured between two takes."""

_ATOMS = (bool, int, float, complex, str, bytes, Enum, slice, range, type, torch.dtype, torch.device, torch.Size)


class CannotCopy(Exception):
    """Why the inputs of a call cannot be kept."""


@dataclass(frozen=True, eq=False)
class Capture:
    """One call of a model: the live model, copies of its inputs, and the flag of every module as it was.

    `model_key` is equal for models that are built alike. `whole` is False where the call was made by a method of
    a larger module that contains this one: then this is a part, whatever it is called. `autocast` tells for which
    kinds of device autocast was on, and to which dtype.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    modes: Mapping[str, bool]
    model_key: str
    whole: bool = True
    autocast: tuple[tuple[str, torch.dtype], ...] = ()


def autocast_here() -> tuple[tuple[str, torch.dtype], ...]:
    """For which kinds of device autocast is on in this thread, and to which dtype."""
    return tuple(
        (kind, torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda", "mps", "xpu")
        if torch.is_autocast_enabled(kind)
    )


class Captures:
    """The captures of one take. Models are let go of when the program lets go of them; see `RevivableRef`."""

    def __init__(self) -> None:
        self._kept: list[tuple[RevivableRef[nn.Module], Capture]] = []
        self._input_bytes = self._model_bytes = 0
        self._begun: int | None = None
        self._returned: set[int] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def add(
        self, model: nn.Module, args: Any, kwargs: Any, model_key: str, whole: bool, index: int | None = None
    ) -> int:
        """Keep a call that is about to be made; its index, which may be that of one that raised.

        Raises:
            CannotCopy: its inputs cannot be kept.
        """
        if index is None and len(self._kept) >= MOST:
            raise CannotCopy(f"those of {MOST} calls were kept already")
        if self._input_bytes >= KEPT:
            raise CannotCopy(f"{KEPT >> 20} MB were kept already")
        inputs = copied(args, kwargs)
        kept = (part for each in _leaves(inputs) for part in stored(each))
        self._input_bytes += sum(part.nbytes for part in kept)
        weight = bytes_of(model)
        light = bool(self._model_bytes) and self._model_bytes + weight > KEPT
        self._model_bytes += 0 if light else weight
        flags = {name: each.training for name, each in model.named_modules() if hasattr(each, "training")}
        index = len(self._kept) if index is None else index
        capture = Capture(_GONE, *inputs, flags, model_key, whole, autocast=autocast_here())
        self._kept[index : index + 1] = [(RevivableRef(model, light), capture)]
        self._begun = index
        return index

    def begun(self) -> int | None:
        """The index of the call that was kept since this was asked last, if one was."""
        index, self._begun = self._begun, None
        return index

    def returned(self, index: int) -> None:
        """Note that a kept call came to its end."""
        self._returned.add(index)

    def raised(self, index: int | None) -> bool:
        """Whether a kept call did not come to its end: there is nothing to measure with its inputs."""
        return index is not None and index not in self._returned

    def taken(self) -> dict[int, Capture]:
        """What was kept, by its index, of calls that came to their end and models that are still to be had."""
        models = {index: self._kept[index][0].get() for index in sorted(self._returned)}
        return {i: replace(self._kept[i][1], model=model) for i, model in models.items() if model is not None}

    def gone(self) -> list[tuple[str, str]]:
        """The keys of the structures, and the names, of models that are not to be had any more."""
        kept = [self._kept[index] for index in sorted(self._returned)]
        return [(capture.model_key, held.name) for held, capture in kept if held.get() is None]

    def broken(self) -> dict[str, str]:
        """The keys of the structures of which a kept call raised, each with the model's name."""
        kept = [each for index, each in enumerate(self._kept) if self.raised(index)]
        return {capture.model_key: held.name for held, capture in kept}


_GONE = nn.Module()

State = tuple[str, bool, bool, object]
"""What calls are alike in: the structure, whether it acts as in training, the grad mode, and the form of the call."""


def form_of(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    """What a call that can be made again has in common with others: how its inputs are nested, and that hooks ran."""
    hooked = any(each._forward_pre_hooks or each._forward_hooks for each in parts(module))
    return hooked, _nesting(args), _nesting(dict(kwargs))


def _nesting(value: Any, depth: int = 0) -> object:
    if isinstance(value, torch.Tensor):
        return value.dim()
    if depth < _DEEPEST and isinstance(value, Mapping):
        return frozenset((str(name), _nesting(each, depth + 1)) for name, each in value.items())
    if depth < _DEEPEST and isinstance(value, tuple) and depth == 0:
        return tuple(_nesting(each, depth + 1) for each in value)
    if depth < _DEEPEST and isinstance(value, (tuple, list)):
        return type(value).__name__, frozenset(_nesting(each, depth + 1) for each in value)
    return type(value).__name__


_DEEPEST = 4


def _leaves(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _leaves(each)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _leaves(each)


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
        if type(value) not in (torch.Tensor, nn.Parameter):
            raise CannotCopy(f"an input is of the class {type(value).__name__}, and only plain tensors are copied")
        if torch._C._functorch.is_functorch_wrapped_tensor(value):
            raise CannotCopy("an input only lives inside a transform of torch.func")
        if value.is_cuda and torch.cuda.is_current_stream_capturing():
            raise CannotCopy("it ran while a CUDA graph was being captured")
        self._elements += sum(part.numel() for part in stored(value))
        if self._elements > LIMIT:
            raise CannotCopy(f"its inputs have more than {LIMIT:,} elements")
        return value.clone()
