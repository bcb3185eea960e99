"""The event log answers every question about a program as the full list of its events does, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from regcheck.core.usage import Backward, Called, Event, Model, ModeSet, OptimizerInfo, StepComposed, Stepped, Usage
from regcheck.files.place import Place
from regcheck.runtime.event_log import UsageLog

MODELS = [Model(f"model#{number}", "Net", ("dropout",)) for number in range(2)]
OPTIMIZERS = [OptimizerInfo(f"SGD#{number}", "SGD", "SGD") for number in range(2)]
FUNCTIONS = {"fit": Place("trainer.py", 1), "validate": None}
"""A library's function, and one of the program's."""
EVENTS: list[Event] = [
    *(
        Called(
            None,
            function,
            library=library,
            model=model,
            training=training,
            grad=grad,
            backpropagated=grad and function == "fit",
        )
        for function, library in FUNCTIONS.items()
        for model in MODELS
        for training in (True, False)
        for grad in (True, False)
    ),
    *(
        ModeSet(None, function, model=model, training=training)
        for function in FUNCTIONS
        for model in MODELS
        for training in (True, False)
    ),
    Backward(None, "fit"),
    StepComposed(None, "fit"),
    *(Stepped(None, "fit", optimizer=OPTIMIZERS[number], models=(MODELS[number].key,)) for number in range(2)),
]


def logged(numbers: Sequence[int]) -> Usage:
    log = UsageLog()
    for number in numbers:
        log.add(log.intern(number, lambda number=number: EVENTS[number]))
    return Usage("logged", log.events(lambda call: bool(call.backpropagated)))


def answers(usage: Usage, requested: Callable[[int, Called], bool | None]) -> object:
    """What rules may ask: of all calls that are equal together, as the log writes them down once."""
    calls = {
        (replace(call, requested=None, trained_beside=None, trained_in_pairs=None), requested(index, call))
        for index, call in usage.calls()
    }
    sets = {event for event in usage.events if isinstance(event, ModeSet)}
    return (
        calls,
        sets,
        usage.training_functions,
        usage.models_trained_together(),
        [event.optimizer.key for event in usage.optimizers()],
        [usage.is_stepped(model) for model in MODELS],
        usage.trains_anything,
    )


@given(st.lists(st.integers(0, len(EVENTS) - 1), max_size=60))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_the_log_answers_as_all_events_do(numbers: list[int]) -> None:
    """Whatever a program does, in whatever order, no answer is lost and none is made up."""
    whole = Usage("all", tuple(EVENTS[number] for number in numbers))
    expected = answers(whole, lambda index, call: whole.requested_mode(index))
    assert answers(logged(numbers), lambda index, call: call.requested) == expected


@given(st.lists(st.integers(0, len(EVENTS) - 1), min_size=1, max_size=30))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_repetitions_take_no_memory(numbers: list[int]) -> None:
    """After a while, a thousand repetitions of what a program does add nothing to the log."""
    assert len(logged(numbers * 1010).events) == len(logged(numbers * 10).events)
