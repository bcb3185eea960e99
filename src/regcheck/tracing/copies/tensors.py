"""Copies of tensors on their devices; copies of tensors that share memory share memory."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from .lazy import blank_like
from .shared import CannotDuplicate

PLAIN = (torch.Tensor, nn.Parameter)
"""The classes of tensors without further state of their own."""


class Clones:
    """Makes detached copies of tensors; `memo` is the memo of `deepcopy` for tensors of other classes."""

    def __init__(self, memo: dict[int, Any]) -> None:
        self._memo = memo
        self._storages: dict[int, tuple[Any, torch.Tensor]] = {}

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if nn.parameter.is_lazy(tensor):
            return blank_like(tensor)
        if type(tensor) not in PLAIN:
            return self._of_another_class(tensor)
        twin = self._detached(tensor)
        if type(tensor) is nn.Parameter:
            return nn.Parameter(twin, tensor.requires_grad)
        return twin.requires_grad_() if tensor.requires_grad and tensor.is_leaf else twin

    def _detached(self, tensor: torch.Tensor) -> torch.Tensor:
        data = tensor.detach()
        simple = data.layout is torch.strided and not (data.is_quantized or data.is_nested or data.is_meta)
        if not simple or data.is_conj() or data.is_neg() or torch._C._functorch.is_functorch_wrapped_tensor(data):
            return data.clone()
        storage = data.untyped_storage()
        if storage._cdata not in self._storages:
            if storage.nbytes() == data.nbytes and data.is_contiguous():
                twin = data.clone()
                self._storages[storage._cdata] = storage, twin
                return twin
            twin_storage: Any = storage.clone()  # type: ignore[no-untyped-call]  # torch has not typed it
            self._storages[storage._cdata] = storage, _on(data, twin_storage, 0, (0,), (1,))
        shared = self._storages[storage._cdata][1].untyped_storage()
        return _on(data, shared, data.storage_offset(), data.size(), data.stride())

    def _of_another_class(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy by the class's own `__deepcopy__`."""
        leaf = tensor if tensor.is_leaf else tensor.detach()
        twin: torch.Tensor = copy.deepcopy(leaf, self._memo)
        if twin is leaf:
            raise CannotDuplicate(f"a tensor of the class {type(tensor).__name__} returns itself as its copy")
        return twin


def _on(like: torch.Tensor, storage: Any, *place: Any) -> torch.Tensor:
    """A tensor over a storage, with the dtype and device of another tensor."""
    return torch.empty(0, dtype=like.dtype, device=like.device).set_(storage, *place)
