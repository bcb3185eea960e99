"""Parts of models that were put in eval mode by a call of their own, as one does to freeze batch norm."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.usage import is_model_loader

from .models import modes


class EvalPinnedParts:
    """The modules that were put in eval mode, and how often; who does so again and again thinks of it."""

    def __init__(self) -> None:
        self._times: Any = WeakIdKeyDictionary()

    def note(self, module: nn.Module, training: bool, function: str) -> None:
        """The mode of a module is set."""
        if training:
            self._times.pop(module, None)
        elif not is_model_loader(function):
            self._times[module] = self._times.get(module, 0) + 1

    def parts_of(self, module: nn.Module) -> dict[bool, tuple[str, ...]]:
        """The paths of the parts that were frozen once and depend on the mode: by whether they act as in training."""
        found: dict[bool, list[str]] = {True: [], False: []}
        if self._times:
            for path, each in module.named_modules():
                if path and self._times.get(each) == 1:
                    training, kinds = modes(each)
                    if kinds:
                        found[training].append(path)
        return {training: tuple(paths) for training, paths in found.items()}
