"""Lower a `torch.fx.Graph`, recorded or traced, to the ops of `core.graph`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import fx

from regcheck.core.graph import Flow, Kind, Mode, Op, Operand, Site
from regcheck.core.suppressions import CodeSuppression
from regcheck.torch_api.axes import NEW, ONE, REST, SLICE, UNKNOWN, axis_arguments
from regcheck.torch_api.functions import DROPPING, KINDS, LEARNED, MASKING, NOT_OPERANDS, call_text, kind_of
from regcheck.torch_api.layers import KERAS_LAYERS, layer_named

from .record import META, CallMetadata

_NEVER_FIXED = (Kind.INPUT, Kind.OPAQUE)
"""Kinds whose result is not determined by their inputs."""

Blocks = dict[tuple[Mode, str], tuple[CodeSuppression, ...]]
"""The declarations of the blocks that ops were called in, by mode and op id."""


def lower_graph(graph: fx.Graph, outputs: Iterable[tuple[str, fx.Node]], mode: Mode) -> Flow:
    """The flow of one mode."""
    ops: dict[str, Op] = {}
    fixed: set[str] = set()
    weights: set[str] = set()
    for node in graph.nodes:
        if node.op != "output":
            op = ops[node.name] = _op(node, ops, weights, mode)
            if op.kind is Kind.PARAMETER:
                weights.add(op.id)
            elif op.active is False and op.kind not in _NEVER_FIXED and KINDS.get(op.site.function) not in LEARNED:
                if fixed.issuperset(op.inputs):
                    fixed.add(op.id)
                elif all(name in weights or name in fixed for name in op.inputs):
                    weights.add(op.id)
    return Flow(mode, ops, tuple((name, node.name) for name, node in outputs))


def blocks_of(graph: fx.Graph, mode: Mode) -> Blocks:
    """The blocks of declarations around the ops of one mode; no entry for an op outside of any."""
    calls = ((node.name, node.meta.get(META)) for node in graph.nodes)
    return {(mode, name): call.blocks for name, call in calls if call is not None and call.blocks}


def _op(node: fx.Node, ops: Mapping[str, Op], weights: set[str], mode: Mode) -> Op:
    """The op of a node; `weights` names the earlier `ops` that depend on parameters alone."""
    seen: CallMetadata = node.meta.get(META) or CallMetadata(node.name, Site("", node.name), kind=Kind.OPAQUE)
    inputs = tuple(each.name for each in node.all_input_nodes)
    learned = not weights.isdisjoint(inputs)
    trained = [ops[name].requires_grad for name in inputs if name in weights]
    kind = seen.kind or kind_of(seen.name, scalar=len(inputs) == 1)
    if kind is Kind.MATMUL and learned:
        kind = Kind.LINEAR
    if kind is Kind.OTHER and seen.active:
        kind = Kind.RANDOM
    if kind is Kind.COMBINE and learned and seen.layer in KERAS_LAYERS and layer_named(seen.layer).learned:
        kind = Kind.SCALE  # a layer of Keras adds its bias in a call of its own
    numbers = [each for each in node.args if isinstance(each, (int, float))]
    if kind is Kind.SCALE and seen.name == "mul" and 0 in numbers:
        kind, inputs = Kind.CONSTANT, ()
    how = DROPPING.get(seen.name)
    return Op(
        id=node.name,
        kind=kind,
        site=seen.site,
        call=call_text(seen.name, seen.layer, seen.rate),
        inputs=inputs,
        rate=seen.rate,
        drops=how.drops if how else None,
        active=seen.active,
        learned=kind in LEARNED or learned,
        shape=seen.shape,
        integral=seen.integral,
        requires_grad=any(trained) if trained else seen.requires_grad,
        window=seen.window,
        mode=mode,
        depth=seen.depth,
        reach=seen.reach,
        has_running_stats=seen.has_running_stats,
        within=seen.within,
        traced_by=seen.traced_by,
        discarded=seen.discarded,
        reused_mask=seen.reused_mask,
        keep_name=seen.keep_name,
        axis_arguments=_axis_arguments(seen.name, node),
        operands=tuple(_operands((node.args, node.kwargs))) if seen.name in MASKING else (),
    )


def _operands(value: object) -> Iterator[Operand]:
    """The arguments in nested tuples and dicts, as an op holds them."""
    if isinstance(value, Mapping):
        value = tuple(each for key, each in value.items() if key not in NOT_OPERANDS)
    if isinstance(value, (tuple, list)):
        for each in value:
            yield from _operands(each)
    elif isinstance(value, fx.Node):
        yield value.name
    else:
        yield float(value) if isinstance(value, (int, float)) else None


def _axis_arguments(function: str, node: fx.Node) -> tuple[tuple[str, Any], ...]:
    part = _index_part if function == "getitem" else _plain
    return axis_arguments(
        function, [part(each) for each in node.args], {key: part(each) for key, each in node.kwargs.items()}
    )


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple([_plain(each) for each in value])
    return value if value is None or isinstance(value, (int, float, str)) else UNKNOWN


def _index_part(value: Any) -> Any:
    """An argument of `getitem` as `torch_api.axes` names it."""
    if isinstance(value, slice):
        is_single = (value.start == -1 and value.stop is None) or (value.start in (None, 0) and value.stop == 1)
        return ONE if is_single else SLICE
    if isinstance(value, (tuple, list)):
        return tuple([_index_part(each) for each in value])
    return NEW if value is None else REST if value is ... else value if isinstance(value, int) else UNKNOWN
