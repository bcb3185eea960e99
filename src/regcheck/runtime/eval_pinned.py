"""Parts of models with an `eval()` call of their own, as programs do to freeze batch norm."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.usage import is_model_loader

from .models import modes


class EvalPinnedParts:
    """How often `eval()` was called on each module: repeated calls show that the program re-pins the part itself."""

    def __init__(self) -> None:
        self._times: Any = WeakIdKeyDictionary()

    def note(self, module: nn.Module, training: bool, function: str) -> None:
        """Count an `eval()`; a `train()` resets the count."""
        if training:
            self._times.pop(module, None)
        elif not is_model_loader(function):
            self._times[module] = self._times.get(module, 0) + 1

    def parts_of(self, module: nn.Module) -> dict[bool, tuple[str, ...]]:
        """The paths of mode-dependent parts pinned exactly once, by whether they are in train mode now."""
        paths_by_mode: dict[bool, list[str]] = {True: [], False: []}
        if self._times:
            for path, each in module.named_modules():
                if path and self._times.get(each) == 1:
                    training, kinds = modes(each)
                    if kinds:
                        paths_by_mode[training].append(path)
        return {training: tuple(paths) for training, paths in paths_by_mode.items()}
