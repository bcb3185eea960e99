"""Whether random numbers were drawn, told by the state of the generators."""

from __future__ import annotations

import ctypes
import random
import sys
from typing import Any

import torch


class TorchStream:
    """Notices that torch's default generators moved on, whoever moved them."""

    def __init__(self) -> None:
        self._state = _torch_state()

    def moved(self) -> bool:
        """Whether anything was drawn since the last time that this was asked."""
        before, self._state = self._state, _torch_state()
        return self._state != before


def _torch_state() -> tuple[bytes | int, ...]:
    """The state of the default generators, read without a call that a mode would see."""
    cpu = torch._C.Generator.get_state(torch.default_generator)
    here = ctypes.string_at(cpu.data_ptr(), cpu.numel())
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return (here,)
    return (here, *(each.get_offset() for each in torch.cuda.default_generators))


def states_elsewhere() -> tuple[Any, ...]:
    """The states of Python's and NumPy's global random streams, to be compared."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return (random.getstate(),)
    _, words, *rest = numpy.random.get_state()
    return random.getstate(), words.tobytes(), tuple(rest)
