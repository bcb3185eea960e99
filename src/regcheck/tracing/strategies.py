"""Trace a model by the first strategy that works, and report what each left out.

Strategies: a real forward; a forward on fake tensors, for a model that cannot or must not run; a symbolic trace.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field, replace
from functools import partial

import torch
from torch import fx, nn

from regcheck.core.errors import CannotTrace, format_error, message_of
from regcheck.core.finding import NotChecked
from regcheck.core.graph import Flow, Graph, Mode, Wholeness
from regcheck.files.place import Place
from regcheck.keras_api.layer_tree import is_layer
from regcheck.lazy_dataclass import dataclass

from . import symbolic
from .copies.lazy import is_lazy
from .copies.objects import Copier
from .cost import SECOND
from .example_inputs import Inputs, InputSources, candidates, decided, elsewhere, moved, with_another_sample
from .fake import CannotRunFake, FakeRecording, fake_copy, record_fake
from .lower import Blocks, blocks_of, lower_graph
from .mode_dependence import ModeReads, as_train_mode, determines_train_mode
from .record import ForwardRaised, Recording, record, set_mode
from .running import Locate
from .user_line import is_user_code

SLOW = SECOND // 2
"""After a rejected guess with more operations than this, further guesses are tried on fake tensors first."""


@dataclass(frozen=True)
class TraceResult:
    """The result of tracing a model.

    Attributes:
        inputs: the inputs of the recorded run, None after a symbolic trace.
        drew_elsewhere: in the eval run random numbers were drawn by no op of the graph.
        ran: the paths of the modules that ran, by mode.
        unmeasurable: why nothing can be measured; empty where the model ran.
        work: the operations of a forward, by mode.
        squares: the sum of the squared deviations of all outputs from their means, by mode.
        blocks: the declarations that `forward` makes around its calls.
    """

    graph: Graph
    fx_graph: fx.Graph
    inputs: Inputs | None
    not_checked: tuple[NotChecked, ...] = ()
    drew_elsewhere: bool = False
    ran: Mapping[Mode, frozenset[str]] = field(default_factory=dict)
    unmeasurable: str = ""
    work: Mapping[Mode, int] = field(default_factory=dict)
    blocks: Blocks = field(default_factory=dict)
    squares: Mapping[Mode, float] = field(default_factory=dict)


Outcomes = dict[Mode, Recording | CannotTrace]
Run = Callable[[Mode, Inputs], Recording | CannotTrace]


def trace_model(
    model: nn.Module,
    subject: str,
    given_inputs: Inputs | None,
    locate: Locate | None = None,
    wholeness: Wholeness = Wholeness.WHOLE,
    reason_not_run: str = "",
    limit: float = math.inf,
    sources: InputSources = lambda model: (),
) -> TraceResult:
    """Trace `model` in both modes; without `given_inputs` inputs, on those that the `sources` answer, or on guesses.

    Runs forwards of `model` itself and changes its modes: pass a copy. A `reason_not_run` limits it to fake copies.
    `limit` bounds the operations of a forward.

    Raises:
        TooMuchWork: a forward takes more.
        CannotTrace: no way of tracing works; the message says why each failed.
    """
    answers = () if given_inputs else sources(model)
    given_inputs = given_inputs or decided(answers)
    run = partial(_recorded_fake, model, locate) if reason_not_run else partial(_recorded, model, locate, limit)
    screen = None if reason_not_run or given_inputs else partial(_recorded_fake, model, locate)
    tried = [*_tried(run, [given_inputs] if given_inputs else candidates(model, answers), screen)]
    if given_inputs and any(len(_recordings(outcomes)) == 1 for _, outcomes in tried):
        tried += _tried(run, with_another_sample(given_inputs), screen)
    inputs, outcomes = max(tried, key=lambda each: len(_recordings(each[1])), default=(None, Outcomes()))
    recordings = _recordings(outcomes)
    if inputs is None or not recordings:
        evaluation = outcomes.get(Mode.EVAL)
        error = evaluation if isinstance(evaluation, CannotTrace) else None
        if error is not None and not reason_not_run and _is_short_of_memory(error):
            return trace_model(
                model, subject, given_inputs, locate, wholeness, "its forward ran out of memory", sources=sources
            )
        return _without_inputs(model, subject, given_inputs, locate, wholeness, reason_not_run, error)
    flows: dict[Mode, Flow] = {}
    blocks: Blocks = {}
    missed: list[NotChecked] = []
    for mode, each in reversed(outcomes.items()):
        if isinstance(each, Recording):
            if mode is Mode.TRAIN and each is outcomes[Mode.EVAL]:
                as_train_mode(each.graph)
            flows[mode] = lower_graph(each.graph, each.outputs, mode)
            blocks |= blocks_of(each.graph, mode)
        else:
            flows[mode] = Flow(mode, {})
            what = "pass inputs that the model accepts in both modes"
            missed.append(_entry(f"{subject} in {mode.value} mode", str(each), what, each.place))
    missed += _unfollowed(subject, model, outcomes)
    guessed = [place for each in recordings if isinstance(each, FakeRecording) for place in each.guessed]
    if guessed:
        reason = "it was traced on fake tensors, and this value was guessed: other values may run other code"
        missed.append(_entry(subject, reason, "audit it with its weights, so that it can be run", guessed[0]))
        reason_not_run += ", and values were guessed to trace it"
    graph = Graph(subject, flows[Mode.TRAIN], flows[Mode.EVAL], wholeness, assumed=bool(guessed))
    evaluation = outcomes[Mode.EVAL]
    drew = isinstance(evaluation, Recording) and evaluation.drew_elsewhere
    recorded = {mode: each for mode, each in outcomes.items() if isinstance(each, Recording)}
    ran = {mode: each.ran for mode, each in recorded.items()}
    work = {mode: each.operations for mode, each in recorded.items()}
    squares = {mode: each.squares for mode, each in recorded.items()}
    shown = recordings[0].graph
    return TraceResult(graph, shown, inputs, tuple(missed), drew, ran, reason_not_run, work, blocks, squares)


def _tried(run: Run, tries: Iterable[Inputs], screen: Run | None) -> Iterator[tuple[Inputs, Outcomes]]:
    """The outcomes of candidates in both modes, up to the first candidate that runs in both.

    Candidates that fail in eval mode are tried in train mode only if all fail. After a slow failure, candidates that
    certainly fail on fake tensors (`screen`) are skipped.
    """
    refused: list[tuple[Inputs, Recording | CannotTrace]] = []
    slow = False

    def is_hopeless(mode: Mode, inputs: Inputs) -> bool:
        outcome = screen(mode, inputs) if screen and slow else None
        return isinstance(outcome, CannotRunFake) and outcome.surely

    accepted = False
    for inputs in tries:
        if is_hopeless(Mode.EVAL, inputs):
            continue
        evaluation = run(Mode.EVAL, inputs)
        slow = slow or getattr(evaluation, "operations", 0) > SLOW
        if isinstance(evaluation, CannotTrace):
            refused.append((inputs, evaluation))
            continue
        train, accepted = evaluation if evaluation.covers_both_modes else run(Mode.TRAIN, inputs), True
        yield inputs, {Mode.TRAIN: train, Mode.EVAL: evaluation}
        if isinstance(train, Recording):
            return
    for inputs, evaluation in refused if not accepted else ():
        train = evaluation if is_hopeless(Mode.TRAIN, inputs) else run(Mode.TRAIN, inputs)
        yield inputs, {Mode.TRAIN: train, Mode.EVAL: evaluation}
        if isinstance(train, Recording):
            return


def _recorded(
    model: nn.Module, locate: Locate | None, limit: float, mode: Mode, inputs: Inputs
) -> Recording | CannotTrace:
    try:
        set_mode(model, mode)
    except ForwardRaised as error:
        return _without_frames(error)
    if is_lazy(model):  # inputs that fail would leave it with shapes that the next ones do not fit
        trial = None
        with suppress(Exception):
            trial = Copier().copy(model), moved(inputs.args), moved(inputs.kwargs)
        if trial is not None:
            try:
                record(*trial, limit=limit)
            except ForwardRaised as error:
                return _without_frames(error)
    try:
        args, kwargs = moved(inputs.args), moved(inputs.kwargs)
    except Exception as error:
        refusal = CannotTrace(f"the inputs cannot be copied: {format_error(error)}")
        refusal.__cause__ = error
        return refusal
    reads = ModeReads(model)
    try:
        with reads:
            recording = record(model, args, kwargs, locate=locate, limit=limit)
    except ForwardRaised as error:
        return _without_frames(error)
    return replace(recording, covers_both_modes=not reads.any and determines_train_mode(recording))


def _recorded_fake(model: nn.Module, locate: Locate | None, mode: Mode, inputs: Inputs) -> Recording | CannotTrace:
    try:
        return record_fake(model, mode, inputs, locate)
    except CannotRunFake as error:
        return _without_frames(error)


def _without_frames(error: CannotTrace) -> CannotTrace:
    """The error without its frames, which keep everything alive that the forward had computed."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def _recordings(outcomes: Outcomes) -> list[Recording]:
    return [each for each in outcomes.values() if isinstance(each, Recording)]


def _unfollowed(subject: str, model: nn.Module, outcomes: Outcomes) -> Iterator[NotChecked]:
    """An entry for each part of a result that could not be followed; it names the mode if only one mode has it."""
    modes_by_reason: dict[str, list[Mode]] = {}
    for mode, outcome in reversed(outcomes.items()):
        for reason in dict.fromkeys(outcome.unfollowed) if isinstance(outcome, Recording) else ():
            modes_by_reason.setdefault(reason, []).append(mode)
    code = getattr(inspect.getattr_static(type(model), "forward", None), "__code__", None)
    place = Place(code.co_filename, code.co_firstlineno) if code and is_user_code(code.co_filename) else None
    for reason, modes in modes_by_reason.items():
        where = f" in {modes[0].value} mode" if len(modes) < len(_recordings(outcomes)) else ""
        yield _entry(subject + where, reason, "return the tensors themselves, or audit the part that makes them", place)


def _is_short_of_memory(error: CannotTrace) -> bool:
    cause = error.__cause__
    cannot_allocate = isinstance(cause, RuntimeError) and "allocate memory" in message_of(cause)
    return cannot_allocate or isinstance(cause, (MemoryError, torch.OutOfMemoryError))


def _without_inputs(
    model: nn.Module,
    subject: str,
    given_inputs: Inputs | None,
    locate: Locate | None,
    wholeness: Wholeness,
    reason_not_run: str,
    error: CannotTrace | None,
) -> TraceResult:
    """The graph from torch.fx; `error` is the failure on the first inputs tried."""
    failure, failed_at = "no inputs could be guessed", error.place if error else None
    if error is not None:
        inputs = "the inputs given" if given_inputs else "guessed inputs"
        failure = f"on {inputs}{', as fake tensors,' if reason_not_run else ''} {error}"
    if is_layer(model):  # Keras asks tensors for their values before any layer runs
        raise CannotTrace(failure, failed_at)
    try:
        train, evaluation = (
            _symbolic_trace(model, mode, locate, bool(reason_not_run)) for mode in (Mode.TRAIN, Mode.EVAL)
        )
    except CannotTrace as second:
        raise CannotTrace(f"{failure}; {second}", failed_at or second.place) from second
    graph = Graph(
        subject,
        lower_graph(train.recording.graph, train.recording.outputs, Mode.TRAIN),
        lower_graph(evaluation.recording.graph, evaluation.recording.outputs, Mode.EVAL),
        wholeness,
    )
    recorded: Outcomes = {Mode.TRAIN: train.recording, Mode.EVAL: evaluation.recording}
    missed = [*_unfollowed(subject, model, recorded)]
    if given_inputs and error:
        apart = elsewhere(model, given_inputs)
        what = f"move the inputs to the model's device: {apart}" if apart else "pass inputs that the model accepts"
        reason = f"{failure}; it was traced without inputs instead, and nothing was measured"
        missed.append(_entry(subject, reason, what, error.place))
    for path, stop in {**train.opaque, **evaluation.opaque}.items():
        if not (given_inputs and stop.place is not None and stop.place == failed_at):  # not the same error again
            reason = f"{stop}; the modules that it calls were traced on their own"
            missed.append(_entry(f"{subject}.{path}".rstrip("."), reason, "pass inputs: audit(model, x)", stop.place))
    unmeasurable = reason_not_run or (
        "forward raises on the inputs given" if given_inputs else "there are no inputs to run the model on"
    )
    ran = {mode: each.ran for mode, each in recorded.items() if isinstance(each, Recording)}
    blocks = blocks_of(train.recording.graph, Mode.TRAIN) | blocks_of(evaluation.recording.graph, Mode.EVAL)
    return TraceResult(
        graph, train.recording.graph, None, tuple(missed), ran=ran, unmeasurable=unmeasurable, blocks=blocks
    )


def _symbolic_trace(model: nn.Module, mode: Mode, locate: Locate | None, untouched: bool) -> symbolic.SymbolicTrace:
    """The symbolic trace of a fake copy in that mode; without a copy, of the model itself unless `untouched`."""
    try:
        twin = fake_copy(model)
    except CannotRunFake:
        if untouched:
            raise
        twin = model
    set_mode(twin, mode)
    return symbolic.trace(twin, locate)


def _entry(subject: str, reason: str, what: str, place: Place | None) -> NotChecked:
    return NotChecked(subject, reason, what, place.path if place else None, place.line if place else None)
