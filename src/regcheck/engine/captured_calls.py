"""Check the models that a watched program called, on the inputs of its own calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from regcheck.core.graph import Kind, Wholeness
from regcheck.core.report import Report
from regcheck.core.rule import Rule
from regcheck.core.starting_points import Start, Trait
from regcheck.core.usage import Usage
from regcheck.engine.audit import check_model
from regcheck.engine.check import Check
from regcheck.probe.factory import budget_of
from regcheck.runtime.models import parts
from regcheck.torch_api.losses import EMBEDDING_LOSSES
from regcheck.tracing.call_interceptor import autocasting
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.unwrap import subject_of

if TYPE_CHECKING:
    from regcheck.runtime.recorder import Capture, Observation

_SEEN_BY_PROFILER = frozenset((Trait.DROPS, Trait.BATCH_STATISTICS, Trait.REUSES_MASK, Trait.UNCALLED, Kind.RANDOM))
"""The starting points of rules that an inert call certainly lacks."""


def check_captures(
    check: Check, observation: Observation, is_due: Callable[[Capture, Wholeness], bool]
) -> Iterator[tuple[Capture, Wholeness, Report]]:
    """Check the captured calls that are each due when their turn comes.

    A model counts as a whole one where the program trains it to predict. A test that only calls a model, or sends
    gradients back through it, may try a part on its own. An inert call is not made again.
    """
    usage = observation.usage
    predicting, scored = trained_to_predict(usage)
    calls = [call for _, call in usage.calls() if call.model.key in predicting]
    keys = {call.capture: call.model.key for call in calls if call.capture is not None}
    called = {id(capture.model): {id(part) for part in parts(capture.model)} for capture in observation.captures}
    limit = budget_of(check.options).left
    sees_all = check.options.run and _SEEN_BY_PROFILER.issuperset(_starts(check.rules))
    for index, capture in enumerate(observation.captures):
        whole = index in keys and (capture.whole or keys[index] in scored)
        wholeness = Wholeness.SCORED if whole else Wholeness.UNKNOWN
        if not is_due(capture, wholeness):
            continue
        if capture.inert is not None and sees_all:
            report = replace(check.report(capture.inert.subject, (), ()), coverage=(capture.inert,))
            yield capture, wholeness, report
            continue
        inputs = Inputs(capture.args, capture.kwargs, "captured")
        subject = replace(subject_of(capture.model), group=None)  # the ranks' streams have moved on since the call
        within = called[id(capture.model)] & called.keys() - {id(capture.model)}
        apart = {part for each in within for part in called[each]}
        with autocasting(capture.autocast):
            report = check_model(check, subject, inputs, wholeness, limit, apart)
        yield capture, wholeness, report


def _starts(rules: Iterable[Rule]) -> Iterator[Start]:
    """What the rules about graphs start from."""
    return (start for rule in rules if rule.about == "graph" for start in rule.begins_at)


def trained_to_predict(usage: Usage) -> tuple[set[str], set[str]]:
    """Keys of the models whose results are predictions rather than features, and of those that a loss of torch scores.

    A loss of torch that takes a result as it is scores it. Where none does, results are predictions if an optimizer
    steps the model, and no training step sends gradients through another model or through several calls of this one.
    Results that another model reads, or that a loss compares with one another, are features.
    """
    beside, in_pairs = usage.models_trained_together()
    calls = [call for _, call in usage.calls()]
    trained = [each for each in calls if each.backpropagated]
    features = {each.model.key for each in calls if each.feeds_models or EMBEDDING_LOSSES & {*each.scored_by}}
    scored = {each.model.key for each in trained if each.scored_by} - features
    stepped = {each.model.key for each in trained if usage.is_stepped(each.model)} - features
    return scored | (stepped - beside - in_pairs), scored
