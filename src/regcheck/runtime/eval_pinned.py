"""Parts of models with an `eval()` call of their own, as programs do to freeze batch norm."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.usage import is_model_loader

from .call_sites import CallSite
from .models import modes, parts, updates_statistics


class EvalPinnedParts:
    """How often `eval()` was called on each module: repeated calls show that the program re-pins the part itself."""

    def __init__(self) -> None:
        self._times: Any = WeakIdKeyDictionary()
        self._unused: Any = WeakIdKeyDictionary()
        """The pinned parts that the program has not called since, alone or within a model."""
        self._undone: Any = WeakIdKeyDictionary()
        """The unused parts that a `train()` of a module around them has put back in train mode."""
        self._in_train_mode: Any = WeakIdKeyDictionary()
        """The norms with a `train()` call of their own."""

    def note(self, module: nn.Module, training: bool, site: CallSite, weights_loaded: bool) -> None:
        """Count an `eval()`; a `train()` resets the count.

        An `eval()` of a whole part, in the constructor or after its weights were loaded, may be a habit.
        """
        for each in (self._unused, self._undone):
            each.pop(module, None)
        if training:
            self._times.pop(module, None)
            if updates_statistics(module):
                self._in_train_mode[module] = None
            for each in parts(module) if self._unused and not site.test_code else ():
                if self._unused.pop(each, module) is None:
                    self._undone[each] = None
        elif not is_model_loader(site.function):
            self._times[module] = self._times.get(module, 0) + 1
            is_habit = site.code.co_name == "__init__" or weights_loaded
            if not site.test_code and (updates_statistics(module) or not is_habit):
                self._unused[module] = None

    def note_call(self, module: nn.Module) -> None:
        """The program calls a model."""
        for each in parts(module) if self._unused else ():
            self._unused.pop(each, None)

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

    def undone_in(self, module: nn.Module, unpinned: tuple[str, ...]) -> tuple[str, ...]:
        """The paths among these of parts that were put back in train mode before the program used them."""
        return tuple(path for path in unpinned if module.get_submodule(path) in self._undone)

    def is_in_train_mode_on_purpose(self, norm: nn.Module) -> bool:
        """Whether the program called `train()` on the norm itself."""
        return norm in self._in_train_mode
