"""A second device, made in Python: its tensors lie on the CPU, it has a random stream of its own, and it may be faulty.

It registers for the whole process, so tests use it in a process of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_flatten, tree_map

NAME = "planted"
Kernel = Callable[..., Any]


def drops_nothing(x: torch.Tensor, p: float, train: bool | None) -> Any:
    """Dropout that lets everything pass, in either mode."""
    return torch.native_dropout(x, p, False)


def drops_half_as_much(x: torch.Tensor, p: float, train: bool | None) -> Any:
    """Dropout at half the rate it is asked for, scaled as if it were the whole one."""
    kept, mask = torch.native_dropout(x, p / 2, train)
    return kept * (1 - p / 2) / (1 - p) if train else kept, mask


FAULTS: dict[str, Kernel] = {"drops nothing": drops_nothing, "drops half as much": drops_half_as_much}
"""Faults, by what is wrong with the device's dropout."""


PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.baddbmm.default,
    torch.ops.aten.convolution.default,
}
"""Ops that multiply and add up."""


def in_short(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Products of factors that have ten binary digits after the point, as TF32 has them."""

    def shortened(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype is not torch.float32:
            return value
        return ((value.contiguous().view(torch.int32) + 2**12) & -(2**13)).view(torch.float32).view(value.shape)

    return op(*map(shortened, args), **kwargs)


def in_any_order(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Sums whose last digits are others in every run, as those of atomic additions are."""
    result = op(*args, **kwargs)
    return result * (1 + 1e-6 * torch.rand(result.shape, generator=ORDER)) if result.is_floating_point() else result


ORDER = torch.Generator()
ORDER.seed()
HABITS = {"in short": in_short, "in any order": in_any_order}
"""What is no fault of a device, by how it multiplies and adds up."""

BETWEEN = {torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor, torch.ops.aten._index_put_impl_.default}
"""Ops that take tensors of the CPU and of the device together."""


class Module:
    """What `torch.planted` is: the device's random stream, as `torch.cuda` and `torch.mps` have theirs."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def get_rng_state(self) -> torch.Tensor:
        return self.generator.get_state()

    def set_rng_state(self, state: torch.Tensor) -> None:
        self.generator.set_state(state)


def gru_cell(given: torch.Tensor, held: torch.Tensor, before: torch.Tensor, *biases: torch.Tensor) -> Any:
    """The step of a GRU, which torch asks of a device as one op; the last result is for the backward pass."""
    first, second = biases or (0.0, 0.0)
    (r, z, n), (hr, hz, hn) = (given + first).chunk(3, -1), (held + second).chunk(3, -1)
    reset, update = torch.sigmoid(r + hr), torch.sigmoid(z + hz)
    new = torch.tanh(n + reset * hn)
    return new + update * (before - new), torch.empty(0)


def lstm_cell(given: torch.Tensor, held: torch.Tensor, before: torch.Tensor, *biases: torch.Tensor) -> Any:
    """The same for an LSTM."""
    i, f, g, o = (given + held + sum(biases, torch.zeros(()))).chunk(4, -1)
    cell = torch.sigmoid(f) * before + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell, torch.empty(0)


class OnDevice(torch.Tensor):
    """A tensor of the device; `raw` holds its values."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> OnDevice:
        made: OnDevice = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype, device=NAME
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return DEVICE.run(op, args, kwargs or {})


class Device:
    """Runs every op on the CPU, with the device's own random stream in place of the CPU's."""

    def __init__(self) -> None:
        self.module = Module()
        self.kernels: dict[Any, Kernel] = {
            torch.ops.aten._thnn_fused_gru_cell.default: gru_cell,
            torch.ops.aten._thnn_fused_lstm_cell.default: lstm_cell,
        }
        self.library: Any = None
        self.widest = torch.float64

    def register(self, fault: str = "", habit: str = "", widest: torch.dtype = torch.float64) -> None:
        """Make the device known to torch.

        Args:
            fault: one of `FAULTS`, or nothing for an honest device.
            habit: one of `HABITS`, or nothing for one that multiplies and adds up as the CPU does.
            widest: it has no wider floating-point numbers than these.
        """
        self.widest = widest
        backend_registration._setup_privateuseone_for_python_backend(NAME, self.module)
        self.library = torch.library.Library("_", "IMPL")
        self.library.fallback(lambda op, *args, **kwargs: self.run(op, args, kwargs), dispatch_key="PrivateUse1")
        if fault:
            self.kernels[torch.ops.aten.native_dropout.default] = FAULTS[fault]
        for op in PRODUCTS if habit else ():
            self.kernels[op] = partial(HABITS[habit], op)

    def lacks(self, dtype: torch.dtype) -> bool:
        return dtype.is_floating_point and dtype.itemsize > self.widest.itemsize

    def run(self, op: Any, args: Any, kwargs: Any) -> Any:
        wanted = kwargs.get("device")
        leaves = op is torch.ops.aten._to_copy.default and wanted is not None and torch.device(wanted).type != NAME
        if wanted is not None:
            kwargs = {**kwargs, "device": "cpu"}
        held = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor) and each.dim()]
        if op not in BETWEEN and len({isinstance(each, OnDevice) for each in held}) > 1:
            raise RuntimeError(f"{op}: expected all tensors to be on the same device, but found {NAME} and cpu")
        known = {id(each.raw): each for each in (*args, *kwargs.values()) if isinstance(each, OnDevice)}
        state = torch.get_rng_state()
        torch.set_rng_state(self.module.get_rng_state())
        try:
            result = self.kernels.get(op, op)(*tree_map(_bare, args), **tree_map(_bare, kwargs))
            self.module.set_rng_state(torch.get_rng_state())
        finally:
            torch.set_rng_state(state)
        if leaves:
            return result
        if any(isinstance(each, torch.Tensor) and self.lacks(each.dtype) for each in tree_flatten(result)[0]):
            raise TypeError(f"{op}: {NAME} has no wider numbers than {self.widest}")
        return tree_map(lambda x: _held(x, known) if isinstance(x, torch.Tensor) else x, result)


def _held(raw: torch.Tensor, known: dict[int, OnDevice]) -> OnDevice:
    """The tensor of the device with these values: what an op worked on in place stays the same tensor."""
    return known[id(raw)] if id(raw) in known else OnDevice(raw)


def _bare(value: Any) -> Any:
    return value.raw if isinstance(value, OnDevice) else value


DEVICE = Device()
register = DEVICE.register
