"""What is known of a value while a forward is read: a tensor on its way from an argument, or a part of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

Root = tuple[str, ...]
"""An argument of forward, or a part of one: `("x",)`, `("batch", "image")`."""


@dataclass(frozen=True)
class FirstUse:
    """A layer (or the name of a function and its weights) that an argument meets.

    `argument` is the name the layer has for it; `way` lists the reshapings before; `shared` counts the arguments of
    forward that were joined into one tensor on the way.
    """

    layer: nn.Module | None
    argument: str = "input"
    way: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    shared: int = 1
    function: str = ""
    weight: torch.Tensor | None = None


@dataclass
class ForwardReading:
    """What reading a forward tells: the first meeting of each root, the ranks it unpacks, and the parts it asks for."""

    meetings: dict[Root, FirstUse] = field(default_factory=dict)
    ranks: dict[Root, int] = field(default_factory=dict)
    keys: dict[Root, None] = field(default_factory=dict)
    attributes: dict[Root, None] = field(default_factory=dict)


@dataclass(frozen=True)
class ArgumentFlow:
    """A tensor on its way from an argument to a layer."""

    roots: tuple[Root, ...]
    way: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Available:
    """A value that is there before forward runs: a module, a parameter, a number."""

    value: Any


@dataclass(frozen=True)
class Shape:
    """The sizes of a tensor on its way."""

    track: ArgumentFlow


def joined(values: Sequence[Any]) -> ArgumentFlow | None:
    """The tensor made of several."""
    tracks = [each for each in values if isinstance(each, ArgumentFlow)]
    roots = tuple(dict.fromkeys(root for each in tracks for root in each.roots))
    return ArgumentFlow(roots, tracks[0].way) if tracks else None


def reshaped(track: ArgumentFlow, name: str, arguments: tuple[Any, ...]) -> ArgumentFlow:
    return ArgumentFlow(track.roots, (*track.way, (name, arguments)))


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Available) else None


def first_of(value: Any) -> Any:
    """The first thing in something that is walked."""
    if isinstance(value, list):
        return value[0] if value else None
    if isinstance(value, Available) and isinstance(value.value, (nn.ModuleList, nn.Sequential, list, tuple)):
        return Available(value.value[0]) if len(value.value) else None
    if isinstance(value, Available) and isinstance(value.value, nn.ModuleDict):
        return Available(next(iter(value.value.values()), None))
    return value if isinstance(value, ArgumentFlow) else None
