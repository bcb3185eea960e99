"""Naive baseline: run each model twice in eval mode on the same inputs, and compare."""

from __future__ import annotations

import importlib
from typing import Any

from . import _calls

REQUIREMENTS: tuple[str, ...] = ()
WAY = "model"


def prepare() -> None:
    importlib.import_module("torch._dynamo")


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    import torch
    from torch.utils._pytree import tree_leaves

    found = []
    for call in _calls.calls_of("main.py"):
        call.model.eval()
        with torch.no_grad():
            first, second = (tree_leaves(call.model(*call.args, **call.kwargs)) for _ in range(2))
        tensors = [(a, b) for a, b in zip(first, second, strict=True) if isinstance(a, torch.Tensor)]
        if not all(torch.equal(a, b) for a, b in tensors):
            found.append(
                {"kind": "dropout-ignores-mode", "text": f"two eval passes of {type(call.model).__name__} differ"}
            )
    return found
