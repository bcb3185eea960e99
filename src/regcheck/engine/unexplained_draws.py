"""Eval-mode predictions that vary by a draw that the graph does not show: control flow, Python's or NumPy's numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import NotChecked
from regcheck.core.graph import Graph, Kind, Mode, Op, Site
from regcheck.probe.factory import locate
from regcheck.probe.probes import ModelProbe
from regcheck.probe.runner import Runner
from regcheck.probe.statistics import deviation
from regcheck.torch_api.number_draws import STREAMS
from regcheck.tracing.example_inputs import home_of, moved
from regcheck.tracing.mode_switch import switch_mode
from regcheck.tracing.strategies import TraceResult
from regcheck.tracing.streams import HiddenDraw, hidden_draws, unseeded_line

ROUNDING = 1e-5
"""The largest deviation of two runs, relative to the largest value, that rounding may explain."""


def unexplained_draws(
    model: nn.Module, twin: Callable[[], nn.Module], traced: TraceResult, seed: int
) -> tuple[Graph, tuple[NotChecked, ...]]:
    """The graph with the draws that it carries to no output, if eval runs differ, and an entry for each other draw.

    Lines that draw from streams of Python and NumPy are searched for where no draw of torch reaches an output. Only the
    copies that `twin` makes run.
    """

    def is_visible(op: Op) -> bool:
        return op.kind is not Kind.OPAQUE

    graph, flow = traced.graph, traced.graph.eval
    draws = [op for op in flow if op.active and (op.drops or op.kind is Kind.RANDOM)]
    unexplained = [op for op in draws if not flow.outputs_reached(op, is_visible)]
    steering = tuple([op for op in unexplained if op.kind is Kind.RANDOM])
    if traced.inputs is None or traced.unmeasurable:
        return graph, ()
    if len(unexplained) < len(draws):
        return replace(graph, steering=steering), ()
    if not (draws or traced.drew_elsewhere):
        return graph, _unseeded(model, twin, traced, seed)
    try:
        runner = Runner(twin(), traced.inputs.args, traced.inputs.kwargs, home_of(twin()).type, locate)
        repeats = ModelProbe(runner, traced.graph, seed).repeats()
    except CannotMeasure as error:
        return graph, (_not_compared(traced, error),)
    if repeats:
        return graph, ()
    switch_mode(twin(), Mode.EVAL)
    hidden = hidden_draws(twin(), moved(traced.inputs.args), moved(traced.inputs.kwargs), locate)
    seeded = [each for each in hidden if each.source in STREAMS and each.place]
    ops = {(each.place.path, each.place.line): _op(each) for each in seeded if each.place}
    others = [each for each in hidden if each not in seeded]
    lines = [(each.module, each.place, f"`{each.source}` draws random numbers here") for each in others]
    lines += [
        (op.module, op.place, f"what `{op.call}` draws here could not be followed")
        for op in draws
        if op not in steering
    ]
    differ, what = "predictions in eval mode differ from run to run", "guard the draw with `if self.training:`"
    missed = tuple(
        NotChecked(
            f"{traced.graph.subject}.{module}".rstrip("."),
            f"{differ}, and {how}",
            what,
            place.path if place else None,
            place.line if place else None,
        )
        for module, place, how in dict.fromkeys(lines)
    )
    if not (missed or ops or steering):
        missed = (NotChecked(traced.graph.subject, f"{differ}, by draws that no line of this thread makes", what),)
    return replace(graph, unseen=tuple(ops.values()), steering=steering), missed


def _unseeded(
    model: nn.Module, twin: Callable[[], nn.Module], traced: TraceResult, seed: int
) -> tuple[NotChecked, ...]:
    """An entry, if eval runs differ by more than rounding though all streams begin alike, or cannot be compared."""
    place = unseeded_line(model)
    if place is None or traced.inputs is None:
        return ()
    try:
        runner = Runner(twin(), traced.inputs.args, traced.inputs.kwargs, home_of(twin()).type, locate)
        one, other = (runner.run(Mode.EVAL, seed) for _ in range(2))
    except CannotMeasure as error:
        return (replace(_not_compared(traced, error), path=place.path, line=place.line),)
    largest = max((float(each.abs().max()) for each in one if each.numel()), default=0.0)
    if not one or deviation(one, other) <= ROUNDING * largest:
        return ()
    because = "predictions in eval mode differ between runs with the same seeds: a clock, the operating system or a new"
    what = "guard it with `if self.training:`, or seed the generator"
    return (NotChecked(traced.graph.subject, f"{because} generator, as here, decides", what, place.path, place.line),)


def _not_compared(traced: TraceResult, error: CannotMeasure) -> NotChecked:
    """The entry for eval runs that may differ, and that could not be compared."""
    reason = f"it is unknown whether predictions in eval mode repeat: {error}"
    return NotChecked(traced.graph.subject, reason, "guard random numbers with `if self.training:`")


def _op(draw: HiddenDraw) -> Op:
    """A line that draws from a stream of Python or NumPy as an op that no flow holds."""
    return Op(
        id=f"unseen {draw.place}",
        kind=Kind.RANDOM,
        site=Site(draw.module, draw.source, draw.place),
        call=draw.source,
        active=True,
        mode=Mode.EVAL,
        within=draw.within,
    )
