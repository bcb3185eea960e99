"""Follow the axes of features and positions through torch's functions, by shapes where they are known.

A layer writes its features along one axis, and a convolution whose window moves writes positions along the axes after
it. What comes next keeps, moves, merges or removes axes. Axes are counted from the end, so that broadcasting and
unknown leading axes leave their numbers unchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from regcheck.core.graph import Flow, Kind, Op
from regcheck.lazy_dataclass import dataclass

from .arguments import signature
from .functions import CELLS, STACKED

UNKNOWN = "?"
"""Stands for an argument that is no constant."""

SLICE, ONE, NEW, REST = "slice", "one", "new", "rest"
"""Stand in an index for a slice, a slice of length one, `None` and `...`."""

_REDUCING = frozenset("mean amax amin sum max min std var median logsumexp norm prod argmax argmin".split())
_REDUCTION = "input dim=None keepdim=False"
_ADAPTIVE = "input output_size"
_SIGNATURES: Mapping[str, str] = {
    **dict.fromkeys(_REDUCING, _REDUCTION),
    **{f"adaptive_{kind}_pool{n}d": _ADAPTIVE for kind in ("max", "avg") for n in (1, 2, 3)},
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), "input dim0 dim1"),
    **dict.fromkeys(("movedim", "moveaxis"), "input source destination"),
    **dict.fromkeys(("permute", "view", "reshape", "expand", "repeat", "tile"), "input sizes"),
    "t": "input",
    "unsqueeze": "input dim",
    "squeeze": "input dim=None",
    "flatten": "input start_dim=0 end_dim=-1",
    "stack": "tensors dim=0",
    "unbind": "input dim=0",
    "select": "input dim index",
    "getitem": "input key",
}
_VARIADIC = frozenset("permute view reshape expand repeat tile".split())

_KEEPING_KINDS = frozenset(
    {
        Kind.IDENTITY,
        Kind.ACTIVATION,
        Kind.SIGMOID,
        Kind.SOFTMAX,
        Kind.BATCH_NORM,
        Kind.NORM,
        Kind.SCALE,
        Kind.COMBINE,
        Kind.CONCAT,
        Kind.DROPOUT,
        Kind.POOL,
        Kind.JOIN,
    }
)
_KEEPING = frozenset(
    "interpolate upsample upsample_nearest upsample_bilinear pad pixel_shuffle pixel_unshuffle channel_shuffle"
    " native_channel_shuffle grid_sample maximum minimum fmax fmin chunk split tensor_split narrow index_select roll"
    " flip rrelu fractional_max_pool2d fractional_max_pool3d max_unpool1d max_unpool2d max_unpool3d cumsum".split()
)
"""Functions of other kinds whose result has the axes of its input."""

_RESHAPING = frozenset("view view_as reshape reshape_as unflatten squeeze".split())

_LOSING = frozenset("flatten squeeze select unbind t".split())
"""Functions that remove axes, whichever these are."""

_MIXING = (Kind.MATMUL, Kind.ATTENTION, Kind.EMBEDDING)
"""Kinds of op whose result has axes of several inputs."""

_TUPLES = STACKED | frozenset("multi_head_attention_forward chunk split tensor_split unbind max min median".split())
"""Functions whose result is a tuple, of which `getitem` returns a part."""

_ENCODERS = frozenset("TransformerEncoderLayer TransformerDecoderLayer TransformerEncoder TransformerDecoder".split())
_WRITING_IN_PLACE = frozenset("setitem index_put written".split())


@dataclass(frozen=True, slots=True)
class Axes:
    """The axes of a result: the one that holds the features of the last layer, and those that hold a map's positions.

    The `rank` is None where it is unknown; the axis of `features` is None where there is no single one.
    """

    rank: int | None
    features: int | None
    positions: frozenset[int] = frozenset()

    @property
    def is_map(self) -> bool:
        """Whether this is an (N, C, …) map: positions, and nothing else, follow the channels."""
        count = len(self.positions)
        trailing = self.positions == frozenset(range(-count, 0))
        return bool(count) and trailing and self.rank == count + 2 and self.features in (None, -count - 1)

    @property
    def is_map_with_features_last(self) -> bool:
        """Whether this is an (N, …, C) map, as Keras' layers return it."""
        count = len(self.positions)
        leading = self.positions == frozenset(range(-count - 1, -1))
        return bool(count) and leading and self.rank == count + 2 and self.features in (None, -1)


def axis_arguments(function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The arguments by name that decide which axes a call moves; empty for a function that moves none.

    `args` begin with the input. Numbers, texts and tuples of them stand for themselves, and `UNKNOWN` for the rest.
    """
    text = _SIGNATURES.get(function)
    if text is None:
        return ()
    names = [*signature(text).values()][1:]
    if function in _VARIADIC and len(args) > 1 and not isinstance(args[1], tuple):
        return (("sizes", tuple(args[1:])),)
    arguments = {"dim": kwargs["axis"], **kwargs} if "axis" in kwargs else kwargs
    return tuple(
        (each.name, arguments.get(each.name, args[each.position] if len(args) > each.position else each.default))
        for each in names
    )


class AxesInFlow:
    """The axes of each op of a flow, computed where they are asked for.

    With `assumed`, an op whose effect on the axes is unknown keeps the axes of its inputs, as far as its rank allows.
    """

    def __init__(self, flow: Flow, *, assumed: bool = False) -> None:
        self._flow = flow
        self._assumed = assumed
        self._keeping: set[str] = set()
        self._axes: dict[str, Axes | None] = {}

    @cached_property
    def _is_keras(self) -> bool:
        return any(op.kind is Kind.CONV and op.call.startswith("keras.") for op in self._flow)

    def is_map(self, op: Op) -> bool:
        """Whether a result is a map: (N, C, …), or (N, …, C) in a model of Keras' layers."""
        axes = self.of(op)
        return axes is not None and (axes.is_map or (self._is_keras and axes.is_map_with_features_last))

    def of(self, op: Op) -> Axes | None:
        """The axes of an op's result; None where they are unknown."""
        todo = [op]
        while todo:
            each = todo[-1]
            if each.id in self._axes:
                todo.pop()
                continue
            missing = [op_before for op_before in self._flow.inputs_of(each) if op_before.id not in self._axes]
            if missing and not _is_origin(each):
                todo += missing
                continue
            self._axes[each.id] = self._checked(each)
            todo.pop()
        return self._axes[op.id]

    def assumed_at(self, op: Op) -> Op | None:
        """The op itself or the nearest op upstream that was assumed to keep the axes of its inputs."""
        self.of(op)
        if op.id in self._keeping:
            return op
        nearest = self._flow.behind(op, lambda each: each.id not in self._keeping)
        return nearest[0] if nearest else None

    def _checked(self, op: Op) -> Axes | None:
        """The axes by the call, if the recorded shape agrees; without a rule for the call, by the shapes alone."""
        inputs = self._flow.inputs_of(op)
        axes = self._by_call(op, inputs)
        if axes is None and self._assumed:
            axes = self._unchanged(op, inputs)
            if axes is not None:
                self._keeping.add(op.id)
        if op.shape is None or axes is None:
            return axes
        if axes.rank is None:
            axes = replace(axes, rank=len(op.shape))
        return axes if axes.rank == len(op.shape) else None

    def _by_call(self, op: Op, inputs: Sequence[Op]) -> Axes | None:
        function = op.site.function
        written = self._written(op, function, inputs)
        if written is not None:
            return written
        if op.kind is Kind.EMBEDDING:
            return Axes(None, None)
        axes_of_inputs = [axes for axes in (self._axes.get(each.id) for each in inputs) if axes is not None]
        if op.kind is Kind.JOIN:
            return (
                _joined(axes_of_inputs)
                if len(axes_of_inputs) == len(inputs)
                else _without_features(_joined(axes_of_inputs))
            )
        if function == "flatten" or (function in ("view", "reshape") and op.shape is None):
            return _flat(op, axes_of_inputs[0] if axes_of_inputs else None, inputs)
        if not axes_of_inputs or function == "view_as_real":
            return None
        if function in _WRITING_IN_PLACE:
            return self._axes.get(inputs[0].id)
        if (
            op.kind in _KEEPING_KINDS
            or function in _KEEPING
            or function in _SIGNATURES
            or function in _RESHAPING
            or "pool" in function
        ):
            axes = _joined(axes_of_inputs)
            if axes is not None and op.kind is Kind.COMBINE and self._adds_tokens(op, inputs):
                axes = replace(axes, positions=frozenset())
            return None if axes is None else self._moved(op, axes, inputs)
        return self._by_shapes(op, inputs)

    def _adds_tokens(self, op: Op, inputs: Sequence[Op]) -> bool:
        """Whether a layer wrote one of the operands as tokens, (N, L, C): each is then the sum of tokens."""
        return any(
            axes is not None and axes.features == -1 and not axes.positions and each.shape == op.shape
            for each in inputs
            for axes in (self._axes.get(each.id),)
        )

    def _written(self, op: Op, function: str, inputs: Sequence[Op]) -> Axes | None:
        """The axes that a layer writes."""
        target = next((axes for axes in (self._axes.get(each.id) for each in inputs) if axes is not None), None)
        rank = len(op.shape) if op.shape is not None else target.rank if target is not None else None
        if function in ("linear", "bilinear", "addmm"):
            return Axes(rank, -1)
        if function in ("matmul", "mm", "bmm") and inputs and inputs[-1].kind is Kind.PARAMETER:
            return Axes(rank, -1)
        if op.kind is Kind.CONV:
            count = int(function[-2]) if function[-2:-1].isdigit() else len(op.shape) - 2 if op.shape else 0
            moved = frozenset(range(-count, 0))
            positions = moved if op.window else moved & target.positions if target is not None else frozenset()
            return Axes(len(op.shape) if op.shape else count + 2, -count - 1, positions) if count else None
        if function in STACKED or function == "multi_head_attention_forward" or function in _ENCODERS:
            return Axes(3 if op.shape is None else rank, -1)
        return Axes(2 if op.shape is None else rank, -1) if function in CELLS else None

    def _moved(self, op: Op, axes: Axes, inputs: Sequence[Op]) -> Axes | None:
        function, arguments = op.site.function, _arguments(op)
        if function == "getitem":
            return self._item(op, axes, arguments["key"], inputs)
        if function in _RESHAPING and op.shape is not None:
            source = next((each for each in inputs if self._axes.get(each.id) is not None), None)
            return _reshaped(axes, source.shape, op.shape) if source is not None and source.shape else None
        if function in ("transpose", "swapaxes", "swapdims"):
            return _permuted(axes, _swapped(axes.rank, arguments["dim0"], arguments["dim1"]))
        if function == "t":
            return _permuted(axes, _swapped(axes.rank, -2, -1))
        if function == "permute":
            order = arguments["sizes"]
            is_constant = isinstance(order, tuple) and all(isinstance(each, int) for each in order)
            return _permuted(replace(axes, rank=len(order)), order) if is_constant else None
        if function in ("movedim", "moveaxis"):
            return _permuted(axes, _shifted(axes.rank, arguments["source"], arguments["destination"]))
        if function in ("unsqueeze", "stack"):
            return _inserted(axes, arguments["dim"])
        if function in ("select", "unbind"):
            return _removed(axes, (arguments["dim"],))
        if function in _RESHAPING:
            return (
                None
                if function != "squeeze" or arguments["dim"] is None
                else _removed(axes, _as_tuple(arguments["dim"]))
            )
        if function in ("expand", "repeat", "tile"):
            sizes = arguments["sizes"]
            return replace(axes, rank=len(sizes)) if isinstance(sizes, tuple) else None
        if function in _REDUCING:
            return self._reduced(axes, arguments["dim"], arguments["keepdim"], inputs)
        single = function.startswith("adaptive") and set(_as_tuple(arguments["output_size"])) == {1}
        if single or ("pool" in function and op.kind is Kind.OTHER and op.shape is None):
            return replace(axes, positions=frozenset())  # a single position, or perhaps one, is left
        return axes

    def _reduced(self, axes: Axes, dim: Any, keepdim: Any, inputs: Sequence[Op]) -> Axes | None:
        if len(inputs) > 1:  # the larger of two tensors
            return axes
        if dim is None or keepdim not in (True, False):
            return None
        dims = _from_end(axes.rank, _as_tuple(dim))
        if dims is None:
            return None
        if not keepdim:
            return _removed(axes, dims)
        features = None if axes.features in dims else axes.features
        return Axes(axes.rank, features, axes.positions - set(dims))

    def _item(self, op: Op, axes: Axes, key: Any, inputs: Sequence[Op]) -> Axes | None:
        source = inputs[0]
        if source.site.function in _TUPLES and isinstance(key, int) and (source.shape is None):
            if source.site.function == "unbind":
                return axes
            is_state = source.site.function == "lstm" and key != 0 and op.shape is None  # a pair of tensors
            return None if is_state else replace(axes, rank=len(op.shape)) if op.shape is not None else axes
        if source.shape is None and op.shape is not None:
            return axes
        parts = key if isinstance(key, tuple) else (key,)
        if any(each == UNKNOWN or isinstance(each, tuple) for each in parts):
            return self._by_shapes(op, inputs)
        return _indexed(axes, parts)

    def _by_shapes(self, op: Op, inputs: Sequence[Op]) -> Axes | None:
        """The axes of the one input that has the result's rank, and its sizes outside of the positions."""
        if op.shape is None or op.learned or op.kind in (Kind.MATMUL, Kind.ATTENTION):
            return None
        for each in inputs:
            axes, shape = self._axes.get(each.id), each.shape
            if axes is None or shape is None or len(shape) != len(op.shape):
                continue
            changed = {axis for axis in range(-len(shape), 0) if shape[axis] != op.shape[axis]}
            return axes if changed <= axes.positions else None
        return None

    def _unchanged(self, op: Op, inputs: Sequence[Op]) -> Axes | None:
        """The axes of the inputs, if the result may have them; a reshape may split or merge others before positions."""
        function = op.site.function
        axes = _joined([axes for axes in (self._axes.get(each.id) for each in inputs) if axes is not None])
        if axes is None or op.kind in _MIXING or function in _REDUCING or function in _LOSING:
            return None
        sizes = _arguments(op)["sizes"] if function in _RESHAPING else (UNKNOWN,)
        listed = isinstance(sizes, tuple) and sizes != (UNKNOWN,)  # `view(*shape)` is no list
        rank = len(op.shape) if op.shape is not None else len(sizes) if listed else axes.rank
        if axes.rank is None or rank is None or rank < len(axes.positions) + 2:
            return None
        return axes if rank == axes.rank else Axes(rank, None, axes.positions)


def _is_origin(op: Op) -> bool:
    """Whether the axes of a result do not depend on those of its inputs."""
    return op.kind is Kind.EMBEDDING or (op.kind is Kind.CONV and op.window) or op.site.function in STACKED


def _arguments(op: Op) -> Mapping[str, Any]:
    return defaultdict(lambda: UNKNOWN, op.axis_arguments)


def _joined(operands: Sequence[Axes]) -> Axes | None:
    """The axes of values that are broadcast, or of one of several alternatives; None where they contradict."""
    if not operands:
        return None
    ranks = [axes.rank for axes in operands if axes.rank is not None]
    features = {axes.features for axes in operands}
    positions = frozenset[int]().union(*(axes.positions for axes in operands))
    if len(features - {None}) > 1:
        return None
    return Axes(max(ranks, default=None), features.pop() if len(features) == 1 else None, positions)


def _without_features(axes: Axes | None) -> Axes | None:
    return None if axes is None else replace(axes, features=None)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _from_end(rank: int | None, axes: Iterable[Any]) -> tuple[int, ...] | None:
    """Axes counted from the end; None where one is unknown, does not exist, or counts from the front of any rank."""
    numbers = []
    for axis in axes:
        if not isinstance(axis, int) or (axis >= 0 if rank is None else not -rank <= axis < rank):
            return None
        numbers.append(axis if axis < 0 or rank is None else axis - rank)
    return tuple(numbers)


def _renumbered(axes: Axes, rank: int | None, moves: Mapping[int, int | None]) -> Axes:
    """Axes after each old axis has its new number; None says that it is gone, and a missing one keeps its number."""
    features = axes.features if axes.features is None else moves.get(axes.features, axes.features)
    positions = (moves.get(axis, axis) for axis in axes.positions)
    return Axes(rank, features, frozenset(axis for axis in positions if axis is not None))


def _swapped(rank: int | None, first: Any, second: Any) -> tuple[int, ...] | None:
    pair = _from_end(rank, (first, second))
    if pair is None:
        return None
    count = rank if rank is not None else -min(pair)
    order = [*range(-count, 0)]
    order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    return tuple(order)


def _shifted(rank: int | None, source: Any, destination: Any) -> tuple[int, ...] | None:
    pair = _from_end(rank, (source, destination))
    if pair is None or rank is None:
        return None
    order = [*range(-rank, 0)]
    order.insert(pair[1] + rank, order.pop(pair[0]))
    return tuple(order)


def _permuted(axes: Axes, order: tuple[int, ...] | None) -> Axes | None:
    """Axes after new axis i is the old axis `order[i]`; the order may leave out leading axes that stay."""
    old = None if order is None else _from_end(axes.rank, order)
    if old is None or sorted(old) != [*range(-len(old), 0)]:
        return None
    return _renumbered(axes, axes.rank, {axis: place - len(old) for place, axis in enumerate(old)})


def _inserted(axes: Axes, dim: Any) -> Axes | None:
    rank = None if axes.rank is None else axes.rank + 1
    place = _from_end(rank, (dim,))
    if place is None:
        return None
    used = [*axes.positions, *([] if axes.features is None else [axes.features])]
    return _renumbered(axes, rank, {axis: axis - 1 for axis in used if axis <= place[0]})


def _removed(axes: Axes, dims: Iterable[Any]) -> Axes | None:
    gone = _from_end(axes.rank, dims)
    if gone is None:
        return None
    used = [*axes.positions, *([] if axes.features is None else [axes.features])]
    moves = {axis: None if axis in gone else axis + sum(each > axis for each in gone) for axis in used}
    return _renumbered(axes, None if axes.rank is None else axes.rank - len(set(gone)), moves)


def _indexed(axes: Axes, parts: tuple[Any, ...]) -> Axes | None:
    """Axes after basic indexing; of an unknown rank, only what follows `...` can be placed."""
    at = parts.index(REST) if REST in parts else len(parts)
    front, back = parts[:at], parts[at + 1 :]
    reading = sum(each != NEW for each in (*front, *back))
    if axes.rank is None:
        if any(each != SLICE for each in front):
            return None
        front = ()
    elif axes.rank < reading:
        return None
    else:
        front = (*front, *[SLICE] * (axes.rank - reading))
    full = (*front, *back)
    moves: dict[int, int | None] = {}
    old, new = -1, -1
    shortened = set()
    for each in reversed(full):
        if each == NEW:
            new -= 1
            continue
        moves[old] = new if each in (SLICE, ONE) else None
        if each == ONE:
            shortened.add(old)
        old, new = old - 1, new - (each in (SLICE, ONE))
    if axes.features is not None and axes.features <= old:
        moves[axes.features] = axes.features - old + new
    moves |= {axis: axis - old + new for axis in axes.positions if axis <= old}
    rank = None if axes.rank is None else axes.rank + old - new
    return _renumbered(replace(axes, positions=axes.positions - shortened), rank, moves)


def _flat(op: Op, axes: Axes | None, inputs: Sequence[Op]) -> Axes | None:
    """Axes after merging: an axis that holds features among others holds features."""
    shape = inputs[0].shape if inputs else None
    if op.site.function != "flatten":
        sizes = _arguments(op)["sizes"]
        is_flat = isinstance(sizes, tuple) and len(sizes) == 2 and sizes[1] == -1
        return Axes(2, -1) if is_flat and sizes[0] != -1 else None
    arguments = _arguments(op)
    start, end = arguments["start_dim"], arguments["end_dim"]
    if (start, end) == (1, -1):
        return Axes(2, -1)
    rank = len(shape) if shape is not None else axes.rank if axes is not None else None
    ends = _from_end(rank, (start, end))
    if axes is None or rank is None or ends is None or ends[0] > ends[1]:
        return None
    merged = range(ends[0], ends[1] + 1)
    moves = {axis: axis + len(merged) - 1 for axis in range(-rank, merged.start)}
    moves |= dict.fromkeys(merged, merged[-1])
    return _renumbered(replace(axes, positions=axes.positions - set(merged)), rank - len(merged) + 1, moves)


def _reshaped(axes: Axes, old: tuple[int, ...], new: tuple[int, ...]) -> Axes:
    """Axes after a reshape: those before and after the sizes that change keep their roles, and merged ones join."""
    after = _common(old[::-1], new[::-1])
    before = _common(old[: len(old) - after], new[: len(new) - after])
    middle = len(new) - after - before
    moves: dict[int, int | None] = {}
    for axis in range(-len(old), 0):
        if axis >= -after:
            continue
        if axis < before - len(old):
            moves[axis] = axis + len(old) - len(new)
        else:
            moves[axis] = -after - 1 if middle == 1 else None
    changed = set(range(before - len(old), -after))
    return _renumbered(replace(axes, positions=axes.positions - changed), len(new), moves)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many sizes agree from the beginning."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
