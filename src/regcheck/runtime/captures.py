"""Captures of calls: copies of the inputs, made before the call can change them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from typing import Any

import torch
from torch import nn

from regcheck.core.coverage import Coverage
from regcheck.keras_api.layer_tree import named_parts
from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.mode_arguments import is_tied, tied

from .models import bytes_of, is_training, parts, stored
from .trained_parameters import Snapshot, snapshot
from .weak_state import RevivableRef

MOST_ELEMENTS = 16_000_000
"""The most elements that the inputs of a captured call may have."""

MOST_BYTES = 512 * 2**20
"""The most bytes of inputs, and of parameters of models that the program has released, between two drains."""

MOST_CALLS = 100
"""The most captured calls between two drains."""

_ATOMS = (bool, int, float, complex, str, bytes, Enum, slice, range, type, torch.dtype, torch.device, torch.Size)


class CannotCopy(Exception):
    """The inputs of a call cannot be copied; the message says why."""


@dataclass(frozen=True, eq=False)
class Capture:
    """One call of a model: the live model, copies of its inputs, and the `training` flag of every module at the call.

    Attributes:
        args: the positional inputs; a `ModeFlag` stands for a mode that agrees with the model's.
        kwargs: the inputs by name, likewise.
        model_key: the fingerprint of the model's structure, equal for models that are built alike.
        whole: False where a method of a larger module made the call: the model is a part of that module.
        autocast: device type and dtype of each autocast context that was active.
        before: what a training call found in the model, where it moves running statistics.
        form: equal for calls that replay alike, see `call_form`.
        inert: the coverage of a call that does nothing which a rule starts from, in either mode; else None.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    modes: Mapping[str, bool]
    model_key: str
    whole: bool = True
    autocast: tuple[tuple[str, torch.dtype], ...] = ()
    before: Snapshot | None = None
    form: object = None
    inert: Coverage | None = None


def active_autocast() -> tuple[tuple[str, torch.dtype], ...]:
    """Device type and dtype of each autocast context that is active in this thread."""
    return tuple(
        (kind, torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda", "mps", "xpu")
        if torch.is_autocast_enabled(kind)
    )


class Captures:
    """The captures since the last drain. They do not keep models alive; see `RevivableRef`."""

    def __init__(self) -> None:
        self._entries: list[tuple[RevivableRef[nn.Module], Capture]] = []
        self._input_bytes = self._model_bytes = 0
        self._begun: int | None = None
        self._returned: dict[int, Coverage | None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self, model: nn.Module, args: Any, kwargs: Any, model_key: str, whole: bool, index: int | None = None
    ) -> int:
        """Capture a call before it runs; returns its index. An `index` names a capture that raised, to be replaced.

        Raises:
            CannotCopy: the inputs cannot be copied, or a limit is reached.
        """
        if index is None and len(self._entries) >= MOST_CALLS:
            raise CannotCopy(f"those of {MOST_CALLS} calls are captured already")
        if self._input_bytes >= MOST_BYTES:
            raise CannotCopy(f"{MOST_BYTES >> 20} MB are captured already")
        inputs = copy_inputs(*tied(model.forward, args, kwargs, model.training))
        self._input_bytes += sum(part.nbytes for each in _leaves(inputs) for part in stored(each))
        size = bytes_of(model)
        weak_only = bool(self._model_bytes) and self._model_bytes + size > MOST_BYTES
        self._model_bytes += 0 if weak_only else size
        flags = {name: is_training(each) for name, each in named_parts(model) if hasattr(each, "training")}
        index = len(self._entries) if index is None else index
        autocast = active_autocast()
        with _copying():
            before = snapshot(model)
        form = call_form(model, args, kwargs)
        capture = Capture(_PLACEHOLDER, *inputs, flags, model_key, whole, autocast, before, form)
        self._entries[index : index + 1] = [(RevivableRef(model, weak_only), capture)]
        self._begun = index
        return index

    def pop_begun(self) -> int | None:
        """The index of the capture added since the last call of this method, if any."""
        index, self._begun = self._begun, None
        return index

    def note_returned(self, index: int, inert: Coverage | None = None) -> None:
        """Note that a captured call returned, with its coverage if it does nothing that a rule starts from."""
        capture = self._entries[index][1]
        self._returned[index] = None if is_tied(capture.args, capture.kwargs) else inert

    def has_raised(self, index: int | None) -> bool:
        """Whether a captured call has not returned: its inputs are useless for a measurement."""
        return index is not None and index not in self._returned

    def completed(self) -> dict[int, Capture]:
        """The captures, by index, of calls that returned and of models that are still available."""
        models = {index: self._entries[index][0].get() for index in sorted(self._returned)}
        return {
            index: replace(self._entries[index][1], model=model, inert=self._returned[index])
            for index, model in models.items()
            if model is not None
        }

    def vanished(self) -> list[tuple[str, str]]:
        """The structure keys and names of captured models that are no longer available."""
        entries = [self._entries[index] for index in sorted(self._returned)]
        return [(capture.model_key, model.name) for model, capture in entries if model.get() is None]

    def raised_structures(self) -> dict[str, str]:
        """The structure keys of models whose captured call raised, each with the model's name."""
        entries = [each for index, each in enumerate(self._entries) if self.has_raised(index)]
        return {capture.model_key: model.name for model, capture in entries}


_PLACEHOLDER = nn.Module()

CallState = tuple[str, bool, bool, object]
"""Model structure, mode, grad mode and form of a call: one call of each state is captured."""


def call_form(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    """The nesting and ranks of a call's inputs, and whether hooks run: equal for calls that replay alike."""
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


def varying_values(capture: Capture) -> int:
    """The number of values in a call's tensors, without tensors that repeat one value."""
    with torch.no_grad():
        return sum(each.numel() for each in _leaves((capture.args, capture.kwargs)) if _varies(each))


def _varies(tensor: torch.Tensor) -> bool:
    try:
        return not torch.equal(tensor, tensor.flatten()[:1].expand(tensor.numel()).view(tensor.shape))
    except RuntimeError:  # a sparse or quantized tensor, say
        return True


def copy_inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Detached copies of a call's `args` and `kwargs`.

    Raises:
        CannotCopy: an input cannot be copied, or is too large.
    """
    if torch._C._len_torch_dispatch_stack():
        raise CannotCopy("it ran under a dispatch mode, which would see the copying")
    with _copying():
        copier = _Copier()
        return tuple(copier(each) for each in args), {name: copier(each) for name, each in kwargs.items()}


@contextmanager
def _copying() -> Iterator[None]:
    """Copy tensors unseen by function modes, and without gradients."""
    with torch._C.DisableTorchFunction(), torch.inference_mode(False), torch.no_grad():
        yield


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
        if self._elements > MOST_ELEMENTS:
            raise CannotCopy(f"its inputs have more than {MOST_ELEMENTS:,} elements")
        return value.clone()
