"""Eval-mode predictions that vary by a draw that the graph does not show: control flow, Python's or NumPy's numbers."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import NotChecked
from regcheck.core.graph import Kind, Mode, Op
from regcheck.probe.factory import locate
from regcheck.probe.probes import ModelProbe
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import home_of, moved
from regcheck.tracing.mode_switch import switch_mode
from regcheck.tracing.strategies import TraceResult
from regcheck.tracing.streams import hidden_draws


def unexplained_draws(twin: Callable[[], nn.Module], traced: TraceResult, seed: int) -> tuple[NotChecked, ...]:
    """An entry for each draw, if eval runs differ though the graph carries no draw to an output."""

    def is_visible(op: Op) -> bool:
        return op.kind is not Kind.OPAQUE

    flow = traced.graph.eval
    draws = [op for op in flow if op.active and (op.drops or op.kind is Kind.RANDOM)]
    explained = any(flow.outputs_reached(op, is_visible) for op in draws)
    if traced.inputs is None or traced.unmeasurable or explained or not (draws or traced.drew_elsewhere):
        return ()
    try:
        runner = Runner(twin(), traced.inputs.args, traced.inputs.kwargs, home_of(twin()).type, locate)
        repeats = ModelProbe(runner, traced.graph, seed).repeats()
    except CannotMeasure:
        return ()
    if repeats:
        return ()
    model = twin()
    switch_mode(model, Mode.EVAL)
    hidden = hidden_draws(model, moved(traced.inputs.args), moved(traced.inputs.kwargs), locate)
    lines = [(each.module, each.place, f"{each.source} random numbers are drawn here") for each in hidden]
    lines += [(op.module, op.place, f"what `{op.call}` draws here could not be followed") for op in draws]
    differ, what = "predictions in eval mode differ from run to run", "guard the draw with `if self.training:`"
    return tuple(
        NotChecked(
            f"{traced.graph.subject}.{module}".rstrip("."),
            f"{differ}, and {how}",
            what,
            place.path if place else None,
            place.line if place else None,
        )
        for module, place, how in dict.fromkeys(lines)
    ) or (NotChecked(traced.graph.subject, f"{differ}, by draws that no line of this thread makes", what),)
