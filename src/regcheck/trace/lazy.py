"""Lazy models, whose first run gives parameters and buffers their shapes and draws the first weights."""

from __future__ import annotations

from typing import Any

from torch import nn


def is_lazy(model: nn.Module) -> bool:
    """Whether the first run of a model will give some of its parameters or buffers their shapes."""
    return any(nn.parameter.is_lazy(each) for each in (*model.parameters(), *model.buffers()))


def lazy_buffers(model: nn.Module) -> dict[int, Any]:
    """Copies of a model's uninitialized buffers by identity, for the memo of `deepcopy`: torch cannot copy these."""
    return {id(each): _copied(each) for each in model.buffers() if isinstance(each, nn.UninitializedBuffer)}


def _copied(buffer: Any) -> Any:
    blank: Any = nn.UninitializedBuffer  # torch's stubs know none of its arguments
    return blank(device=buffer.data.device, dtype=buffer.data.dtype, persistent=buffer.persistent)
