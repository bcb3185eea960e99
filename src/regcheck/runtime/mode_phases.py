"""Follow each `train()` and `eval()` of a model until its mode is set again: what the program calls in that mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.files.place import Place

from .models import parts
from .result_tracking import ResultTracker


@dataclass(slots=True, eq=False)
class _Phase:
    """The time since the program set a model's mode at `place`.

    `pending` are the calls with gradients since the last training step, through whose results a loss may still be
    back-propagated. `left_on` says of eval mode, once the model is trained in it, whether it predicted before.
    """

    training: bool
    place: Place | None
    predicted: bool = False
    pending: dict[ResultTracker, None] = field(default_factory=dict)
    left_on: bool | None = None


class ModePhases:
    """The current phase of each model.

    A prediction between the last `eval()` and the first training call after it says that the program set eval mode for
    the prediction only. Where the first call after `eval()` trains, the program set eval mode for the training, and
    another `eval()` changes nothing.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all models."""
        self._phases: Any = WeakIdKeyDictionary()
        self._models: Any = WeakIdKeyDictionary()

    def add_model(self, module: nn.Module) -> None:
        """Follow the mode of a model that the program calls."""
        self._models[module] = None

    def note_mode(self, module: nn.Module, training: bool, place: Place | None, by_test: bool) -> None:
        """The program sets the mode of a module, and with it that of every model in it.

        What a test sets is not taken for a mistake of the code under test.
        """
        inner = {id(each) for each in parts(module)} if any(each is not module for each in self._models) else set()
        for model in {module: None} | {each: None for each in self._models if id(each) in inner}:
            phase: _Phase | None = self._phases.get(model)
            if training or phase is None or phase.training or phase.left_on is not False:
                self._phases[model] = _Phase(training, place, left_on=False if by_test and not training else None)

    def note_call(self, module: nn.Module, tracker: ResultTracker, grad: bool) -> None:
        """The program calls a model whose mode-dependent layers are all in one mode."""
        phase: _Phase | None = self._phases.get(module)
        if phase is None:
            return
        if grad:
            phase.pending[tracker] = None
        else:
            phase.predicted = True
            tracker.mode_set_at = phase.place

    def note_training_step(self) -> None:
        """The program back-propagates a loss, or steps an optimizer."""
        for phase in list(self._phases.values()):
            for tracker in phase.pending:
                if not tracker.backpropagated:
                    phase.predicted = True
                elif not phase.training:
                    _train_in_eval(phase, tracker)
            phase.pending.clear()


def _train_in_eval(phase: _Phase, tracker: ResultTracker) -> None:
    if phase.left_on is None:
        phase.left_on = phase.predicted
    if phase.left_on:
        tracker.eval_left_on = tracker.eval_left_on or phase.place
    else:
        tracker.mode_set_at = phase.place
