"""Which node of the graph holds the value of a tensor, whichever of its views was written to last."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import fx
from torch.multiprocessing.reductions import StorageWeakRef

from .memory import uncollected

Region = tuple[int, tuple[int, ...], tuple[int, ...]]
"""Which elements of its storage a tensor shows: offset, sizes and strides."""


@dataclass(slots=True)
class _Known:
    """A tensor object and the node that held its value at a moment; moments are counted in writes."""

    tensor: weakref.ref[torch.Tensor]
    node: fx.Node
    version: int | None
    moment: int


@dataclass(slots=True)
class _Write:
    moment: int
    region: Region | None
    node: fx.Node


class Identity:
    """Follows tensors by object, and what is written into shared memory by storage.

    A tensor is known by its Python object. Views, detached twins and whoever else shares its memory learn of a write
    when they are next asked for: only then are storages compared. Storages are held weakly, which frees what they hold
    and keeps their identity from being given to another.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._storages: dict[int, tuple[StorageWeakRef, fx.Node]] = {}
        self._writes: dict[int, list[_Write]] = {}
        self._moment = 0
        self.counters_differ = False
        """Whether some memory is shared by tensors that count versions on their own (`.data`)."""

    def bind(self, tensor: torch.Tensor, node: fx.Node) -> None:
        """From now on `node` holds the value of `tensor`."""
        self._known[id(tensor)] = _Known(weakref.ref(tensor), node, version_of(tensor), self._moment)
        memory = memory_of(tensor)
        if memory is not None and memory._cdata not in self._storages:
            self._storages[memory._cdata] = StorageWeakRef(memory), node  # type: ignore[no-untyped-call]

    def bind_old(self, tensor: torch.Tensor, node: fx.Node) -> None:
        """`node` held the value of `tensor` before anything ran; what was written since is yet to be noticed."""
        self.bind(tensor, node)
        self._known[id(tensor)].version, self._known[id(tensor)].moment = None, 0

    def write(self, tensor: torch.Tensor, node: fx.Node) -> None:
        """`node` wrote into `tensor`, and so into whatever shares its memory."""
        self._moment += 1
        self._writes.setdefault(storage_of(tensor), []).append(_Write(self._moment, region_of(tensor), node))
        self.bind(tensor, node)

    def knows(self, tensor: torch.Tensor) -> bool:
        known = self._known.get(id(tensor))
        return known is not None and known.tensor() is tensor

    def node_of(self, tensor: torch.Tensor) -> tuple[fx.Node, tuple[fx.Node, ...], bool]:
        """The node last bound to a known tensor, the nodes that wrote over it since, and whether one wrote unseen."""
        known = self._known[id(tensor)]
        version = version_of(tensor)
        if version is not None and version == known.version and not self.counters_differ:
            return known.node, (), False
        since = [each for each in self._writes.get(storage_of(tensor), ()) if each.moment > known.moment]
        unseen = not since and None not in (version, known.version) and version != known.version
        region = region_of(tensor) if since else None
        over = [each for each in since if overlap(each.region, region)]
        whole = [index for index, each in enumerate(over) if covers(each.region, region)]
        if whole:
            return over[whole[-1]].node, tuple(each.node for each in over[whole[-1] + 1 :]), False
        return known.node, tuple(each.node for each in over), unseen

    def origin_of(self, tensor: torch.Tensor) -> fx.Node | None:
        """The node that first held what is in the memory of an unknown tensor: a view, or what a transform wrapped."""
        found = self._storages.get(storage_of(tensor))
        return found[1] if found else None


class Newborns:
    """Tells tensors that came to be within a `with` block from older ones, without having seen their birth.

    The garbage collector tells by its youngest generation, which is emptied before and left alone meanwhile. Where
    somebody has it collect all the same, or it knows no generations, every tensor counts as new.
    """

    def __enter__(self) -> Newborns:
        self._uncollected = uncollected()
        self._uncollected.__enter__()
        self._older: list[None] = []
        gc.collect(0)
        self._younger: list[None] = []
        return self

    def __exit__(self, *error: object) -> None:
        self._uncollected.__exit__(None, None, None)

    def __contains__(self, tensor: torch.Tensor) -> bool:
        young = {id(each) for each in gc.get_objects(generation=0)}
        return id(self._older) in young or id(self._younger) not in young or id(tensor) in young


def version_of(tensor: torch.Tensor) -> int | None:
    """How often the tensor was written to; None for inference tensors, which do not count."""
    try:
        return tensor._version
    except RuntimeError:
        return None


def memory_of(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    """The memory of a tensor, or of what a `torch.func` wrapper holds; None where there is none."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    try:
        return tensor.untyped_storage()
    except RuntimeError:
        return None


def storage_of(tensor: torch.Tensor) -> int:
    """What identifies the memory of a tensor: its own identity, negated, where it has no memory of its own."""
    memory = memory_of(tensor)
    return -id(tensor) if memory is None else int(memory._cdata)


def region_of(tensor: torch.Tensor) -> Region | None:
    """Which elements a tensor shows; None where it does not say."""
    try:
        return int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()
    except RuntimeError:
        return None


def _span(region: Region) -> tuple[int, int]:
    """The first element shown, and the one after the last."""
    offset, sizes, strides = region
    return offset, offset + 1 + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))


def covers(writer: Region | None, reader: Region | None) -> bool:
    """Whether surely every element of `reader` is one of `writer`."""
    if writer is None or reader is None:
        return False
    if writer == reader:
        return True
    (first, last), (low, high) = _span(writer), _span(reader)
    elements = torch.Size(writer[1]).numel()
    return elements == last - first and 0 not in writer[2] and first <= low and high <= last


def overlap(one: Region | None, other: Region | None) -> bool:
    """Whether two regions may have an element in common: False is certain."""
    if one is None or other is None:
        return True
    (first, last), (low, high) = _span(one), _span(other)
    if last <= low or high <= first:
        return False
    box, another = _box(one), _box(other)
    if one[2] != other[2] or box is None or another is None:
        return True
    return all(a < d and c < b for (a, b), (c, d) in zip(box, another, strict=True))


def _box(region: Region) -> list[tuple[int, int]] | None:
    """The region as intervals along the axes of the block it was cut from; None where it is not cut so."""
    offset, sizes, strides = region
    axes = sorted(zip(strides, sizes, strict=True), reverse=True)
    if any(wide % max(narrow, 1) or narrow < 1 for wide, narrow in pairwise(stride for stride, _ in axes)):
        return None
    box = []
    for index, (stride, size) in enumerate(axes):
        start, offset = divmod(offset, max(stride, 1))
        if index and start + size > axes[index - 1][0] // stride:
            return None
        box.append((start, start + size))
    return [*box, (offset, offset + 1)]
