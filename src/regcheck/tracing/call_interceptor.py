"""Intercepts each torch call of a running model: its function, the module that makes it, the line it comes from.

Both the recorder and the probe's interventions are function modes built on `TorchCallInterceptor`, so that they give
the same `Site` to the same call.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from regcheck.core.graph import Kind
from regcheck.torch_api.arguments import Argument
from regcheck.torch_api.functions import (
    CALL_ALIASES,
    DROPPING,
    KINDS,
    REDUCTIONS,
    RESAMPLING,
    STACKED,
    STACKED_ATEN,
    STACKED_ATEN_PACKED,
    STATISTICS,
)
from regcheck.torch_api.losses import LOSS_FUNCTIONS

from .running import Locate, ModuleStack
from .script_interpreter import interpreting, is_interpretable, is_opaque_script

_DRAWING = frozenset(DROPPING) | STACKED | {name for name, kind in KINDS.items() if kind is Kind.RANDOM}
_SOFTMAX = {name for name, kind in KINDS.items() if kind is Kind.SOFTMAX}
_PLACED = _DRAWING | STATISTICS | REDUCTIONS | RESAMPLING | LOSS_FUNCTIONS | _SOFTMAX | {"batch_norm"}
_names: dict[Any, str] = {}


def name_of(function: Any) -> str:
    """A torch function's bare name: `add` for `Tensor.__add__`, `bernoulli` for `Tensor.bernoulli_`.

    Operators that are not torch's own keep their namespace (`torchvision::nms`); setting `Tensor.data` is `set_data`.
    """
    try:
        return _names[function]
    except (KeyError, TypeError):
        name = str(getattr(function, "__name__", type(function).__name__))
        if isinstance(function, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
            packet: Any = getattr(function, "overloadpacket", function)
            name = str(packet._qualified_op_name).removeprefix("aten::")
        elif name in ("__get__", "__set__"):
            attribute = getattr(getattr(function, "__self__", None), "__name__", name)
            name = attribute if name == "__get__" else f"set_{attribute}"
        name = name if name in CALL_ALIASES else name.strip("_")
        name = CALL_ALIASES.get(name, name)
        with suppress(TypeError):
            _names[function] = name
        return name


def is_placed(name: str) -> bool:
    """Whether calls of that name get a `Site`: functions that can draw or normalize, reduce an axis, or read scores.

    So does every operator of another package: it may do any of this.
    """
    return name in _PLACED or "::" in name


def draws(name: str) -> bool:
    """Whether calls of that name can draw random numbers."""
    return name in _DRAWING or "::" in name


@contextmanager
def eager() -> Iterator[None]:
    """Run the user's code eagerly: no fused attention path, nothing compiled, and bit-identical convolutions."""
    fast_path, repeating = torch.backends.mha.get_fastpath_enabled(), torch._C._get_cudnn_deterministic()
    with ExitStack() as undo:
        undo.callback(torch._C._set_cudnn_deterministic, repeating)
        torch._C._set_cudnn_deterministic(True)
        undo.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        torch.backends.mha.set_fastpath_enabled(False)
        # Where neither is loaded nothing is compiled, and asking would load the first, which takes seconds.
        if "torch._dynamo" in sys.modules or "torch.nn.attention.flex_attention" in sys.modules:
            undo.enter_context(torch.compiler.set_stance("force_eager"))
        yield


@contextmanager
def autocasting(kinds: Sequence[tuple[str, torch.dtype]]) -> Iterator[None]:
    """Run under autocast for these kinds of device, to these dtypes, and for no others."""
    wanted = dict(kinds)
    with ExitStack() as undo:
        for kind in ("cpu", "cuda", "mps", "xpu"):
            enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
            if enabled or kind in wanted:
                undo.callback(torch.set_autocast_dtype, kind, dtype)
                undo.callback(torch.set_autocast_enabled, kind, enabled)
                torch.set_autocast_enabled(kind, kind in wanted)
                torch.set_autocast_dtype(kind, wanted.get(kind, dtype))
        yield


class TorchCallInterceptor(TorchFunctionMode):
    """A function mode that tracks the running module and gives calls their `Site`."""

    def __init__(self, model: nn.Module, locate: Locate | None = None) -> None:
        super().__init__()
        self.running = ModuleStack(model, locate)
        self._scripts = [each for each in model.modules() if is_interpretable(each)]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow modules and torch calls for the duration of a `with` block."""
        here = threading.get_ident()

        def enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == here:  # hooks see the modules of all threads, the mode only this one's calls
                self.running.enter(module)
                if is_opaque_script(module):
                    self.script_begins(module)

        def leave(module: nn.Module, args: Any, result: Any) -> None:
            if threading.get_ident() == here:
                self.left(module, args, result)
                self.running.leave(module)

        before = register_module_forward_pre_hook(enter)
        after = register_module_forward_hook(leave, always_call=True)
        try:
            with interpreting(self._scripts, self.running.note), self:
                yield
        finally:
            before.remove()
            after.remove()

    def script_begins(self, module: nn.Module) -> None:
        """Called as a scripted or traced module begins that runs as it is: no call of it is seen."""

    def left(self, module: nn.Module, args: Any, result: Any) -> None:
        """Called as each module's forward returns; `result` is None where it raised."""


def script_name(module: nn.Module) -> str:
    """The name of a scripted module's original class."""
    return str(getattr(module, "original_name", type(module).__name__))


def arguments_of(
    function: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[float | None, bool | None]:
    """The rate of a call and whether it is active, from its arguments; None for a value that is no number."""
    if name in STACKED:
        depth, between, on = stacked_arguments(args)
        return between, on and depth > 1 and between > 0
    if name == "batch_norm":
        by_batch = "with_update" in str(function)  # the one form of it that has no switch and is on
        return None, bool(arguments_by_name(function, name, args, kwargs).get("training", by_batch))
    if name not in DROPPING:
        return None, KINDS.get(name) is Kind.RANDOM
    how = DROPPING[name]
    rate, switch = _argument(how.rate, args, kwargs), how.switch(kwargs)
    training = True if switch is None else _argument(switch, args, kwargs)
    rate = float(rate) if isinstance(rate, (int, float)) else None
    if not isinstance(training, (bool, int)):
        return rate, None
    return rate, bool(training) and rate != 0.0


def stacked_arguments(args: Sequence[Any]) -> tuple[int, float, bool]:
    """Depth, drop rate and training flag of a stacked recurrent call; a call with other arguments drops nothing."""
    order = _stacked_order(args)
    if not order or not isinstance(args[order["dropout"].position], (int, float)):
        return 1, 0.0, False
    depth, rate, training = (args[order[name].position] for name in ("num_layers", "dropout", "train"))
    return int(depth), float(rate), bool(training)


def rate_position(args: Sequence[Any]) -> int | None:
    """The position of the drop rate in a stacked recurrent call; None where its arguments are others."""
    order = _stacked_order(args)
    return order["dropout"].position if order else None


def stacked_switch(args: Sequence[Any]) -> Argument | None:
    """The argument of a stacked recurrent call that turns its dropout on; None where its arguments are others."""
    return _stacked_order(args).get("train")


def _stacked_order(args: Sequence[Any]) -> Mapping[str, Argument]:
    """The arguments of a stacked recurrent call: the weights are a list, which packed sequences move by one place."""
    for order in (STACKED_ATEN_PACKED, STACKED_ATEN):
        weights = order["params"].position
        if len(args) > order["train"].position and isinstance(args[weights], (list, tuple)):
            return order
    return {}


def arguments_by_name(function: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments by name: `F.batch_norm` and `torch.batch_norm`, say, take theirs in different orders."""
    return {**dict(zip(_argument_names(function, name), args, strict=False)), **kwargs}


def _argument_names(function: Any, name: str) -> Sequence[str]:
    """The names of a function's positional arguments: a Python function's own, else those of its schema in aten."""
    if isinstance(function, FunctionType):
        return function.__code__.co_varnames[: function.__code__.co_argcount]
    if not isinstance(function, torch._ops.OpOverload):
        packet: Any = getattr(torch.ops.aten, str(getattr(function, "__name__", name)), None)
        function = getattr(packet, packet.overloads()[0]) if packet is not None else None
    return [] if function is None else [each.name for each in function._schema.arguments]


def _argument(argument: Argument, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    if argument.name in kwargs:
        return kwargs[argument.name]
    return args[argument.position] if len(args) > argument.position else argument.default
