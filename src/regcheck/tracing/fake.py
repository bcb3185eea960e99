"""Run a model without its values: its forward on fake tensors, which have a shape, a dtype and a device, but no data.

What needs a value all the same (`.item()`, `nonzero`, a mask) is run on a made-up tensor, and what comes of it is made
fake again: a guess, which is told. Every run is that of a fresh copy, for a forward may keep fake tensors.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

from .copies.objects import Copier
from .copies.shared import CannotDuplicate
from .example_inputs import Inputs, mapped
from .memory import shortage
from .record import ForwardRaised, Recording, record, set_mode
from .running import Locate
from .user_line import calling_place

LARGEST = 1 << 24
"""The most values that are made up for one call."""

_WANT_VALUES = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
_SHAPE_ERRORS = (RuntimeError, ValueError, IndexError)
Guess = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Makes up the values of a fake tensor, on the CPU."""


@dataclass(frozen=True)
class Imagined(Recording):
    """A recorded fake forward, and the lines of the model that needed values, which were guessed."""

    guessed: tuple[Place | None, ...] = ()


class CannotImagine(CannotTrace):
    """A fake run failed. `surely` says that a real one would, too: nothing was guessed, and the shapes do not fit."""

    def __init__(self, reason: str, place: Place | None = None, surely: bool = False) -> None:
        super().__init__(reason, place)
        self.surely = surely


def reason_not_run(model: nn.Module) -> str:
    """Why a model cannot be run for real: it has no values, or no room; an empty string where it can."""
    for name, each in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(each, FakeTensor):
            return f"the values of `{name}` are fake"
        if each.device.type == "meta" and not nn.parameter.is_lazy(each):
            return f"`{name}` is on the meta device, where tensors have no values"
    return shortage(model)


def imagine(model: nn.Module, mode: Mode, inputs: Inputs, locate: Locate | None = None) -> Imagined:
    """Record a fake forward of `model` in `mode`. The model itself is not run, and its values are not read.

    Raises:
        CannotImagine: no fake copy can be made, or its forward raised whatever was guessed.
    """
    failure: CannotImagine | None = None
    for guess in (_lively, _plain):
        fakes = FakeTensorMode(allow_non_fake_inputs=True)
        twin, standing_in = fake_copy(model, fakes), StandIn(fakes, guess)
        blank = partial(_blank, fakes=fakes, home=_home(model))
        args, kwargs = mapped(inputs.args, blank), mapped(inputs.kwargs, blank)
        try:
            set_mode(twin, mode)
            with _quiet(), fakes, standing_in, _Arrays(standing_in):
                recording = record(twin, args, kwargs, locate=locate)
        except ForwardRaised as error:
            surely = not standing_in.guessed and _is_about_shapes(error.__cause__)
            failure = failure or CannotImagine(str(error), error.place, surely)
            if not standing_in.guessed:
                break
        else:
            return Imagined(**vars(recording), guessed=tuple(dict.fromkeys(standing_in.guessed)))
    assert failure is not None
    raise failure


def fake_copy(model: nn.Module, fakes: FakeTensorMode | None = None) -> nn.Module:
    """A copy of `model` with fake tensors in the place of every tensor; what is on meta is where the others are.

    Tensors without values are taken to be on the CPU where no other tells: that is where a forward makes its constants.

    Raises:
        CannotImagine: the model cannot be copied.
    """
    fakes = fakes or FakeTensorMode(allow_non_fake_inputs=True)
    home = _home(model)

    def blank(tensor: torch.Tensor) -> torch.Tensor:
        if nn.parameter.is_lazy(tensor):
            return copy.deepcopy(tensor)
        return _blank(tensor if tensor.is_leaf else tensor.detach(), fakes, home)

    copier = Copier(blank)
    try:
        with _Copying(fakes, home):  # for what copies itself
            twin: nn.Module = copier.copy(model)
    except CannotDuplicate as error:
        raise CannotImagine(f"the model cannot be copied: {error}") from error
    return twin


def _home(model: nn.Module) -> torch.device:
    devices = (each.device for each in (*model.parameters(), *model.buffers()))
    return next((each for each in devices if each.type != "meta"), torch.device("cpu"))


def _blank(tensor: torch.Tensor, fakes: FakeTensorMode, home: torch.device) -> torch.Tensor:
    """A fake tensor like `tensor`, at `home` where that is on meta."""
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
    """Copies every tensor that `deepcopy` meets as a fake one, wherever the model keeps it."""

    def __init__(self, fakes: FakeTensorMode, home: torch.device) -> None:
        super().__init__()
        self._fakes, self._home = fakes, home

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__deepcopy__:
            tensor, copies = args
            return copies.setdefault(id(tensor), _blank(tensor, self._fakes, self._home))
        return func(*args, **(kwargs or {}))


class StandIn(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has not typed its own
    """Makes real tensors fake before they are used, and runs on made-up values what fake tensors cannot do."""

    def __init__(self, fakes: FakeTensorMode, guess: Guess) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.guessed: list[Place | None] = []
        self._fakes, self._guess = fakes, guess
        self._generator = torch.Generator().manual_seed(0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():  # what goes on in here is no call of the model's
            # lifting makes the constants of `torch.tensor`, whose values are known
            if func not in self._fakes.lift_fns and _holds_real((*args, *kwargs.values())):
                args, kwargs = tree_map_only(torch.Tensor, self.faked, (args, kwargs))
            try:
                return func(*args, **kwargs)
            except _WANT_VALUES as error:
                return self._on_made_up_values(func, args, kwargs, error)

    def made_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """A real tensor on the CPU, like `tensor`, whose values are guessed."""
        place = calling_place()
        if tensor.numel() > LARGEST:
            raise CannotImagine(f"{tensor.numel()} values are needed, too many to make up", place)
        self.guessed.append(place)
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            return self._guess(tensor, self._generator)

    def faked(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self._fakes.from_tensor(tensor)

    def _on_made_up_values(self, func: Any, args: Any, kwargs: Any, error: Exception) -> Any:
        real: list[tuple[torch.Tensor, torch.Tensor]] = []

        def made_up(tensor: torch.Tensor) -> torch.Tensor:
            real.append((self.made_up(tensor), tensor))
            return real[-1][0]

        def fake_again(result: torch.Tensor) -> torch.Tensor:
            given = next((tensor for value, tensor in real if value is result), None)
            return _blank(result, self._fakes, home).to(home) if given is None else given

        args, kwargs = tree_map_only(torch.Tensor, made_up, (args, kwargs))
        if not real:
            raise error
        home = real[0][1].device
        with _disable_current_modes():
            result = func(*args, **({**kwargs, "device": "cpu"} if "device" in kwargs else kwargs))
        return tree_map_only(torch.Tensor, fake_again, result)


def _holds_real(values: Iterable[Any]) -> bool:
    """Whether a real tensor is among a call's arguments, or in a list of them."""
    for each in values:
        if isinstance(each, torch.Tensor):
            if not isinstance(each, FakeTensor):
                return True
        elif isinstance(each, (tuple, list)) and _holds_real(each):
            return True
    return False


class _Arrays(TorchFunctionMode):
    """An array made of a fake tensor holds made-up values, and a tensor made of an array is fake."""

    def __init__(self, standing_in: StandIn) -> None:
        super().__init__()
        self._standing_in = standing_in

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and isinstance(args[0], FakeTensor):
            made_up = self._standing_in.made_up(args[0])
            with _disable_current_modes():
                return func(made_up, *args[1:], **(kwargs or {}))
        if func is torch.from_numpy:
            with _disable_current_modes():
                made = func(*args)
            return self._standing_in.faked(made)
        return func(*args, **(kwargs or {}))


def _lively(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of a mask is set, numbers are random; lone values are zero, so that no flag is up."""
    if tensor.numel() == 1 or not (tensor.dtype is torch.bool or tensor.is_floating_point()):
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    drawn = torch.rand(tensor.shape, generator=generator)
    return drawn > 0.5 if tensor.dtype is torch.bool else drawn.to(tensor.dtype)


def _plain(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The other way: nothing but zeros, where integers and lone flags are one."""
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    up = whole and (tensor.numel() == 1 or tensor.dtype is not torch.bool)
    return torch.full(tensor.shape, int(up), dtype=tensor.dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from logging the failures of a fake run, which are told by whoever asked for it."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _is_about_shapes(error: BaseException | None) -> bool:
    """Whether an error of a fake run is one that torch raises on shapes that do not fit, not one about fake tensors."""
    said = message_of(error).lower() if error is not None else ""
    return type(error) in _SHAPE_ERRORS and not any(word in said for word in ("fake", "subclass", "storage", "pointer"))
