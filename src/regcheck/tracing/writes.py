"""The tensors that a torch call writes to."""

from __future__ import annotations

from typing import Any

import torch

from .identity import storage_of
from .nested_values import tensors_in


def versions_of(tensors: list[torch.Tensor]) -> list[int] | None:
    """The version counter of each tensor; None where one of them has none."""
    try:
        return [tensor._version for tensor in tensors]
    except RuntimeError:
        return None


def written(
    func: Any, name: str, kwargs: Any, tensors: list[torch.Tensor], before: list[int] | None
) -> list[torch.Tensor]:
    """The tensors that a call wrote to: by their version counters, or by the function's name without counters.

    Views of the same memory share a counter; the first of them is the one that the call writes to.
    """
    after = versions_of(tensors)
    if name == "set_data":
        return tensors[:1]
    if before is not None and before == after:
        return []
    if "out" in kwargs:
        return tensors_in(kwargs["out"])
    if before is None or after is None:
        called = str(getattr(func, "__name__", ""))
        in_place = called.endswith("_") and not called.endswith("__")
        writes = in_place or called.startswith("__i") or name == "setitem" or kwargs.get("inplace") is True
        return tensors[:1] if writes and called != "__invert__" else []
    changed = [tensor for tensor, *count in zip(tensors, before, after, strict=True) if count[0] != count[1]]
    return [*{storage_of(each): each for each in reversed(changed)}.values()][::-1]
