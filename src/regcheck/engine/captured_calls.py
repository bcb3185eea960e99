"""Check the models that a watched program called, on the inputs of its own calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from regcheck.core.graph import Wholeness
from regcheck.core.report import Report
from regcheck.engine.audit import check_model
from regcheck.engine.check import Check
from regcheck.probe.factory import budget_of
from regcheck.runtime.models import parts
from regcheck.tracing.call_interceptor import autocasting
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.unwrap import subject_of

if TYPE_CHECKING:
    from regcheck.runtime.recorder import Observation


def check_captures(
    check: Check, observation: Observation, is_due: Callable[[str, Wholeness], bool]
) -> Iterator[tuple[str, Wholeness, Report]]:
    """Check the captured calls of each structure that `is_due` when its turn comes.

    A model counts as a whole one where the program trains it: it steps its parameters or scores its results by a loss
    of torch. A test that only calls a model, or sends gradients back through it, may try a part on its own.
    """
    usage = observation.usage
    alone = usage.models_trained_alone()
    calls = [call for _, call in usage.calls() if call.model.key in alone]
    trained = {call.model.key for call in calls if call.scored_by or usage.is_stepped(call.model)}
    scored = {call.capture for call in calls if call.model.key in trained}
    called = {id(capture.model): {id(part) for part in parts(capture.model)} for capture in observation.captures}
    limit = budget_of(check.options).left
    for index, capture in enumerate(observation.captures):
        wholeness = Wholeness.SCORED if capture.whole and index in scored else Wholeness.UNKNOWN
        if not is_due(capture.model_key, wholeness):
            continue
        inputs = Inputs(capture.args, capture.kwargs, "captured")
        subject = replace(subject_of(capture.model), group=None)  # the ranks' streams have moved on since the call
        within = called[id(capture.model)] & called.keys() - {id(capture.model)}
        apart = {part for each in within for part in called[each]}
        with autocasting(capture.autocast):
            report = check_model(check, subject, inputs, wholeness, limit, apart)
        yield capture.model_key, wholeness, report
