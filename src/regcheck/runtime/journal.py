"""What gathers between two takes."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from regcheck.core.finding import NotChecked
from regcheck.core.suppressions import CodeSuppression
from regcheck.core.usage import Called, Event, Model, StepComposed
from regcheck.files.place import Place

from .call_sites import CallSite
from .captures import Capture, Captures, State
from .event_log import Log
from .result_tracking import ResultTracker
from .result_use import functional_losses, taken
from .step_scope import Steps
from .weak_state import RevivableRef

Again = tuple[str, CallSite, bool, bytes, tuple[CodeSuppression, ...]]
"""What is equal for calls that are written down as one: the model's key, where it is called, whether gradients are on,
which of its layers act as in training, and what the blocks declare around the call."""


@dataclass(frozen=True, slots=True, eq=False)
class ModeChange:
    """The last `train()` or `eval()` of one module since the last training step."""

    module: weakref.ref[nn.Module]
    training: bool
    site: CallSite
    intended: tuple[CodeSuppression, ...] = ()


@dataclass(slots=True, eq=False)
class CallRecord:
    """A call that was met before: its event, what became of its results, and when it was looked at last.

    `steps` and `settings` count the training steps and the changes of modes before that.
    """

    event: Called
    fate: ResultTracker
    steps: int
    settings: int


class Journal:
    """Events, captures, and what is needed to write down equal things once."""

    def __init__(self) -> None:
        self.log = Log()
        self.captures = Captures()
        self.captured: dict[tuple[State, Place | None], int | None] = {}
        self.optimizers: dict[str, RevivableRef[torch.optim.Optimizer]] = {}
        self.skipped: dict[NotChecked, None] = {}
        self.unkept: dict[str, NotChecked] = {}
        self.settings: dict[str, ModeChange] = {}
        self.met: dict[Again, CallRecord] = {}
        self.fates: dict[Called, ResultTracker] = {}
        self.stepped: dict[tuple[str, CallSite, tuple[CodeSuppression, ...]], Event] = {}
        self.called: dict[str, weakref.ref[nn.Module]] = {}
        self.asleep: dict[str, weakref.ref[nn.Module]] = {}
        self.structures: dict[str, tuple[CodeSuppression, ...]] = {}
        self.trained = False
        self.parts = Steps()
        self.steps = self.changes = 0

    def __bool__(self) -> bool:
        return bool(self.log or self.skipped or self.unkept)

    def train(self) -> None:
        """A training step is taken: modes that were asked for before it were asked for its sake."""
        self.settings.clear()
        self.trained = True
        self.steps += 1

    def note_parts(self, site: CallSite, functions: Iterable[str]) -> None:
        """Parts of training steps, of which the last is at a site, come together in some functions."""
        for function in functions:
            if function not in ("", site.function):
                self.log.add(self.log.once((site, function), partial(StepComposed, site.place, function)))

    def note_structure(self, model_key: str, intended: tuple[CodeSuppression, ...]) -> None:
        """A model is called: of its structure, what is declared around each such call stands."""
        known = self.structures.get(model_key, intended)
        self.structures[model_key] = tuple(each for each in known if each in intended)

    def note_mode(self, model: Model, setting: ModeChange) -> None:
        """A mode is asked for."""
        self.settings.pop(model.key, None)
        self.settings[model.key] = setting
        self.changes += 1

    def events(self) -> tuple[tuple[Event, ...], tuple[Capture, ...]]:
        """The events with what is known of results by now, and the captures that they refer to.

        A call that raised, and was not made again, is left out: nothing came of it.
        """
        kept = self.captures.taken()
        numbers = {index: number for number, index in enumerate(kept)}
        finished: dict[Called, Called] = {}

        def finish(event: Event) -> Event:
            if not isinstance(event, Called):
                return event
            if event not in finished:
                capture = None if event.capture is None else numbers.get(event.capture)
                finished[event] = replace(self._finished(event, self.fates.get(event)), capture=capture)
            return finished[event]

        raised = self.captures.raised
        events = [each for each in self.log.events() if not (isinstance(each, Called) and raised(each.capture))]
        return tuple(map(finish, events)), tuple(kept.values())

    def _finished(self, event: Called, fate: ResultTracker | None) -> Called:
        if event.loaded_in_eval:
            event = replace(
                event, loaded_in_eval=tuple(each for each in event.loaded_in_eval if each.key in self.asleep)
            )
        if fate is None:
            return event
        propagated = fate.propagated if event.grad else False
        asked = event.training and not propagated and not event.test_code and event.result == "used"
        use = taken(fate.site) if asked and event.model.mode_dependent else ""
        followed, turns = fate.at < self.steps, fate.alternates(self.steps)
        event = replace(event, backpropagated=propagated, trained_after=followed, alternating=turns)
        losses = dict.fromkeys((*fate.scored_by, *functional_losses(fate.site))) if event.grad else ()
        event = replace(event, scored_by=tuple(losses))
        return replace(event, repeats_input=fate.repeated, result_use=use)
