"""Derive the train-mode graph from an eval run where only layers of torch read the mode, each for one argument."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import ClassVar

import torch
from torch import fx, nn
from torch.nn.modules import batchnorm, dropout, instancenorm, rnn

from regcheck.core.graph import Reach
from regcheck.torch_api.arguments import Argument
from regcheck.torch_api.functions import DROPPING, STACKED

from .call_interceptor import stacked_switch
from .record import META, CallMetadata, Recording

_FORWARDS: Mapping[CodeType, str] = {
    vars(each)["forward"].__code__: name
    for name, each in (*vars(dropout).items(), ("MultiheadAttention", nn.MultiheadAttention))
    if isinstance(each, type) and "forward" in vars(each)
}
"""The name of each dropping layer, by the code of its forward."""

_RECURRENT: Mapping[CodeType, str] = {
    vars(each)["forward"].__code__: name
    for name, each in vars(rnn).items()
    if isinstance(each, type) and issubclass(each, rnn.RNNBase) and "forward" in vars(each)
}
"""The name of each layer that stacks recurrent ones, by the code of its forward."""

_NORMS = frozenset(
    name for name, each in vars(batchnorm).items() if getattr(each, "forward", None) is batchnorm._BatchNorm.forward
)
"""The batch norms that share one forward, by name."""

_NORM_SWITCH = Argument(5, "training", False)
"""The argument of `F.batch_norm` that says whether it takes the statistics of its batch."""


class ModeReads:
    """Detects whether, in a `with` block, code reads the mode for more than one argument of a layer of torch.

    Inside the block `nn.Module.training` is a property that notes who reads or sets it, in any thread; the flags stay
    in the modules' dictionaries.
    """

    _active: ClassVar[list[ModeReads]] = []
    _lock: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, model: nn.Module) -> None:
        self.any = "training" in vars(nn.Module) and not self._active
        self.any = self.any or any(_may_hide_its_mode(each) for each in model.modules())

    def __enter__(self) -> ModeReads:
        with self._lock:
            if not self.any:
                self._active.append(self)
                nn.Module.training = _TRAINING  # type: ignore[assignment]
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            if self in self._active:
                self._active.remove(self)
                if not self._active:
                    del nn.Module.training

    @classmethod
    def note(cls) -> None:
        for each in cls._active[:]:
            each.any = True


@torch.jit.unused  # a forward may script modules meanwhile, which compiles properties
def _read(module: nn.Module) -> bool:
    if not _passes_the_mode_on(module, sys._getframe(1).f_code):
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


def _passes_the_mode_on(module: nn.Module, reader: CodeType) -> bool:
    """Whether code that reads a layer's mode uses it for nothing but one argument of the layer's call."""
    if reader is instancenorm._InstanceNorm._apply_instance_norm.__code__:
        return not module.track_running_stats
    if reader is not getattr(type(module).forward, "__code__", None):
        return False
    if reader is batchnorm._BatchNorm.forward.__code__:
        passes_statistics = module.track_running_stats or module.running_mean is None
        return passes_statistics and module.momentum is not None
    return reader in _FORWARDS or reader in _RECURRENT


_TRAINING = property(_read, _set, _delete)


def _may_hide_its_mode(module: nn.Module) -> bool:
    """Whether a module may store its mode elsewhere, use it without reading `training`, or drop in place."""
    attributes = vars(module)
    if isinstance(module, torch.jit.ScriptModule):
        return True
    if "train" in attributes or "eval" in attributes or _has_modes_of_its_own(type(module)):
        return True
    return isinstance(module, dropout._DropoutNd) and module.inplace


def _has_modes_of_its_own(cls: type) -> bool:
    owners = (base for base in cls.__mro__ if base not in (nn.Module, object))
    return any(not vars(base).keys().isdisjoint(("train", "eval", "training")) for base in owners)


def determines_train_mode(recording: Recording) -> bool:
    """Whether the graph of an eval run, in which only such layers read the mode, is that of a train run too.

    It is not where a dropout returns its input, where a batch norm has one value per channel, which it refuses to train
    on, and where the forward reads values that depend on the mode: it may branch on them.
    """
    if recording.returns_input:
        return False
    dependent = set[fx.Node]()
    for node, switch in _switched(recording.graph):
        dependent.add(node)
        seen: CallMetadata = node.meta[META]
        if seen.name in STACKED and switch is None:
            return False
        if seen.name == "batch_norm" and (seen.shape is None or math.prod(seen.shape) <= seen.shape[1]):
            return False
    if recording.read and dependent:
        for node in recording.graph.nodes:
            if not dependent.isdisjoint(node.all_input_nodes):
                dependent.add(node)
    return dependent.isdisjoint(recording.read)


def as_train_mode(graph: fx.Graph) -> None:
    """Turn the graph of an eval run into that of a train run, where only such layers depend on the mode."""
    for node, switch in _switched(graph):
        seen: CallMetadata = node.meta[META]
        seen.active = seen.rate != 0 and (seen.depth is None or seen.depth > 1)
        _set_switch(node, switch)


def _switched(graph: fx.Graph) -> Iterator[tuple[fx.Node, Argument | None]]:
    """The calls of the registered layers that depend on the mode, each with the argument that switches it."""
    dropouts, recurrent = set(_FORWARDS.values()), set(_RECURRENT.values())
    for node in graph.nodes:
        seen: CallMetadata | None = node.meta.get(META)
        if seen is None or seen.reach is not Reach.REGISTERED:
            continue
        if seen.name in DROPPING and seen.layer in dropouts:
            yield node, DROPPING[seen.name].training
        elif seen.name in STACKED and seen.layer in recurrent:
            yield node, stacked_switch(node.args)
        elif seen.name == "batch_norm" and seen.layer in _NORMS:
            yield node, _NORM_SWITCH


def _set_switch(node: fx.Node, switch: Argument | None) -> None:
    """Set the `training` argument of a call to True."""
    if switch is None:
        return
    position, name, _ = switch
    if len(node.args) > position:
        node.update_arg(position, True)
    else:
        node.update_kwarg(name, True)
