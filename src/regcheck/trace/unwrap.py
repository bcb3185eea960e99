"""Look through the wrappers that training code puts around a model."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

_INNER = {
    "OptimizedModule": "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "AveragedModel": "module",
}


def unwrapped(model: Any) -> Any:
    """The model inside `torch.compile`, DDP, DataParallel, AveragedModel or `functools.partial`; else the model."""
    while True:
        if isinstance(model, functools.partial):
            model = model.func
            continue
        inner = next((_INNER[base.__name__] for base in type(model).__mro__ if base.__name__ in _INNER), None)
        if not isinstance(model, nn.Module) or inner is None:
            return model
        model = getattr(model, inner)
