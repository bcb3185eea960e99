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
class Meeting:
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
class Followed:
    """What reading a forward tells: the first meeting of each root, the ranks it unpacks, and the parts it asks for."""

    meetings: dict[Root, Meeting] = field(default_factory=dict)
    ranks: dict[Root, int] = field(default_factory=dict)
    keys: dict[Root, None] = field(default_factory=dict)
    attributes: dict[Root, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Track:
    """A tensor on its way from an argument to a layer."""

    roots: tuple[Root, ...]
    way: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Known:
    """A value that is there before forward runs: a module, a parameter, a number."""

    value: Any


@dataclass(frozen=True)
class Shape:
    """The sizes of a tensor on its way."""

    track: Track


def joined(values: Sequence[Any]) -> Track | None:
    """The tensor made of several."""
    tracks = [each for each in values if isinstance(each, Track)]
    roots = tuple(dict.fromkeys(root for each in tracks for root in each.roots))
    return Track(roots, tracks[0].way) if tracks else None


def reshaped(track: Track, name: str, arguments: tuple[Any, ...]) -> Track:
    return Track(track.roots, (*track.way, (name, arguments)))


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Known) else None


def first_of(value: Any) -> Any:
    """The first thing in something that is walked."""
    if isinstance(value, list):
        return value[0] if value else None
    if isinstance(value, Known) and isinstance(value.value, (nn.ModuleList, nn.Sequential, list, tuple)):
        return Known(value.value[0]) if len(value.value) else None
    if isinstance(value, Known) and isinstance(value.value, nn.ModuleDict):
        return Known(next(iter(value.value.values()), None))
    return value if isinstance(value, Track) else None
