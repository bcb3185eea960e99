"""Models that were loaded in eval mode, and that nobody has put in any mode since."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.usage import loads

from .models import parts


class Loaded:
    """The models that `from_pretrained` handed out in eval mode, as long as they are in it for no other reason."""

    def __init__(self) -> None:
        self._models: Any = WeakIdKeyDictionary()

    def note(self, module: nn.Module, training: bool, function: str) -> list[nn.Module]:
        """The mode of a module is set: of it, of all that contains it and of its parts the mode is chosen now.

        Returns those that are kept in eval mode, or of which a part is, by this very call.
        """
        if loads(function):
            if not training:
                self._models[module] = None
            return []
        if not self._models:
            return []
        own = {id(each) for each in parts(module)}
        around = [model for model in self._models if any(each is module for each in parts(model))]
        for model in [*around, *(each for each in self._models if id(each) in own)]:
            self._models.pop(model, None)
        return [] if training else around

    def within(self, module: nn.Module) -> list[nn.Module]:
        """Those that a module consists of, or that it is."""
        return [each for each in parts(module) if each in self._models] if self._models else []
