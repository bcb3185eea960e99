"""Choose the devices that measurements run on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regcheck.core.errors import UsageError
from regcheck.tracing.accelerators import in_use, kind


def chosen(devices: Sequence[str], watched: bool = False) -> tuple[str, ...]:
    """The devices to measure on: `auto` stands for the CPU and each kind of accelerator present.

    In a `watched` program it includes an accelerator only if the program already uses it; no other is initialized.

    Raises:
        UsageError: a device that does not exist here.
    """
    names: list[str] = []
    for name in devices:
        if name == "auto":
            accelerator = kind() if not watched or in_use() is not None else ""
            names += ["cpu", accelerator] if accelerator else ["cpu"]
            continue
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"device {name!r} cannot be used: {reason}") from error
        names.append(name)
    return tuple(dict.fromkeys(names))
