"""Models that a library loads in eval mode, until the program sets their mode itself."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.usage import is_model_loader

from .models import parts


class LoadedInEval:
    """The models that are in eval mode only because `from_pretrained` returned them in it.

    `eval()` on a module that contains the model is another reason, until that module is in train mode again: a trainer
    that restores modes by hand leaves the model in the mode that it was loaded in.
    """

    def __init__(self) -> None:
        self._models: Any = WeakIdKeyDictionary()
        """Each model with the modules around it that are in eval mode by a call of their own."""

    def note(self, module: nn.Module, training: bool, function: str) -> list[nn.Module]:
        """Update the models on `train()` or `eval()` of a module, which sets the mode of its parts too.

        Returns the models around the module that leave the set because of an `eval()`.
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

    def parts_of(self, module: nn.Module) -> list[nn.Module]:
        """The models of this set among a module and its parts."""
        models = [each for each in parts(module) if each in self._models] if self._models else []
        return [each for each in models if all(outer.training for outer in self._models[each])]
