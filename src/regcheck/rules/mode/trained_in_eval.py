"""Training steps in eval mode, after a validation that never switched back.

## What it finds

A model that trains in the eval mode of a prediction: between the last `eval()` and the first training call after it,
the program made a prediction, and it did not call `train()` again. Mostly this is a validation in the middle of an
epoch, or after the first one. None of the model's dropout and batch norm layers act as in training any more. It does
not matter which function calls `eval()`, nor whether it calls it on the model or on a module around it.

It also finds:

- a model that `from_pretrained` returned in eval mode and that is trained whole, although nobody set its mode; in a
  running program also a part, such as a backbone below a new head;
- a program in which one line sets eval mode for training and train mode for predictions.

In source the rule also follows models of unknown classes, if the program calls their `train()` anywhere.

Where the first call after `eval()` trains, the program means to train in eval mode (fine-tuning on fixed statistics),
and the rule ignores it, also if it predicts later. The rule also ignores models with a part that is pinned to eval mode
or frozen, and passes that do not train, such as an attack: a running program trains only if a loss is back-propagated
through the result and an optimizer that holds the model steps.

## Why it matters

From then on nothing is dropped and batch norm's statistics stand still while the weights move on. Nothing crashes; the
curves merely look different from the first validation on.

## How it is confirmed

On a copy of the model, with the input of the call: outputs with the layers' modes at the call against outputs in train
mode. Each train-mode output must differ from the output at the call by more than any replay does (an exact rank test).
If some layers do act at the call, both run with the same random numbers.

## When to keep the code

If training must end in eval mode, as in fine-tuning with fixed batch norm statistics: put the model in eval mode by a
call of its own, and ignore the line.

## References

The documentation of `torch.nn.Module.eval` and `torch.nn.Module.train`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.graph import Mode
from regcheck.core.measurements.mode_difference import ModeDifference
from regcheck.core.rule import Example, Probe
from regcheck.core.usage import Backward, Called, Event, Model, ModeNotRestored, ModeSet, Usage, is_model_loader

CODE = "REG206"
SEVERITY = Severity.WARNING
SINCE = "1.0"
BEGINS_AT = (ModeSet, Backward)


def check(usage: Usage) -> Iterator[Suspicion]:
    for left in usage.events:
        if isinstance(left, ModeNotRestored) and stays_off(usage, left):
            yield Suspicion(
                replace(left, place=left.next_use),
                f"`{left.model.name}` trains in eval mode, as `{left.mode_setter}` leaves it{off(left.model)}",
                fix="call `model.train()` after validating",
            )
    for index, call in usage.calls():
        asleep = [part for part in call.loaded_in_eval if is_trained(usage, call, part)]
        layers = " and ".join(call.model.mode_dependent)
        trained = trains_in_eval(call) and is_trained(usage, call, call.model) and is_meant_to_train(usage, call.model)
        if trained and (usage.eval_left_on(index) is not None or usage.inverts_modes(call)):
            yield Suspicion(
                call,
                f"`{call.model.name}` trains in eval mode{off(call.model)}",
                fix="call `model.train()` at the start of each training epoch, or after validating",
            )
        elif trained and chooses_eval(usage, call):
            how = "with `training=False`" if call.mode_argument == "given" else "without `training=True`"
            yield Suspicion(
                call,
                f"`{call.model.name}` trains {how}{off(call.model)}",
                fix=KERAS_CALL if call.library else KERAS_STEP,
            )
        elif trained and came_in_eval(usage, index, call):
            yield Suspicion(
                call,
                f"`{call.model.name}` trains in the eval mode that it was loaded in, with {layers} off",
                fix=LOADED,
            )
        elif asleep:
            names = " and ".join(dict.fromkeys(f"`{each.name}`" for each in asleep))
            within = "" if call.model.key in [each.key for each in asleep] else f" in `{call.model.name}`"
            layers = " and ".join(sorted({kind for each in asleep for kind in each.mode_dependent}))
            message = f"{names}{within} trains in the eval mode that it was loaded in, with {layers} off"
            yield Suspicion(call, message, fix=LOADED)


def off(model: Model) -> str:
    """The layers that eval mode switches off, as the end of a message."""
    return f", with {' and '.join(model.mode_dependent)} off" if model.mode_dependent else ""


KERAS_STEP = "pass `training=True` to the call in the training step"
KERAS_CALL = "let the model's `call` take the argument `training`, which `fit` passes only then"
LOADED = "call `model.train()` before training; `from_pretrained` returns models in eval mode"


def stays_off(usage: Usage, left: ModeNotRestored) -> bool:
    """Whether training goes on in the eval mode that a validation left behind, on some path and not on each."""
    is_reported = any(trains_in_eval(call) and call.place == left.next_use for _, call in usage.calls())
    return not left.restores and left.next_use is not None and left.model.follows_mode and not is_reported


def trains_in_eval(event: Event) -> bool:
    """Whether a call with gradients was made, on some path, while all that depends on the mode was in eval mode."""
    if not isinstance(event, Called) or not event.grad or not event.model.follows_mode:
        return False
    on_some_path = event.trained_after is None and event.training is None and event.eval_left_on is not None
    return event.training is False or on_some_path


def is_meant_to_train(usage: Usage, model: Model) -> bool:
    """Whether the mode matters: of an unknown model, only the program's own `train()` says so."""
    set_to_train = (each.model.key for each in usage.events if isinstance(each, ModeSet) and each.training)
    return model.known or model.key in set_to_train


def is_trained(usage: Usage, call: Called, model: Model) -> bool:
    """Whether a training step of a model is taken through the call; where it runs, by an optimizer that holds it."""
    if call.trained_after is None:  # from source
        return call.backpropagated is True or usage.trains_in(call.function)
    return call.backpropagated is True and usage.is_stepped(model)


def chooses_eval(usage: Usage, call: Called) -> bool:
    """Whether a model of Keras is trained only by calls whose argument leaves its layers in eval mode.

    An argument that only holds batch norms in eval mode trains on fixed statistics on purpose.
    """
    trained = [each for each in usage.calls_of(call.model.key) if each.backpropagated]
    drops = any("norm" not in kind for kind in call.model.mode_dependent)
    on_purpose = call.mode_argument == "given" and not drops
    return bool(call.mode_argument) and not on_purpose and not any(each.training for each in trained)


def came_in_eval(usage: Usage, index: int, call: Called) -> bool:
    """Whether all that ever set the model's mode is the function that loaded it."""
    before = usage.events[:index]
    settings = [each for each in before if isinstance(each, ModeSet) and each.model.key == call.model.key]
    return bool(settings) and all(not each.training and is_model_loader(each.function) for each in settings)


def confirm(suspicion: Suspicion, probe: Probe) -> Evidence:
    difference = probe.measure(ModeDifference, suspicion.event, Mode.TRAIN)
    if not trains_in_eval(suspicion.event) and not getattr(suspicion.event, "loaded_in_eval", ()):
        return probe.evidence(Verdict.REFUTED, "this call trains nothing in eval mode", difference)
    return probe.evidence(difference.verdict, difference.describe("output", "in train mode"), difference)


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


def validate(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean()


def train(model, x, y, epochs=3):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(epochs):
        loss = nn.functional.cross_entropy(model(x), y)  # <-
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        validate(model, x, y)


def main():
    train(Classifier(), torch.randn(32, 16), torch.zeros(32, dtype=torch.long))


main()
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


def validate(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean()


def train(model, x, y, epochs=3):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(epochs):
        model.train()
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        validate(model, x, y)


def main():
    train(Classifier(), torch.randn(32, 16), torch.zeros(32, dtype=torch.long))


main()
"""),
)
