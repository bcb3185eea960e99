"""Lazy models, whose first run gives parameters and buffers their shapes and draws the first weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def is_lazy(model: nn.Module) -> bool:
    """Whether the first run of a model will give some of its parameters or buffers their shapes."""
    return any(nn.parameter.is_lazy(each) for each in (*model.parameters(), *model.buffers()))


def blank_like(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of an uninitialized parameter or buffer; torch cannot copy the buffers itself."""
    kind: Any = type(tensor)  # torch's stubs know none of the arguments
    made = {"device": tensor.data.device, "dtype": tensor.data.dtype}
    if isinstance(tensor, nn.UninitializedBuffer):
        twin = kind(**made, persistent=tensor.persistent)
    else:
        twin = kind(tensor.requires_grad, **made)
    assert isinstance(twin, torch.Tensor)
    return twin
