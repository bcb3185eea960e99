"""Leave no trace: whatever an audit runs, the program's state is as it was afterwards."""

from __future__ import annotations

import copy
import io
import random
import sys
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout, suppress
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.errors import CannotMeasure, CannotTrace, told
from regcheck.trace.lazy import is_lazy, lazy_buffers
from regcheck.watcher.models import stored

from .reach import held_by_functions
from .reductions import fingerprint, pieces
from .seeds import Streams

_streams: ContextVar[Streams | None] = ContextVar("streams", default=None)
"""The random streams of the world that shall be left untouched."""

_originals: Any = WeakIdKeyDictionary()
"""Of each tensor of a copied model the one it was copied from: as that one is not run, it keeps the values."""


@contextmanager
def world_untouched() -> Iterator[None]:
    """Put back random streams, grad mode, default dtype and anomaly mode; what is printed or warned of is dropped."""
    numpy = sys.modules.get("numpy")
    python_state, streams = random.getstate(), Streams()
    numpy_state = numpy.random.get_state() if numpy is not None else None
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    detecting = torch.is_anomaly_enabled()
    token = _streams.set(streams)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        _streams.reset(token)
        random.setstate(python_state)
        streams.put_back()
        if numpy is not None and numpy_state is not None:
            numpy.random.set_state(numpy_state)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(detecting)


def use(device: str) -> None:
    """Have the random streams of a device put back with all others in the end.

    Raises:
        CannotMeasure: it cannot be used.
    """
    streams = _streams.get()
    try:
        if streams is not None:
            streams.begin_to_use(device)
    except Exception as error:
        raise CannotMeasure(f"{device} cannot be used: {told(error)}") from error


@contextmanager
def workspace(model: nn.Module, run: bool = True) -> Iterator[Callable[[], nn.Module]]:
    """Gives copies of `model` to run and to change, each in the state that the model is in.

    Where it cannot be copied they are the model itself, put back before the next and in the end; what a lazy model
    became by its first run, the next copy is. A model that will not be run is not copied, and its values are not kept.
    """
    held = [*held_by_functions(model)]
    containers = [(each, copy.copy(each)) for each in held if not isinstance(each, nn.Module)]
    lazy: list[nn.Module] = []

    def put_back() -> None:
        for container, contents in containers:
            _refill(container, contents)

    with ExitStack() as stack:

        def fresh() -> nn.Module:
            stack.close()
            stack.callback(put_back)
            if lazy:
                return lazy[0]
            with suppress(CannotMeasure):
                if run:
                    twin = copied(model, held=held)
                    lazy.extend([twin] * is_lazy(twin))
                    return twin
            stack.enter_context(unchanged(model, values=run))
            return model

        yield fresh


def copied(model: nn.Module, device: str = "", held: Iterable[Any] | None = None) -> nn.Module:
    """A copy of `model`, for measurements that change its modes: where it is, or with all it holds on a device.

    To another device its tensors are copied at once, those of layers in plain containers too, with no copy between.
    `held` is what its functions hold on to, where that is known already.

    Raises:
        CannotMeasure: the model cannot be copied, or a copy would run parts of the original.
    """
    own = {id(each) for each in model.modules()}
    if any(id(each) in own for each in (held_by_functions(model) if held is None else held)):
        raise CannotMeasure("the model cannot be copied: a function kept on it refers to it")
    memo = _lent(model) | _empty(model) | lazy_buffers(model)
    try:
        with _To(device) if device else nullcontext():
            twin = copy.deepcopy(model, memo)
        twin = twin.to(device) if device else twin  # what is not copied as tensors are: lazy parameters
    except Exception as error:
        raise CannotMeasure(f"the model cannot be copied{f' to {device}' * bool(device)}: {told(error)}") from error
    for original in memo.get(id(memo), ()):
        if isinstance(original, torch.Tensor) and not nn.parameter.is_lazy(original):
            _originals[memo[id(original)]] = _originals.get(original, original)
    return twin


def left_by(model: nn.Module) -> str:
    """What a copy on another device does without, in words to follow an error; empty where it has all."""
    held = any(isinstance(each, nn.Module) for each in held_by_functions(model))
    return "; a function that the model keeps refers to layers, which are not copied with it" if held else ""


class _To(TorchFunctionMode):
    """Copies of tensors are made on a device; that of a parameter is the clone of its data."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.clone:
            return args[0].to(self._device, copy=True)
        if func is not torch.Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            made = tensor.detach().to(self._device, copy=True).requires_grad_(tensor.requires_grad)
            if type(tensor) is torch.Tensor:
                made.__dict__.update(copy.deepcopy(tensor.__dict__, memo))
            memo[id(tensor)] = made
        return memo[id(tensor)]


def _lent(model: nn.Module) -> dict[int, Any]:
    """What a copy shares with the original: the trainer that a Lightning module refers to, with all its data."""
    lent = [vars(each).get(name) for each in model.modules() for name in ("_trainer", "trainer", "_fabric")]
    return {id(each): each for each in lent if each is not None}


def _empty(model: nn.Module) -> dict[int, Any]:
    """The copies of a model's empty containers, which are most of what modules keep; `deepcopy` takes long over one."""
    kept = (value for each in model.modules() for value in vars(each).values())
    return {id(each): type(each)() for each in kept if type(each) in (dict, OrderedDict, set) and not each}


@contextmanager
def unchanged(model: nn.Module, values: bool = True) -> Iterator[None]:
    """Put back what runs change on `model`; what a lazy model becomes by its first run, it stays.

    Without `values` tensors are left out, for a model that is not run itself.

    Raises:
        CannotTrace: there is no memory to keep the state in.
    """
    try:
        state = None if is_lazy(model) else State(model, values)
    except RuntimeError as error:
        raise CannotTrace(f"the model's state cannot be kept while it runs: {told(error)}") from error
    try:
        yield
    finally:
        if state is not None:
            state.restore()


class State:
    """Everything a forward can change on the modules of a model: tensors, gradients, flags, hooks, plain attributes.

    What the modules hold stays the same objects: containers are refilled and tensors are written back in place, so that
    whoever else refers to them notices nothing.
    """

    def __init__(self, model: nn.Module, values: bool = True) -> None:
        self._values = values
        self._attributes = [(vars(module), dict(vars(module))) for module in model.modules()]
        self._containers: dict[int, tuple[Any, Any]] = {}
        self._tensors: dict[int, _Tensor] = {}
        self._generators: list[tuple[torch.Generator, torch.Tensor]] = []
        for _, attributes in self._attributes:
            for value in attributes.values():
                self._remember(value)
        scripted = [module for module in model.modules() if isinstance(module, torch.jit.ScriptModule)]
        self._flags = [(module, module.training) for module in scripted if hasattr(module, "training")]
        for module in scripted:  # which keep what they hold out of Python's sight
            for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                self._remember(value)

    def _remember(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            if self._values and id(value) not in self._tensors and not value.is_meta:
                self._tensors[id(value)] = _Tensor(value)
        elif isinstance(value, torch.Generator):
            self._generators.append((value, value.get_state()))
        elif isinstance(value, (dict, list, set, deque, tuple)) and id(value) not in self._containers:
            self._containers[id(value)] = value, copy.copy(value)
            for each in value.values() if isinstance(value, dict) else value:
                self._remember(each)

    def restore(self) -> None:
        """Put it back."""
        for attributes, saved in self._attributes:
            _refill(attributes, saved)
        for container, contents in self._containers.values():
            _refill(container, contents)
        for module, training in self._flags:
            module.training = training
        with torch.no_grad():
            for tensor in self._tensors.values():
                tensor.restore()
        for generator, draws in self._generators:
            generator.set_state(draws)


class _Tensor:
    """A tensor with its values, its gradient and whether it wants one."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor, self._wanted = tensor, tensor.requires_grad
        original = _originals.get(tensor)
        same = original is not None and _alike(original, tensor)
        self._value = original.detach() if same else tensor.detach().clone()
        self._print = _printed(tensor) if self._value.device != tensor.device else ()
        gradient = tensor.grad if tensor.is_leaf else None
        self._gradient = None if gradient is None else _Tensor(gradient)

    def restore(self) -> torch.Tensor:
        tensor = self._tensor
        if tensor.shape != self._value.shape:  # a quantization observer resizes what it found empty
            tensor.data = self._value.to(tensor.device, copy=True)
        elif self._written():
            shared = tensor.detach() if tensor.layout is torch.strided else tensor  # a sparse one is not shared
            shared.copy_(self._value)
        if tensor.is_leaf:
            tensor.requires_grad_(self._wanted)
            tensor.grad = None if self._gradient is None else self._gradient.restore()
        return tensor

    def _written(self) -> bool:
        """Whether it has other values now; batch norm's kernel writes without counting a version."""
        if self._print:
            return _printed(self._tensor) != self._print
        return not all(map(torch.equal, stored(self._tensor), stored(self._value)))


def _printed(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(number for part in stored(tensor) for number in fingerprint(part))


def _alike(original: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Whether a tensor still is what it was copied from, here or from another device, and not written to since."""
    if {original.layout, tensor.layout} != {torch.strided}:
        return False
    here = original.device == tensor.device
    described = [(each.shape, each.dtype, each.stride() if here else ()) for each in (original, tensor)]
    if here or described[0] != described[1]:
        return described[0] == described[1] and torch.equal(original, tensor)
    return all(torch.equal(one, other.to(one.device)) for one, other in pieces(original, tensor))


def _refill(container: Any, contents: Any) -> None:
    """Give a container its contents back where they are others now."""
    if not container and not contents:  # most of a module's are empty
        return
    if isinstance(container, dict):
        if [*map(id, container.values())] != [*map(id, contents.values())] or [*container] != [*contents]:
            container.clear()
            container.update(contents)
    elif isinstance(container, (list, deque)):
        if [*map(id, container)] != [*map(id, contents)]:
            container.clear()
            container.extend(contents)
    elif isinstance(container, set) and container != contents:
        container.clear()
        container.update(contents)
