"""Lazy models, whose first run sets the shapes of parameters and buffers and initializes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from regcheck.keras_api.layer_tree import is_layer


def is_lazy(model: nn.Module) -> bool:
    """Whether some parameter or buffer of a model has no shape, or does not exist, before the first run."""
    if is_layer(model):
        return not model.built
    return any(nn.parameter.is_lazy(each) for each in (*model.parameters(), *model.buffers()))


def blank_like(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of an uninitialized parameter or buffer; torch cannot copy the buffers itself."""
    kind: Any = type(tensor)  # torch's stubs lack the arguments
    arguments = {"device": tensor.data.device, "dtype": tensor.data.dtype}
    if isinstance(tensor, nn.UninitializedBuffer):
        twin = kind(**arguments, persistent=tensor.persistent)
    else:
        twin = kind(tensor.requires_grad, **arguments)
    assert isinstance(twin, torch.Tensor)
    return twin
