"""From torch.fx nodes, recorded or traced, to the domain's ops."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx

from regcheck.core.graph import Flow, Kind, Mode, Op, Site
from regcheck.core.vocabulary import DROPPING, LEARNED, call_text, kind_of

from .record import META, Seen


def lowered(graph: fx.Graph, outputs: Iterable[tuple[str, fx.Node]], mode: Mode) -> Flow:
    """The flow of one mode."""
    ops: dict[str, Op] = {}
    for node in graph.nodes:
        if node.op != "output":
            ops[node.name] = _op(node, ops, mode)
    return Flow(mode, ops, tuple((name, node.name) for name, node in outputs))


def _op(node: fx.Node, ops: dict[str, Op], mode: Mode) -> Op:
    seen: Seen = node.meta.get(META) or Seen(node.name, Site("", node.name), kind=Kind.OPAQUE)
    inputs = tuple(each.name for each in node.all_input_nodes)
    flowing = [name for name in inputs if ops[name].kind is not Kind.PARAMETER]
    kind = seen.kind or kind_of(seen.name, scalar=len(inputs) == 1)
    if kind is Kind.MATMUL and len(flowing) < len(inputs):
        kind = Kind.LINEAR
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
        learned=kind in LEARNED or len(flowing) < len(inputs),
        shape=seen.shape,
        window=seen.window,
        mode=mode,
        depth=seen.depth,
        reach=seen.reach,
        tracks=seen.tracks,
    )
