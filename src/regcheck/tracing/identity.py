"""The graph node that holds a tensor's value, also after writes through other views of its memory."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import torch
from torch import fx
from torch.multiprocessing.reductions import StorageWeakRef

from regcheck.lazy_dataclass import dataclass

from .memory import uncollected

Region = tuple[int, tuple[int, ...], tuple[int, ...]]
"""The elements of its storage that a tensor views: offset, sizes and strides."""


@dataclass(slots=True)
class _Binding:
    """A tensor object and the node that holds its value at a moment; moments count writes."""

    tensor: weakref.ref[torch.Tensor]
    node: fx.Node
    version: int | None
    moment: int


@dataclass(slots=True)
class _Write:
    moment: int
    region: Region | None
    node: fx.Node


class TensorIdentity:
    """Tracks tensors by Python object, and writes into shared memory by storage.

    Views and other tensors that share memory see a write at their next lookup: only then are storages compared. Weak
    references to storages let the memory go, and keep a storage's id from being reused.
    """

    def __init__(self) -> None:
        self._bindings: dict[int, _Binding] = {}
        self._storages: dict[int, tuple[StorageWeakRef, fx.Node]] = {}
        self._writes: dict[int, list[_Write]] = {}
        self._moment = 0
        self.counters_differ = False
        """Whether tensors with separate version counters (`.data`) share memory."""

    def bind(self, tensor: torch.Tensor, node: fx.Node) -> None:
        """From now on `node` holds the value of `tensor`."""
        self._bindings[id(tensor)] = _Binding(weakref.ref(tensor), node, version_of(tensor), self._moment)
        memory = memory_of(tensor)
        if memory is not None and memory._cdata not in self._storages:
            self._storages[memory._cdata] = StorageWeakRef(memory), node  # type: ignore[no-untyped-call]

    def bind_old(self, tensor: torch.Tensor, node: fx.Node) -> None:
        """`node` held the value of `tensor` before the run; the next lookup finds the writes since."""
        self.bind(tensor, node)
        self._bindings[id(tensor)].version, self._bindings[id(tensor)].moment = None, 0

    def write(self, tensor: torch.Tensor, node: fx.Node) -> None:
        """`node` writes into `tensor`, and so into every tensor that shares its memory."""
        self._moment += 1
        self._writes.setdefault(storage_of(tensor), []).append(_Write(self._moment, region_of(tensor), node))
        self.bind(tensor, node)

    def knows(self, tensor: torch.Tensor) -> bool:
        binding = self._bindings.get(id(tensor))
        return binding is not None and binding.tensor() is tensor

    def node_of(self, tensor: torch.Tensor) -> tuple[fx.Node, tuple[fx.Node, ...], bool]:
        """The node bound to a tensor, the nodes that overwrote it since, and whether an unrecorded write happened."""
        binding = self._bindings[id(tensor)]
        version = version_of(tensor)
        if version is not None and version == binding.version and not self.counters_differ:
            return binding.node, (), False
        since = [each for each in self._writes.get(storage_of(tensor), ()) if each.moment > binding.moment]
        unseen = not since and None not in (version, binding.version) and version != binding.version
        region = region_of(tensor) if since else None
        over = [each for each in since if overlap(each.region, region)]
        whole = [index for index, each in enumerate(over) if covers(each.region, region)]
        if whole:
            return over[whole[-1]].node, tuple(each.node for each in over[whole[-1] + 1 :]), False
        return binding.node, tuple(each.node for each in over), unseen

    def origin_of(self, tensor: torch.Tensor) -> fx.Node | None:
        """The node first bound to the memory of an unbound tensor: of its base, or of the tensor that it wraps."""
        entry = self._storages.get(storage_of(tensor))
        return entry[1] if entry else None


class NewTensors:
    """Distinguishes tensors created within a `with` block from older ones, by the garbage collector's generations.

    The block empties the youngest generation on entry and suspends collection. If the collector runs all the same, or
    has no generations, every tensor counts as new.
    """

    def __enter__(self) -> NewTensors:
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
    """The version counter; None for inference tensors, which have none."""
    try:
        return tensor._version
    except RuntimeError:
        return None


def memory_of(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    """The storage of a tensor, or of the tensor inside a `torch.func` wrapper; None without storage."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    try:
        return tensor.untyped_storage()
    except RuntimeError:
        return None


def storage_of(tensor: torch.Tensor) -> int:
    """An id of the tensor's storage; the negated id of the tensor itself where it has no storage."""
    memory = memory_of(tensor)
    return -id(tensor) if memory is None else int(memory._cdata)


def region_of(tensor: torch.Tensor) -> Region | None:
    """The region of the storage that a tensor views; None where torch does not report it."""
    try:
        return int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()
    except RuntimeError:
        return None


def _span(region: Region) -> tuple[int, int]:
    """The index of a region's first element, and the one after its last."""
    offset, sizes, strides = region
    return offset, offset + 1 + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))


def covers(writer: Region | None, reader: Region | None) -> bool:
    """Whether every element of `reader` is certainly one of `writer`."""
    if writer is None or reader is None:
        return False
    if writer == reader:
        return True
    (first, last), (low, high) = _span(writer), _span(reader)
    elements = torch.Size(writer[1]).numel()
    return elements == last - first and 0 not in writer[2] and first <= low and high <= last


def overlap(one: Region | None, other: Region | None) -> bool:
    """Whether two regions may share an element; False is certain."""
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
    """The region as intervals along the axes of a contiguous block; None where it is not such a slice."""
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
