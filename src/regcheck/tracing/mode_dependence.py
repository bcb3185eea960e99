"""One run for both modes: where only torch's own dropout layers ask for a mode, train mode adds what they drop."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from types import CodeType
from typing import ClassVar

import torch
from torch import fx, nn
from torch.nn.modules import dropout

from regcheck.core.graph import Reach
from regcheck.torch_api.arguments import Argument
from regcheck.torch_api.functions import DROPPING

from .record import META, CallMetadata

_FORWARDS: Mapping[CodeType, str] = {
    vars(each)["forward"].__code__: name
    for name, each in vars(dropout).items()
    if isinstance(each, type) and "forward" in vars(each)
}
"""The code of each dropout layer's forward, with the name of the layer."""


class ModeReads:
    """Whether, within a `with` block, more of a model can have depended on its mode than torch's own dropout layers.

    For the duration `nn.Module.training` is a property, which says who reads it or sets it; the modes stay where
    modules keep them. What any thread reads or sets counts.
    """

    _standing: ClassVar[list[ModeReads]] = []
    _lock: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, model: nn.Module) -> None:
        self.any = "training" in vars(nn.Module) and not self._standing
        self.any = self.any or any(_is_out_of_sight(each) for each in model.modules())

    def __enter__(self) -> ModeReads:
        with self._lock:
            if not self.any:
                self._standing.append(self)
                nn.Module.training = _TRAINING  # type: ignore[assignment]
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            if self in self._standing:
                self._standing.remove(self)
                if not self._standing:
                    del nn.Module.training

    @classmethod
    def note(cls) -> None:
        for each in cls._standing[:]:
            each.any = True


@torch.jit.unused  # so that a forward may script modules meanwhile, which compiles properties
def _read(module: nn.Module) -> bool:
    reader = sys._getframe(1).f_code
    if reader not in _FORWARDS or reader is not getattr(type(module).forward, "__code__", None):
        ModeReads.note()
    try:
        mode: bool = vars(module)["training"]
    except KeyError:
        raise AttributeError("training", name="training", obj=module) from None
    return mode


def _set(module: nn.Module, mode: bool) -> None:
    ModeReads.note()
    vars(module)["training"] = mode


def _delete(module: nn.Module) -> None:
    ModeReads.note()
    if vars(module).pop("training", None) is None:
        raise AttributeError("training", name="training", obj=module)


_TRAINING = property(_read, _set, _delete)


def _is_out_of_sight(module: nn.Module) -> bool:
    """Whether a module may keep its mode elsewhere, or act on it other than by reading it, or drops in place."""
    attributes = vars(module)
    if isinstance(module, torch.jit.ScriptModule):
        return True
    if "train" in attributes or "eval" in attributes or _has_modes_of_its_own(type(module)):
        return True
    return isinstance(module, dropout._DropoutNd) and module.inplace


def _has_modes_of_its_own(cls: type) -> bool:
    owners = (base for base in cls.__mro__ if base not in (nn.Module, object))
    return any(not vars(base).keys().isdisjoint(("train", "eval", "training")) for base in owners)


def switch_on(graph: fx.Graph) -> None:
    """Make the graph of a run in eval mode that of one in train mode, where only dropout layers depend on the mode."""
    layers = set(_FORWARDS.values())
    for node in graph.nodes:
        seen: CallMetadata | None = node.meta.get(META)
        if seen is not None and seen.name in DROPPING and seen.layer in layers and seen.reach is Reach.REGISTERED:
            seen.active = seen.rate != 0
            _give(node, DROPPING[seen.name].training)


def _give(node: fx.Node, switch: Argument | None) -> None:
    """Set the switch of a dropping call."""
    if switch is None:
        return
    position, name, _ = switch
    if len(node.args) > position:
        node.update_arg(position, True)
    else:
        node.update_kwarg(name, True)
