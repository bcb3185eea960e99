"""Which parameters of live models optimizers train, and which norms of the other parts move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.frozen_norms import OwnedParameters, frozen_norms, norms_of_frozen_model
from regcheck.lazy_dataclass import dataclass

from .models import is_norm, parts, updates_statistics
from .optimizers import parameters_of

_SAMPLE = 8
_PLAIN = (torch.Tensor, nn.Parameter)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a training call finds in a model whose norms move.

    Attributes:
        statistics: the running mean and variance of each norm that the call moves, by path.
        samples: the first elements of each parameter, by name: they show whether the program changes it later.
    """

    statistics: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    samples: Mapping[str, torch.Tensor]


def snapshot(model: nn.Module) -> Snapshot | None:
    """A snapshot before a call; None where the call moves no running statistics."""
    norms = ((path, each) for path, each in model.named_modules() if updates_statistics(each))
    moving = {path: norm for path, norm in norms if norm.training}
    if not moving:
        return None
    statistics = {path: (_copy(norm.running_mean), _copy(norm.running_var)) for path, norm in moving.items()}
    return Snapshot(statistics, {name: _sample(each) for name, each in model.named_parameters() if is_plain(each)})


def has_frozen_norm(model: nn.Module) -> bool:
    """Whether a norm moves whose scale and shift need no gradients."""
    return any(
        norm.training and (scale := getattr(norm, "weight", None)) is not None and not scale.requires_grad
        for norm in parts(model)
        if updates_statistics(norm)
    )


class TrainedParameters:
    """The parameters that optimizers train: those that need gradients at a step of an optimizer that holds them."""

    def __init__(self) -> None:
        self._trained: Any = WeakIdKeyDictionary()
        self._needed: Any = WeakIdKeyDictionary()
        """For each optimizer, which of its parameters needed gradients at its last step."""

    def note_step(self, optimizer: Any) -> None:
        """An optimizer of torch or of Keras steps."""
        parameters = parameters_of(optimizer)
        needed = [each.requires_grad for each in parameters]
        if self._needed.get(optimizer) != needed:
            self._needed[optimizer] = needed
            self._trained.update((each, None) for each in parameters if each.requires_grad)

    def frozen_norms(self, model: nn.Module, before: Snapshot) -> tuple[str, ...]:
        """The paths of norms that a call moved after this snapshot, and whose part of the model is frozen so far.

        A parameter that the program changed by other means, as in a moving average of weights, is not frozen, nor is a
        copy of a trained one, as in a teacher.
        """
        modules = dict(model.named_modules())
        moved = [modules[path] for path in before.statistics if path in modules]
        if all(each in self._trained for norm in moved for each in norm.parameters(recurse=False) or (None,)):
            return ()
        return frozen_norms([*self._owners(modules, before)])

    def norms_of_frozen_model(self, model: nn.Module, before: Snapshot) -> tuple[str, ...]:
        """The paths of norms that a call moved after this snapshot, in a model of which nothing is trained so far."""
        return norms_of_frozen_model([*self._owners(dict(model.named_modules()), before)])

    def _owners(self, modules: Mapping[str, nn.Module], before: Snapshot) -> Iterator[OwnedParameters]:
        named = modules[""].named_parameters()
        copied = {_values(each, before, name) for name, each in named if each in self._trained and each.dim() > 1}
        for path, module in modules.items():
            own = {name: each for name, each in module._parameters.items() if each is not None}
            norm = is_norm(module)
            if own or norm:
                names = {f"{path}.{name}" if path else name: each for name, each in own.items()}
                trained = any(
                    each in self._trained
                    or _has_changed(each, before, name)
                    or (each.dim() > 1 and _values(each, before, name) in copied)
                    for name, each in names.items()
                )
                yield OwnedParameters(path, trained, norm, not own, path in before.statistics)


def _values(parameter: nn.Parameter, before: Snapshot, name: str) -> tuple[object, ...]:
    """The shape and the first elements of a parameter: equal for a parameter and its copy."""
    sample = before.samples.get(name)
    return tuple(parameter.shape), id(parameter) if sample is None else tuple(sample.tolist())


def _has_changed(parameter: nn.Parameter, before: Snapshot, name: str) -> bool:
    sample = before.samples.get(name)
    return sample is not None and not (is_plain(parameter) and torch.equal(sample, _sample(parameter)))


def is_plain(parameter: torch.Tensor) -> bool:
    """Whether a parameter is an ordinary tensor with elements in memory."""
    stored = parameter.layout is torch.strided and not parameter.is_meta and parameter.numel() > 0
    return stored and type(parameter) in _PLAIN


def _sample(parameter: torch.Tensor) -> torch.Tensor:
    flat = parameter.detach()
    while flat.dim() > 1:
        flat = flat[0]
    return _copy(flat[:_SAMPLE] if flat.dim() else flat)


def _copy(tensor: Any) -> torch.Tensor:
    copy: torch.Tensor = tensor.detach().clone()
    return copy
