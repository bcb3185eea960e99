"""A function that returns with a model in a different mode than on entry.

## What it finds

A function that switches a model's mode temporarily, intends to restore it, and does not restore the entry mode:

- it switches to eval mode, uses the model, and ends with an unconditional `model.train()`, although its caller had the
  model in eval mode and continues to predict with it;
- one of its paths restores the mode, and an early `return` does not;
- it restores the mode of the whole model, and a part that was pinned to eval mode (frozen batch norm) returns in train
  mode. In a running program the part must have been put in eval mode once, by a call of its own, have been trained on
  so, and be trained on in train mode afterwards. Where its weights are frozen too, frozen-norm-drifts reports it.

Only a scan reports the second case; a running program reports what it causes, trained-in-eval or missing-eval.

It is a warning if the caller relies on the mode: it predicts, or continues to train, in the leftover mode. Otherwise it
is advice, because no harm was seen. The rule ignores functions that set one mode only (their purpose), functions that
train, and functions whose caller sets the mode right after.

## Why it matters

The harm appears not where the mode is set but calls later, in code that looks right. Predictions use dropout and batch
statistics, or training continues without them, and both depend on whether the function was called.

## How it is confirmed

On a copy of the model, with the input of the call that relied on the mode: predictions with the layers' modes at the
call against predictions in eval mode. Each prediction in the modes of the call must differ from an eval run by more
than any other eval run does (an exact rank test). For a part, the input is that of the training call: the output with
the part as it was is compared with the output with the part in eval mode, and all other layers draw the same numbers.

## When to keep the code

If callers must set the mode themselves after each call. It is better to store and restore it: `was = model.training`,
`model.eval()`, and `model.train(was)` in a `finally`.

## References

The documentation of `torch.nn.Module.train` and `torch.nn.Module.eval`: both set the mode of all submodules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Mode
from regcheck.core.measurements.mode_difference import ModeDifference
from regcheck.core.rule import Example, Probe
from regcheck.core.usage import Backward, Called, Event, ModeNotRestored, ModeSet, Stepped, Usage, bare_name
from regcheck.files.place import Place

CODE = "REG208"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (ModeSet,)


def check(usage: Usage) -> Iterator[Suspicion]:
    for event in usage.events:
        if isinstance(event, ModeNotRestored) and event.restores:
            if event.part and usage.moves_frozen_norms(event.model, event.part):
                continue  # which is frozen-norm-drifts
            message = f"`{event.mode_setter}` returns with {what(event)} mode, unlike on entry"
            message += f", and it trains in that mode {where(event.next_use)}" if event.next_use else ""
            fix = "restore each part's own mode" if event.part else "restore the mode in a `finally` block"
            yield Suspicion(event, message, fix, severity=None if event.next_use else Severity.INFO)
    for index, call in usage.calls():
        switched = left_on(usage, index, call) if predicts_in_train_mode(call) else None
        if switched is not None:
            relied = f"the model predicts in that mode {where(call.place)}"
            fix = "save `model.training` and restore it: `model.train(was_training)`"
            yield left_by(switched, call, f"`{call.model.name}`", relied, fix)
        thawed = still_thawed(usage, index, call)
        switched = blanket(usage, index, call) if thawed else None
        if switched is not None:
            parts = f"`{thawed[0]}`" + (f" and {len(thawed) - 1} more" if len(thawed) > 1 else "")
            relied = f"the model trains in that mode {where(call.place)}"
            fix = "restore each part's own mode"
            yield left_by(switched, replace(call, unpinned=thawed), f"{parts} of `{call.model.name}`", relied, fix)


def left_by(switched: ModeSet, call: Called, model: str, relied: str, fix: str) -> Suspicion:
    """The suspicion, where the mode was left, about the call that relied on it."""
    message = f"`{bare_name(switched.function)}` returns with {model} in train mode, unlike on entry, and {relied}"
    intended = (*switched.intended, *call.intended)
    return Suspicion(replace(call, place=switched.place, library=switched.library, intended=intended), message, fix)


def what(event: ModeNotRestored) -> str:
    part = f"`{event.part}` of " if event.part else ""
    return f"{part}`{event.model.name}` in {'train' if event.training else 'eval'}"


def predicts_in_train_mode(event: Event) -> bool:
    """Whether a call is a prediction, kept and made without gradients, in train mode."""
    if not isinstance(event, Called) or event.grad or event.test_code or event.result != "used":
        return False
    return event.training is True and event.model.learned and bool(event.model.mode_dependent)


def left_on(usage: Usage, index: int, call: Called) -> ModeSet | None:
    """The switch to train mode that a function left behind which was given the model in eval mode; None if none did.

    The function itself switched to eval mode before, and used the model in it. Nothing was trained since.
    """
    switched: ModeSet | None = None
    used = off = False
    for event in reversed(usage.events[:index]):
        if isinstance(event, (Backward, Stepped)) and switched is None:
            return None
        if not isinstance(event, (Called, ModeSet)) or event.model.key != call.model.key:
            continue
        if isinstance(event, Called):
            if switched is None and event.grad:
                return None
            used = used or (switched is not None and event.function == switched.function and event.training is False)
        elif switched is None:
            if not event.training or event.function == call.function:
                return None
            switched = event
        elif event.function == switched.function:
            off = off or (used and not event.training)
        else:
            trains = usage.trains_in(switched.function) or usage.trains_in(call.function)
            return switched if off and not event.training and not trains else None
    return None


def still_thawed(usage: Usage, index: int, call: Called) -> tuple[str, ...]:
    """The parts that a training call finds in train mode, and that were trained on in eval mode before."""
    if not (call.unpinned and call.backpropagated and usage.is_stepped(call.model)):
        return ()
    before = [each for at, each in usage.calls() if at < index and each.model.key == call.model.key]
    trained = {path for each in before if each.backpropagated for path in each.pinned}
    return tuple(path for path in call.unpinned if path in trained and not usage.moves_frozen_norms(call.model, path))


def blanket(usage: Usage, index: int, call: Called) -> ModeSet | None:
    """The `train()` of the whole by a function that is over, which switched it to eval mode before and used it so."""
    switched: ModeSet | None = None
    used = False
    for event in reversed(usage.events[:index]):
        if not isinstance(event, (Called, ModeSet)) or event.model.key != call.model.key:
            continue
        if switched is None:
            if isinstance(event, ModeSet):
                if not event.training or event.function in (call.function, *call.callers):
                    return None
                switched = event
        elif isinstance(event, Called):
            used = used or (event.function == switched.function and event.training is False)
        elif event.function != switched.function:
            return None
        elif used and not event.training:
            return None if usage.trains_in(switched.function) else switched
    return None


def where(place: Place | None) -> str:
    return f"at line {place.line}" if place else "later"


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    unpinned = getattr(suspicion.event, "unpinned", ())
    if unpinned:
        difference = probe.measure(ModeDifference, suspicion.event, Mode.EVAL, unpinned)
        part = "with these parts in eval mode" if len(unpinned) > 1 else "with this part in eval mode"
        return probe.evidence(difference.verdict, difference.describe("output", part), difference)
    difference = probe.measure(ModeDifference, suspicion.event)
    if not predicts_in_train_mode(suspicion.event):
        return probe.evidence(Verdict.REFUTED, "this call is not a prediction in train mode", difference)
    return probe.evidence(difference.verdict, difference.describe("prediction", "in eval mode"), difference)


BAD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        hits = (model(x).argmax(1) == y).float().mean()
    model.train()  # <-
    return hits


def export(model, x, y):
    model.eval()
    print(accuracy(model, x, y))
    with torch.no_grad():
        return model(x).softmax(1)


export(Classifier(), torch.randn(32, 16), torch.zeros(32))
"""),
)

GOOD = (
    Example("""\
import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))


def accuracy(model, x, y):
    was = model.training
    model.eval()
    with torch.no_grad():
        hits = (model(x).argmax(1) == y).float().mean()
    model.train(was)
    return hits


def export(model, x, y):
    model.eval()
    print(accuracy(model, x, y))
    with torch.no_grad():
        return model(x).softmax(1)


export(Classifier(), torch.randn(32, 16), torch.zeros(32))
"""),
)
