"""Record a forward on fake tensors, which have a shape, a dtype and a device, but no data.

A call that needs values (`.item()`, `nonzero`, a mask) runs on guessed ones, and its result becomes fake again; the
recording lists the guesses. Every run uses a new copy, because a forward may store fake tensors.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only

from regcheck.core.errors import CannotTrace, message_of
from regcheck.core.graph import Mode
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

from .copies.objects import Copier
from .copies.shared import CannotDuplicate
from .example_inputs import Inputs, mapped
from .memory import shortage
from .record import ForwardRaised, Recording, record, set_mode
from .running import Locate
from .user_line import calling_place

LARGEST = 1 << 24
"""The most values that are guessed for one call."""

_WANT_VALUES = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
_SHAPE_ERRORS = (RuntimeError, ValueError, IndexError)
Guess = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Guesses the values of a fake tensor, on the CPU."""


@dataclass(frozen=True)
class FakeRecording(Recording):
    """A forward recorded on fake tensors, and the lines of the model for which values were guessed."""

    guessed: tuple[Place | None, ...] = ()


class CannotRunFake(CannotTrace):
    """A fake run failed. `surely`: a real one would fail too, because shapes do not fit and nothing was guessed."""

    def __init__(self, reason: str, place: Place | None = None, surely: bool = False) -> None:
        super().__init__(reason, place)
        self.surely = surely


def reason_not_run(model: nn.Module) -> str:
    """Why a model cannot run: its tensors have no values, or its copies do not fit into memory. Empty if it can."""
    for name, each in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(each, FakeTensor):
            return f"the values of `{name}` are fake"
        if each.device.type == "meta" and not nn.parameter.is_lazy(each):
            return f"`{name}` is on the meta device, where tensors have no values"
    return shortage(model)


def record_fake(model: nn.Module, mode: Mode, inputs: Inputs, locate: Locate | None = None) -> FakeRecording:
    """Record a forward of a fake copy of `model` in `mode`; neither runs the model itself nor reads its values.

    Raises:
        CannotRunFake: the model cannot be copied, or the copy's forward raised with every guess.
    """
    failure: CannotRunFake | None = None
    for guess in (_varied_values, _constant_values):
        fakes = FakeTensorMode(allow_non_fake_inputs=True)
        twin, values = fake_copy(model, fakes), GuessedValues(fakes, guess)
        blank = partial(_blank, fakes=fakes, home=_home(model))
        args, kwargs = mapped(inputs.args, blank), mapped(inputs.kwargs, blank)
        try:
            set_mode(twin, mode)
            with _quiet(), fakes, values, _Arrays(values):
                recording = record(twin, args, kwargs, locate=locate)
        except ForwardRaised as error:
            surely = not values.guessed and _is_about_shapes(error.__cause__)
            failure = failure or CannotRunFake(str(error), error.place, surely)
            if not values.guessed:
                break
        else:
            return FakeRecording(**vars(recording), guessed=tuple(dict.fromkeys(values.guessed)))
    assert failure is not None
    raise failure


def fake_copy(model: nn.Module, fakes: FakeTensorMode | None = None) -> nn.Module:
    """A copy of `model` with a fake tensor in place of every tensor; meta tensors move to the device of the others.

    Without other tensors that device is the CPU, where a forward makes its constants.

    Raises:
        CannotRunFake: the model cannot be copied.
    """
    fakes = fakes or FakeTensorMode(allow_non_fake_inputs=True)
    home = _home(model)

    def blank(tensor: torch.Tensor) -> torch.Tensor:
        if nn.parameter.is_lazy(tensor):
            return copy.deepcopy(tensor)
        return _blank(tensor if tensor.is_leaf else tensor.detach(), fakes, home)

    copier = Copier(blank)
    try:
        with _Copying(fakes, home):  # for classes that copy their own tensors
            twin: nn.Module = copier.copy(model)
    except CannotDuplicate as error:
        raise CannotRunFake(f"the model cannot be copied: {error}") from error
    return twin


def _home(model: nn.Module) -> torch.device:
    devices = (each.device for each in (*model.parameters(), *model.buffers()))
    return next((each for each in devices if each.type != "meta"), torch.device("cpu"))


def _blank(tensor: torch.Tensor, fakes: FakeTensorMode, home: torch.device) -> torch.Tensor:
    """A fake tensor like `tensor`, on the device `home` in place of meta."""
    device = home if tensor.device.type == "meta" else tensor.device
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return fakes.from_tensor(tensor)
    with fakes, torch.no_grad():
        blank = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)
        if isinstance(tensor, nn.Parameter):
            blank = nn.Parameter(blank, tensor.requires_grad)
        else:
            blank.requires_grad_(tensor.requires_grad)
    vars(blank).update({name: value for name, value in vars(tensor).items() if name not in vars(blank)})
    return blank


class _Copying(TorchFunctionMode):
    """Makes `deepcopy` copy every tensor as a fake one, wherever the model stores it."""

    def __init__(self, fakes: FakeTensorMode, home: torch.device) -> None:
        super().__init__()
        self._fakes, self._home = fakes, home

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__deepcopy__:
            tensor, copies = args
            return copies.setdefault(id(tensor), _blank(tensor, self._fakes, self._home))
        return func(*args, **(kwargs or {}))


class GuessedValues(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has not typed its own
    """Makes real tensors fake before a call uses them, and runs calls that need values on guessed ones."""

    def __init__(self, fakes: FakeTensorMode, guess: Guess) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.guessed: list[Place | None] = []
        self._fakes, self._guess = fakes, guess
        self._generator = torch.Generator().manual_seed(0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():  # nothing in here is a call of the model
            # lifting makes the constants of `torch.tensor`, which have values
            if func not in self._fakes.lift_fns and _holds_real((*args, *kwargs.values())):
                args, kwargs = tree_map_only(torch.Tensor, self.faked, (args, kwargs))
            try:
                return func(*args, **kwargs)
            except _WANT_VALUES as error:
                return self._on_guessed_values(func, args, kwargs, error)

    def guess(self, tensor: torch.Tensor) -> torch.Tensor:
        """A real tensor on the CPU like `tensor`, with guessed values."""
        place = calling_place()
        if tensor.numel() > LARGEST:
            raise CannotRunFake(f"{tensor.numel()} values are needed, too many to guess", place)
        self.guessed.append(place)
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            return self._guess(tensor, self._generator)

    def faked(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self._fakes.from_tensor(tensor)

    def _on_guessed_values(self, func: Any, args: Any, kwargs: Any, error: Exception) -> Any:
        real: list[tuple[torch.Tensor, torch.Tensor]] = []

        def real_values(tensor: torch.Tensor) -> torch.Tensor:
            real.append((self.guess(tensor), tensor))
            return real[-1][0]

        def fake_again(result: torch.Tensor) -> torch.Tensor:
            original = next((tensor for value, tensor in real if value is result), None)
            return _blank(result, self._fakes, home).to(home) if original is None else original

        args, kwargs = tree_map_only(torch.Tensor, real_values, (args, kwargs))
        if not real:
            raise error
        home = real[0][1].device
        with _disable_current_modes():
            result = func(*args, **({**kwargs, "device": "cpu"} if "device" in kwargs else kwargs))
        return tree_map_only(torch.Tensor, fake_again, result)


def _holds_real(values: Iterable[Any]) -> bool:
    """Whether a real tensor is among a call's arguments, or in a list among them."""
    for each in values:
        if isinstance(each, torch.Tensor):
            if not isinstance(each, FakeTensor):
                return True
        elif isinstance(each, (tuple, list)) and _holds_real(each):
            return True
    return False


class _Arrays(TorchFunctionMode):
    """Gives an array made from a fake tensor guessed values, and makes a tensor made from an array fake."""

    def __init__(self, values: GuessedValues) -> None:
        super().__init__()
        self._values = values

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and isinstance(args[0], FakeTensor):
            guess = self._values.guess(args[0])
            with _disable_current_modes():
                return func(guess, *args[1:], **(kwargs or {}))
        if func is torch.from_numpy:
            with _disable_current_modes():
                tensor = func(*args)
            return self._values.faked(tensor)
        return func(*args, **(kwargs or {}))


def _varied_values(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random numbers, and masks with half of the elements set; single values are zero, so that no flag is set."""
    if tensor.numel() == 1 or not (tensor.dtype is torch.bool or tensor.is_floating_point()):
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    values = torch.rand(tensor.shape, generator=generator)
    return values > 0.5 if tensor.dtype is torch.bool else values.to(tensor.dtype)


def _constant_values(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Zeros, except that integers and single flags are one."""
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    up = whole and (tensor.numel() == 1 or tensor.dtype is not torch.bool)
    return torch.full(tensor.shape, int(up), dtype=tensor.dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's log of failures in a fake run, which the caller reports."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _is_about_shapes(error: BaseException | None) -> bool:
    """Whether an error of a fake run is about shapes that do not fit, not about fake tensors."""
    message = message_of(error).lower() if error is not None else ""
    return type(error) in _SHAPE_ERRORS and not any(
        word in message for word in ("fake", "subclass", "storage", "pointer")
    )
