"""Follow each `train()` and `eval()` of a model until its mode is set again: what the program calls in that mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

from .models import parts
from .result_tracking import ResultTracker


@dataclass(slots=True, eq=False)
class _Results:
    """Results of equal calls since the last training step: how many there are, and through how many a loss went."""

    calls: int = 0
    used: int = 0


@dataclass(slots=True, eq=False)
class _Phase:
    """The time since the program set a model's mode at `place`.

    Attributes:
        predicted: the program made a prediction.
        pending: the results with gradients since the last training step, through which a loss may still be
            back-propagated; in eval mode.
        left_out: how many results the first training step left out of its loss, if it left out some.
        left_on: whether eval mode was set for a prediction; None before the model is trained in it.
    """

    training: bool
    place: Place | None
    predicted: bool = False
    pending: dict[ResultTracker, _Results] = field(default_factory=dict)
    left_out: int | None = None
    left_on: bool | None = None

    def decide(self, left_out: int) -> None:
        """Decide, at a training step in eval mode, for what that mode was set.

        A validation and the training may call the model in one line, with gradients on. Then the first training step
        leaves out the validation's results, and the next one does not. A step that leaves out some each time is odd in
        another way, and no sign of a prediction.
        """
        if self.predicted:
            self.left_on = True
        elif self.left_out is None and left_out:
            self.left_out = left_out
        else:
            self.left_on = self.left_out is not None and left_out != self.left_out


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
        self._has_pending = False

    def add_model(self, module: nn.Module) -> None:
        """Follow the mode of a model that the program calls."""
        self._models[module] = None

    def note_mode(
        self, module: nn.Module, training: bool, place: Place | None, by_test: bool, by_value: bool = False
    ) -> None:
        """The program sets the mode of a module, and with it that of every model in it.

        What a test sets is not taken for a mistake of the code under test. A mode `by_value`, as in `train(before)`,
        that changes nothing is no request for it.
        """
        inner = {id(each) for each in parts(module)} if any(each is not module for each in self._models) else set()
        for model in {module: None} | {each: None for each in self._models if id(each) in inner}:
            phase: _Phase | None = self._phases.get(model)
            if by_value and phase is not None and phase.training is training:
                continue
            if training or phase is None or phase.training or phase.left_on is not False:
                self._phases[model] = _Phase(training, place, left_on=False if by_test and not training else None)

    def note_call(self, module: nn.Module, tracker: ResultTracker, grad: bool) -> Callable[[Any], None] | None:
        """The program calls a model whose mode-dependent layers are all in one mode.

        Returns a hook for the autograd nodes of the result, where a backward pass through it is news.
        """
        phase: _Phase | None = self._phases.get(module)
        if phase is None:
            return None
        if not grad:
            phase.predicted = True
            tracker.mode_set_at = phase.place
        elif not phase.training:
            self._has_pending = True
            results = phase.pending.setdefault(tracker, _Results())
            if phase.left_on is None:
                results.calls += 1
                return _use_of(results)
        return None

    def note_training_step(self) -> None:
        """The program back-propagates a loss, or steps an optimizer."""
        if not self._has_pending:
            return
        self._has_pending = False
        for phase in list(self._phases.values()):
            trained = {tracker: each for tracker, each in phase.pending.items() if tracker.backpropagated}
            phase.predicted = phase.predicted or len(trained) < len(phase.pending)
            if trained and phase.left_on is None:
                phase.decide(left_out=sum(each.calls - each.used for each in trained.values()))
            for tracker in trained if phase.left_on is not None else ():
                if phase.left_on:
                    tracker.eval_left_on = tracker.eval_left_on or phase.place
                else:
                    tracker.mode_set_at = phase.place
            phase.pending.clear()


def _use_of(results: _Results) -> Callable[[Any], None]:
    """A hook that counts a result once, however many of its tensors a loss goes back through."""
    counted = False

    def count(gradients: Any) -> None:
        nonlocal counted
        results.used += not counted
        counted = True

    return count
