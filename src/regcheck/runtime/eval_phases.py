"""Trains a model in the eval mode that a prediction left on: follows each `eval()` until the mode is set again."""

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
    """The time since an `eval()` of a model at `place`.

    `pending` are the calls with gradients since the last training step, of which a loss may yet be propagated back
    through the result. `left_on` says, once the model is trained in this phase, whether it had predicted before.
    """

    place: Place | None
    predicted: bool = False
    pending: dict[ResultTracker, None] = field(default_factory=dict)
    left_on: bool | None = None


class EvalPhases:
    """The current phase of each model that is in eval mode.

    A prediction between the last `eval()` and the first training call after it says that eval mode was meant for the
    prediction only. Where the first call after it trains, eval mode was meant for the training, and another `eval()`
    changes nothing.
    """

    def __init__(self) -> None:
        self._phases: Any = WeakIdKeyDictionary()
        self._models: Any = WeakIdKeyDictionary()

    def clear(self) -> None:
        """Forget what was called so far."""
        self._phases, self._models = WeakIdKeyDictionary(), WeakIdKeyDictionary()

    def mode_set(self, module: nn.Module, training: bool, place: Place | None, deliberate: bool) -> None:
        """The mode of a module, and with it that of every model in it, is set."""
        inner = {id(each) for each in parts(module)} if any(each is not module for each in self._models) else set()
        for model in {module: None} | {each: None for each in self._models if id(each) in inner}:
            phase: _Phase | None = self._phases.get(model)
            if training:
                self._phases.pop(model, None)
            elif phase is None or phase.left_on is not False:
                self._phases[model] = _Phase(place, left_on=False if deliberate else None)

    def called(self, module: nn.Module, tracker: ResultTracker, grad: bool) -> None:
        """A model whose mode-dependent layers all are in eval mode is called."""
        phase: _Phase | None = self._phases.get(module)
        if phase is None:
            return
        if grad:
            phase.pending[tracker] = None
        else:
            phase.predicted = True

    def met(self, module: nn.Module) -> None:
        """A model is called for the first time."""
        self._models[module] = None

    def trained(self) -> None:
        """A loss was propagated back, or an optimizer stepped."""
        for phase in list(self._phases.values()):
            for tracker in phase.pending:
                _settle(phase, tracker)
            phase.pending.clear()


def _settle(phase: _Phase, tracker: ResultTracker) -> None:
    """A call with gradients trained the model, or it was a prediction."""
    if not tracker.propagated:
        phase.predicted = True
        return
    if phase.left_on is None:
        phase.left_on = phase.predicted
    if phase.left_on and tracker.left_on is None:
        tracker.left_on = phase.place
