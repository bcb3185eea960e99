"""Models that were loaded in eval mode, and that nobody has put in any mode since."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.usage import is_model_loader

from .models import parts


class Loaded:
    """The models that `from_pretrained` handed out in eval mode, as long as they are in it for no other reason.

    An `eval()` of what contains a model is such a reason until that is in train mode again; where trainers give modes
    back by hand, the model is in the mode that it was loaded in.
    """

    def __init__(self) -> None:
        self._models: Any = WeakIdKeyDictionary()
        """Each with the modules around it that were put in eval mode."""

    def note(self, module: nn.Module, training: bool, function: str) -> list[nn.Module]:
        """The mode of a module is set: of it, of all that contains it and of its parts the mode is chosen now.

        Returns those that are kept in eval mode, or of which a part is, by this very call.
        """
        if is_model_loader(function):
            if not training:
                self._models[module] = WeakIdKeyDictionary()
            return []
        if not self._models:
            return []
        own = {id(each) for each in parts(module)}
        around = [model for model in self._models if any(each is module for each in parts(model))]
        within = [model for model in self._models if id(model) in own and model is not module]
        for model in around if not training else [*around, *within]:
            self._models.pop(model, None)
        if training:
            return []
        for model in within:
            self._models[model][module] = None
        return around

    def within(self, module: nn.Module) -> list[nn.Module]:
        """Those that a module consists of, or that it is."""
        found = [each for each in parts(module) if each in self._models] if self._models else []
        return [each for each in found if all(outer.training for outer in self._models[each])]
