"""The memory that an audit needs, and suspended garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import nn

COPIES = 2
"""The memory of an audit in sizes of the model: a copy, and as much for the results of its forward."""

SMALL = 2**22
"""Models of at most this many bytes are not checked: Python itself uses more."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Suspend the garbage collector for work whose objects all die soon.

    A collection in between would traverse all objects of the program, and promote objects that are garbage a moment
    later.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def shortage(model: nn.Module) -> str:
    """Why copies of the model do not fit into memory, with figures; empty where they fit, or where it is unknown."""
    for device, size in sizes_of(model).items():
        free = free_bytes(device) if size > SMALL else None
        if free is not None and COPIES * size > free:
            needed, left = gigabytes(COPIES * size), gigabytes(free)
            return f"running copies of the model takes {needed} of memory, and {left} are free on {device}"
    return ""


def sizes_of(model: nn.Module) -> dict[torch.device, int]:
    """The bytes of a model's parameters and buffers on each device."""
    sizes: dict[torch.device, int] = {}
    for each in {id(each): each for each in (*model.parameters(), *model.buffers())}.values():
        if not nn.parameter.is_lazy(each):
            sizes[each.device] = sizes.get(each.device, 0) + each.numel() * each.element_size()
    return sizes


def free_bytes(device: torch.device) -> int | None:
    """The free bytes on a device; None where they are unknown."""
    if device.type != "cpu":
        with suppress(
            RuntimeError, AttributeError
        ):  # not every device has memory of its own, and not every driver reports it
            return int(torch.get_device_module(device).mem_get_info(device)[0])
        return None
    limits: list[int] = []
    with suppress(OSError, ValueError):  # not on Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # no control group, or one without a limit ("max")
        group = Path("/sys/fs/cgroup")
        limits.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(min(limits), 0) if limits else None


def gigabytes(size: int) -> str:
    """`13.5 GB`."""
    return f"{size / 1e9:.3g} GB"
