"""Which devices measurements run on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regcheck.core.errors import UsageError


def chosen(devices: Sequence[str]) -> tuple[str, ...]:
    """The devices to measure on: `auto` stands for the CPU and each kind of accelerator present.

    Raises:
        UsageError: a device that does not exist here.
    """
    names: list[str] = []
    for name in devices:
        if name == "auto":
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            names += ["cpu"] if accelerator is None else ["cpu", accelerator.type]
            continue
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"device {name!r} cannot be used: {reason}") from error
        names.append(name)
    return tuple(dict.fromkeys(names))
