"""The recorder's working memory between two drains."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from regcheck.core.finding import NotChecked
from regcheck.core.suppressions import CodeSuppression
from regcheck.core.usage import Called, Event, Model, StepComposed
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

from .call_sites import CallSite
from .captures import CallState, Capture, Captures
from .event_log import UsageLog
from .result_tracking import ResultTracker
from .result_use import classify_use, functional_losses
from .step_scope import StepScopes
from .weak_state import RevivableRef

CallKey = tuple[str, CallSite, bool, bytes, tuple[CodeSuppression, ...]]
"""Identifies equal calls: the model's key, the call site, whether gradients are enabled, the layers in train mode, and
the suppressions of the blocks around the call."""


@dataclass(frozen=True, slots=True, eq=False)
class ModeChange:
    """The last `train()` or `eval()` of one module since the last training step.

    One that is `restored` holds until the end of a trainer's validation only.
    """

    module: weakref.ref[nn.Module]
    training: bool
    site: CallSite
    intended: tuple[CodeSuppression, ...] = ()
    restored: bool = False


@dataclass(slots=True, eq=False)
class CallRecord:
    """A recorded call: its event and the tracker of its results.

    `steps` and `mode_changes` count the training steps and mode changes before the call was last examined.
    """

    event: Called
    tracker: ResultTracker
    steps: int
    mode_changes: int


class Journal:
    """Events and captures, with the indices that recognize equal ones."""

    def __init__(self) -> None:
        self.log = UsageLog()
        self.captures = Captures()
        self.capture_index: dict[tuple[CallState, Place | None, tuple[str, ...]], int | None] = {}
        self.optimizers: dict[str, RevivableRef[torch.optim.Optimizer]] = {}
        self.skipped: dict[NotChecked, None] = {}
        self.uncaptured: dict[str, NotChecked] = {}
        self.mode_changes: dict[str, ModeChange] = {}
        self.calls: dict[CallKey, CallRecord] = {}
        self.trackers: dict[Called, ResultTracker] = {}
        self.stepped: dict[tuple[str, CallSite, tuple[CodeSuppression, ...], tuple[bool, ...]], Event] = {}
        self.live_models: dict[str, weakref.ref[nn.Module]] = {}
        self.loaded_in_eval: dict[str, weakref.ref[nn.Module]] = {}
        self.structures: dict[str, tuple[CodeSuppression, ...]] = {}
        self.trained = False
        self.step_scopes = StepScopes()
        self.steps = self.mode_change_count = 0

    def __bool__(self) -> bool:
        return bool(self.log or self.skipped or self.uncaptured)

    def note_training_step(self) -> None:
        """Note a training step; mode changes before it belong to training."""
        self.mode_changes.clear()
        self.trained = True
        self.steps += 1

    def note_step_scopes(self, site: CallSite, functions: Iterable[str]) -> None:
        """Record functions whose callees make up a training step; `site` is the step's last part."""
        for function in functions:
            if function not in ("", site.function):
                self.log.add(self.log.intern((site, function), partial(StepComposed, site.place, function)))

    def note_structure(self, model_key: str, intended: tuple[CodeSuppression, ...]) -> None:
        """Note a call of a structure; it keeps the suppressions that stand around all of its calls."""
        common = self.structures.get(model_key, intended)
        self.structures[model_key] = tuple(each for each in common if each in intended)

    def note_mode_change(self, model: Model, change: ModeChange) -> None:
        """Note a `train()` or `eval()`."""
        self.mode_changes.pop(model.key, None)
        self.mode_changes[model.key] = change
        self.mode_change_count += 1

    def events(self) -> tuple[tuple[Event, ...], tuple[Capture, ...]]:
        """The events, completed with the fate of the results so far, and the captures that they refer to.

        Leaves out calls that raised and were not repeated.
        """
        captures = self.captures.completed()
        numbers = {index: number for number, index in enumerate(captures)}
        completed: dict[Called, Called] = {}

        def complete(event: Event) -> Event:
            if not isinstance(event, Called):
                return event
            if event not in completed:
                capture = None if event.capture is None else numbers.get(event.capture)
                completed[event] = replace(self._with_fate(event, self._tracker(event)), capture=capture)
            return completed[event]

        raised = self.captures.has_raised
        logged = self.log.events(self._is_trained)
        events = [each for each in logged if not (isinstance(each, Called) and raised(each.capture))]
        return tuple(map(complete, events)), tuple(captures.values())

    def _tracker(self, event: Called) -> ResultTracker | None:
        return self.trackers.get(replace(event, requested=None, trained_beside=None, trained_in_pairs=None))

    def _is_trained(self, event: Called) -> bool:
        tracker = self._tracker(event)
        return tracker is not None and tracker.backpropagated

    def _with_fate(self, event: Called, tracker: ResultTracker | None) -> Called:
        if event.loaded_in_eval:
            event = replace(
                event, loaded_in_eval=tuple(each for each in event.loaded_in_eval if each.key in self.loaded_in_eval)
            )
        if tracker is None:
            return event
        backpropagated = tracker.backpropagated if event.grad else False
        asked = (
            event.training
            and (tracker.also_predicts or not backpropagated)
            and not event.test_code
            and event.result == "used"
        )
        use = classify_use(tracker.site) if asked and event.model.mode_dependent else ""
        losses = (*tracker.scored_by, *functional_losses(tracker.site)) if event.grad else ()
        return replace(
            event,
            scored_by=tuple(dict.fromkeys(losses)),
            feeds_models=tracker.feeds_models,
            feeds_training=tracker.feeds_training,
            backpropagated=backpropagated,
            trained_after=tracker.last_step < self.steps,
            alternating=tracker.alternates(self.steps),
            also_predicts=tracker.also_predicts,
            in_a_row=tracker.ends_in_a_row,
            inputs=tracker.inputs,
            mode_set_at=tracker.mode_set_at,
            eval_left_on=tracker.eval_left_on,
            repeats_input=tracker.repeats_input,
            result_use=use,
        )
