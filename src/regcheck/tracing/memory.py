"""Whether there is memory to run a copy of a model, and when garbage is collected meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import nn

COPIES = 2
"""What an audit needs beside the model itself: the copy that is run, and as much again for what its forward makes."""

SMALL = 2**22
"""So many bytes are not asked for: they are less than what Python takes meanwhile."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from running.

    For what soon is garbage altogether: a collection in between would go through all that the program has, and take
    what is garbage a moment later for something that lasts.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def shortage(model: nn.Module) -> str:
    """Why the model cannot be run beside itself, in figures; empty where it can, or where nobody knows."""
    for device, size in sizes_of(model).items():
        free = free_bytes(device) if size > SMALL else None
        if free is not None and COPIES * size > free:
            needed, left = gigabytes(COPIES * size), gigabytes(free)
            return f"running copies of the model takes {needed} of memory, and {left} are free on {device}"
    return ""


def sizes_of(model: nn.Module) -> dict[torch.device, int]:
    """How many bytes the parameters and buffers of a model take on each device."""
    sizes: dict[torch.device, int] = {}
    for each in {id(each): each for each in (*model.parameters(), *model.buffers())}.values():
        if not nn.parameter.is_lazy(each):
            sizes[each.device] = sizes.get(each.device, 0) + each.numel() * each.element_size()
    return sizes


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be had on a device; None where it is not known."""
    if device.type != "cpu":
        with suppress(RuntimeError, AttributeError):  # not every device has memory, and not every driver tells
            return int(torch.get_device_module(device).mem_get_info(device)[0])
        return None
    known: list[int] = []
    with suppress(OSError, ValueError):  # not on Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        known += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # no control group, or one without a limit ("max")
        group = Path("/sys/fs/cgroup")
        known.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(min(known), 0) if known else None


def gigabytes(size: int) -> str:
    """`13.5 GB`."""
    return f"{size / 1e9:.3g} GB"
