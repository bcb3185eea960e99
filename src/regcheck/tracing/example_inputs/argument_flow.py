"""The values of a forward that is read: tensors computed from arguments, and live objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import torch
from torch import nn

from regcheck.lazy_dataclass import dataclass

Root = tuple[str, ...]
"""An argument of forward, or a part of one: `("x",)`, `("batch", "image")`."""


@dataclass(frozen=True)
class FirstUse:
    """The layer, or the function with its weights, that uses an argument first.

    `argument` is the layer's name for it; `way` lists the reshapes before; `shared` counts the arguments of forward
    that are joined into the tensor.
    """

    layer: nn.Module | None
    argument: str = "input"
    way: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    shared: int = 1
    function: str = ""
    weight: torch.Tensor | None = None


@dataclass
class ForwardReading:
    """The result of reading a forward: the first use and the rank of each root, and the parts that it reads.

    `items` are those of an argument that a loop takes together with a list of layers, one for each.
    """

    meetings: dict[Root, FirstUse] = field(default_factory=dict)
    ranks: dict[Root, int] = field(default_factory=dict)
    keys: dict[Root, None] = field(default_factory=dict)
    attributes: dict[Root, None] = field(default_factory=dict)
    items: dict[Root, None] = field(default_factory=dict)


@dataclass(frozen=True)
class ArgumentFlow:
    """A tensor that reshapes (`way`) compute from arguments (`roots`)."""

    roots: tuple[Root, ...]
    way: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Available:
    """A value that exists before forward runs: a module, a parameter, a number."""

    value: Any


@dataclass(frozen=True)
class Shape:
    """The sizes of a tensor that is followed."""

    track: ArgumentFlow


def joined(values: Sequence[Any]) -> ArgumentFlow | None:
    """The tensor computed from several values; None if none of them is followed."""
    tracks = [each for each in values if isinstance(each, ArgumentFlow)]
    roots = tuple(dict.fromkeys(root for each in tracks for root in each.roots))
    return ArgumentFlow(roots, tracks[0].way) if tracks else None


def reshaped(track: ArgumentFlow, name: str, arguments: tuple[Any, ...]) -> ArgumentFlow:
    return ArgumentFlow(track.roots, (*track.way, (name, arguments)))


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Available) else None


def first_of(value: Any) -> Any:
    """The first item of an iterated value."""
    if isinstance(value, list):
        return value[0] if value else None
    if isinstance(value, Available) and isinstance(value.value, (nn.ModuleList, nn.Sequential, list, tuple)):
        return Available(value.value[0]) if len(value.value) else None
    if isinstance(value, Available) and isinstance(value.value, nn.ModuleDict):
        return Available(next(iter(value.value.values()), None))
    return value if isinstance(value, ArgumentFlow) else None
