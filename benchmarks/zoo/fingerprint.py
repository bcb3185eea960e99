"""A fingerprint of all state that an audit must not change."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import Any

import numpy
import torch
from torch import nn


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Returns a digest for each part of the model's and the process's state."""
    state: dict[str, Any] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for name, value in vars(module).items():
            for place, each in _leaves(value, f"{path}.{name}"):
                state[place] = each
    state["torch random stream"] = _crc(torch.get_rng_state())
    state["python random stream"] = hash(random.getstate())
    state["numpy random stream"] = str(numpy.random.get_state())
    state["global flags"] = (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.backends.mha.get_fastpath_enabled(),
    )
    return state


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Returns the parts that differ."""
    return sorted(key for key in {*before, *after} if before.get(key, "absent") != after.get(key, "absent"))


def _leaves(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yields the values in an attribute, container by container; objects other than plain values count by identity."""
    if isinstance(value, torch.Tensor):
        yield place, (id(value), value.requires_grad, str(value.dtype), tuple(value.shape), _crc(value))
        if value.is_leaf and value.grad is not None:
            yield from _leaves(value.grad, f"{place}.grad")
    elif isinstance(value, torch.Generator):
        yield place, _crc(value.get_state())
    elif isinstance(value, (dict, list, tuple, set)) and depth < 4:
        yield place, (type(value).__name__, len(value))
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from _leaves(each, f"{place}[{key!r}]" if isinstance(key, (str, int)) else place, depth + 1)
    elif isinstance(value, (str, int, float, complex, bytes, type(None))):
        yield place, repr(value)
    else:
        yield place, id(value)


def _crc(tensor: torch.Tensor) -> int | str:
    if tensor.is_meta or nn.parameter.is_lazy(tensor):
        return "no values"
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    if tensor.layout is not torch.strided:
        return f"{tensor.layout}: {tensor.sum().item()}"
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().view(-1)
    return zlib.crc32(flat.view(torch.uint8).numpy().data) if flat.numel() else 0
