"""Produce a model's graph by whatever means works, and say exactly what did not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import fx, nn

from regcheck.core.errors import CannotTrace
from regcheck.core.finding import NotChecked
from regcheck.core.graph import Flow, Graph, Mode

from . import symbolic
from .inputs import Inputs, candidates, moved
from .lower import lowered
from .record import ForwardRaised, Recording, record
from .running import Locate


@dataclass(frozen=True)
class Traced:
    """A model's graph, the inputs it was recorded with (None: traced symbolically), and what was left out.

    `drew_elsewhere` says that the eval run drew from Python's or NumPy's random numbers; `ran` which modules
    ran in the modes that could be traced.
    """

    graph: Graph
    fx_graph: fx.Graph
    inputs: Inputs | None
    not_checked: tuple[NotChecked, ...] = ()
    drew_elsewhere: bool = False
    ran: Mapping[Mode, frozenset[str]] = field(default_factory=dict)


def look(
    model: nn.Module, subject: str, given: Inputs | None, locate: Locate | None = None, root: bool | None = True
) -> Traced:
    """Trace `model` in both modes; `root` says whether it is known to be a whole model.

    Forwards run and modes change on the very module handed in: hand in a copy.

    Raises:
        CannotTrace: no way of tracing works; the message says why each failed.
    """
    if given is None and any(each.is_meta for each in model.parameters()):
        return _without_inputs(model, subject, locate, root)
    tried = [*_tried(model, [given] if given else candidates(model), locate)]
    if not tried:
        return _without_inputs(model, subject, locate, root)
    inputs, recordings = max(tried, key=lambda each: sum(isinstance(one, Recording) for one in each[1].values()))
    found = [each for each in recordings.values() if isinstance(each, Recording)]
    if given is None and not found:
        return _without_inputs(model, subject, locate, root, recordings[Mode.EVAL])
    flows: dict[Mode, Flow] = {}
    missed: list[NotChecked] = []
    for mode, each in recordings.items():
        if isinstance(each, Recording):
            flows[mode] = lowered(each.graph, each.outputs, mode)
        elif not found:
            raise each
        else:
            flows[mode] = Flow(mode, {})
            missed.append(_missing(f"{subject} in {mode.value} mode", each))
    graph = Graph(subject, flows[Mode.TRAIN], flows[Mode.EVAL], root)
    evaluation = recordings[Mode.EVAL]
    elsewhere = isinstance(evaluation, Recording) and evaluation.drew_elsewhere
    ran = {mode: each.ran for mode, each in recordings.items() if isinstance(each, Recording)}
    return Traced(graph, found[0].graph, inputs, tuple(missed), elsewhere, ran)


Recordings = dict[Mode, Recording | ForwardRaised]


def _tried(model: nn.Module, tries: Iterable[Inputs], locate: Locate | None) -> Iterator[tuple[Inputs, Recordings]]:
    """Recordings in both modes for each of the inputs, up to the first that the model accepts in both."""
    for inputs in tries:
        evaluation = _recorded(model, Mode.EVAL, inputs, locate)
        train = _recorded(model, Mode.TRAIN, inputs, locate)
        yield inputs, {Mode.TRAIN: train, Mode.EVAL: evaluation}
        if isinstance(train, Recording) and isinstance(evaluation, Recording):
            return


def _recorded(model: nn.Module, mode: Mode, inputs: Inputs, locate: Locate | None) -> Recording | ForwardRaised:
    model.train(mode is Mode.TRAIN)
    try:
        return record(model, moved(inputs.args), moved(inputs.kwargs), locate=locate)
    except ForwardRaised as error:
        return error


def _without_inputs(
    model: nn.Module,
    subject: str,
    locate: Locate | None,
    root: bool | None,
    refused: Recording | ForwardRaised | None = None,
) -> Traced:
    """The graph that torch.fx gives; `refused` is what the model said of the inputs guessed last."""
    try:
        (train, opaque), (evaluation, _) = (symbolic.trace(model.train(mode), locate) for mode in (True, False))
    except symbolic.CannotFollow as error:
        if isinstance(refused, ForwardRaised):
            raise CannotTrace(f"on guessed inputs {refused}; {error}", refused.place) from error
        raise CannotTrace(f"no inputs could be guessed; {error}", error.place) from error
    graph = Graph(
        subject,
        lowered(train.graph, train.outputs, Mode.TRAIN),
        lowered(evaluation.graph, evaluation.outputs, Mode.EVAL),
        root,
    )
    what = "pass inputs: audit(model, x)"
    missed = tuple(NotChecked(f"{subject}.{path}", "cannot be followed without inputs", what) for path in opaque)
    return Traced(graph, train.graph, None, missed, ran={Mode.TRAIN: train.ran, Mode.EVAL: evaluation.ran})


def _missing(subject: str, error: ForwardRaised) -> NotChecked:
    what, place = "pass inputs that the model accepts in both modes", error.place
    return NotChecked(subject, str(error), what, place.path if place else None, place.line if place else None)
