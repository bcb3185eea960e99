"""What a program did with its models: the ordered events of a test, a script or a function body.

The watcher of a running program and the reader of its source produce the same events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from regcheck.files.place import Place

from .suppressions import CodeSuppression


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the program knows it: `name` for messages, `key` to find the live object again.

    `mode_dependent` names the kinds of layer whose result depends on the mode; `learned` says that the model has
    learned layers beside them (a lone dropout or batch norm is a layer, not a model).
    """

    key: str
    name: str
    mode_dependent: tuple[str, ...] = ()
    learned: bool = True


WEIGHT, BIAS, NORM_SCALE = "weights", "biases", "norm scales"


@dataclass(frozen=True, slots=True)
class Group:
    """One parameter group of an optimizer; None where the value cannot be known.

    `holds` says what its parameters are: `WEIGHT`, `BIAS`, `NORM_SCALE`, or an empty string where that is not known.
    Of a live optimizer it tells each parameter, in order; from source, the kinds that are certain to be among them.
    `model` is the model whose parameters these are, all of them, where the source tells.
    """

    weight_decay: float | None
    decoupled: bool | None = False
    holds: tuple[str, ...] = ()
    model: Model | None = None

    @property
    def is_mixed(self) -> bool:
        """Whether it decays weights, and biases or norm scales like them."""
        return bool(self.weight_decay) and WEIGHT in self.holds and not {BIAS, NORM_SCALE}.isdisjoint(self.holds)


@dataclass(frozen=True, slots=True)
class OptimizerInfo:
    """An optimizer: `rule` is the torch.optim class whose update it follows (`Adam`, `SGD`, …), None if unknown.

    `fed` are the names in what the source hands in as `weight_decay`, where it is the source that tells.
    """

    key: str
    name: str
    rule: str | None
    groups: tuple[Group, ...] = ()
    fed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at `place`, called from the function `function` of the program under examination.

    `intended` is what the blocks declare that it happened in, where it was watched.
    """

    place: Place | None = None
    function: str = ""
    intended: tuple[CodeSuppression, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class Called(Event):
    """A model was called as a whole (not from inside another model).

    `training` is None when the mode cannot be known. `result` says what became of it: `used`, `discarded`, or
    `unknown`. `test_code` is True when the call stands in a test's own body rather than in the code under test,
    `tested` when a test reaches it through nothing but methods of a larger model that `model` is a part of. `capture`
    tells where a watcher kept the call's inputs.

    What only a watcher knows speaks of all equal calls together: `callers` are the functions that were running around
    `function`, innermost first. `propagated` says whether a loss was propagated back through a result, `followed`
    whether the program trained anything after the last of these calls, `alternating` whether it did so all along and
    no more than two steps at a time, `repeated` whether one input was handed in again and again. `taken` is `decision`
    where the code makes a class, a score or a loss of the result, `value` where it only takes it out of the graph, and
    `shape` where it looks at nothing but its shape. `asleep` are parts of the model, or the model itself, that act as
    in eval mode because they were loaded in it: nobody has chosen their mode. `frozen` are the paths of parts that were
    put in eval mode by one call of their own and are in it, `thawed` of those that are in train mode although.
    """

    model: Model = field(kw_only=True)
    training: bool | None = field(kw_only=True)
    grad: bool = field(kw_only=True)
    result: str = field(default="used", kw_only=True)
    test_code: bool = field(default=False, kw_only=True)
    tested: bool = field(default=False, kw_only=True)
    capture: int | None = field(default=None, kw_only=True)
    callers: tuple[str, ...] = field(default=(), kw_only=True)
    propagated: bool | None = field(default=None, kw_only=True)
    followed: bool | None = field(default=None, kw_only=True)
    alternating: bool = field(default=False, kw_only=True)
    repeated: bool = field(default=False, kw_only=True)
    taken: str = field(default="", kw_only=True)
    asleep: tuple[Model, ...] = field(default=(), kw_only=True)
    frozen: tuple[str, ...] = field(default=(), kw_only=True)
    thawed: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class ModeSet(Event):
    """`train()` or `eval()` was called on a model."""

    model: Model = field(kw_only=True)
    training: bool = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class ModeNotRestored(Event):
    """A function gave a model, or a part of it, back in another mode than it got it in, though it means to restore it.

    `place` is where it does so, `by` the function's name, `part` the path of the part, empty for the model. `training`
    is the mode that was left. `relied` is where the model was called next and trained in that mode, if it was.
    `meant` is False where nothing in the function gives the mode back.
    """

    model: Model = field(kw_only=True)
    training: bool = field(kw_only=True)
    by: str = field(kw_only=True)
    part: str = field(default="", kw_only=True)
    relied: Place | None = field(default=None, kw_only=True)
    meant: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, slots=True)
class MethodNotCalled(Event):
    """A method of a model was named where only a call has an effect: as a statement, or in an assertion.

    `owner` is the source of what the method belongs to, `method` its name.
    """

    model: Model = field(kw_only=True)
    owner: str = field(kw_only=True)
    method: str = field(kw_only=True)
    asserted: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Backward(Event):
    """A loss was back-propagated."""


@dataclass(frozen=True, slots=True)
class Stepped(Event):
    """An optimizer was built (source) or stepped (live).

    `models` are the keys of models whose parameters it holds, and of those that are `asleep` and that it trains whole.
    """

    optimizer: OptimizerInfo = field(kw_only=True)
    models: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class StepComposed(Event):
    """A training step came together in `function`, which leaves its parts to others: calls, backward, optimizer."""


@dataclass(frozen=True, slots=True)
class Penalized(Event):
    """A loss was back-propagated to which the squares, or the 2-norms, of a model's parameters had been added."""

    model: Model = field(kw_only=True)


@dataclass(frozen=True)
class Usage:
    """The events of one test, script or function, in order."""

    subject: str
    events: tuple[Event, ...] = ()

    def calls(self) -> Iterator[tuple[int, Called]]:
        """Model calls with their position."""
        return ((index, event) for index, event in enumerate(self.events) if isinstance(event, Called))

    def optimizers(self) -> Iterator[Stepped]:
        """The first event of every optimizer, once for each declaration that it happened under."""
        seen: set[object] = set()
        for event in self.events:
            if isinstance(event, Stepped) and (event.optimizer.key, event.intended) not in seen:
                seen.add((event.optimizer.key, event.intended))
                yield event

    def steps(self, model: Model) -> bool:
        """Whether an optimizer steps that holds the model."""
        return any(isinstance(event, Stepped) and model.key in event.models for event in self.events)

    @cached_property
    def training_functions(self) -> frozenset[str]:
        """The functions that train: by back-propagating, by an optimizer's step, by a call that is back-propagated.

        So do those in which these come together.
        """
        return frozenset(event.function for event in self.events if isinstance(event, StepComposed) or trains(event))

    def trains_in(self, function: str) -> bool:
        """Whether `function` itself takes part in a training step."""
        return function in self.training_functions

    def models_trained_alone(self) -> set[str]:
        """Keys of the models that a function trains without calling another one: each is a whole model, not a part."""
        called: dict[str, set[str]] = {}
        for _, call in self.calls():
            if call.grad:
                called.setdefault(call.function, set()).add(call.model.key)
        alone = {
            key for function, keys in called.items() if len(keys) == 1 and self.trains_in(function) for key in keys
        }
        shared = {key for keys in called.values() if len(keys) > 1 for key in keys}
        return alone - shared

    def mode_asked_for(self, index: int) -> bool | None:
        """The mode that the program asked for just before event `index`; None where it has trained since."""
        called = self.events[index]
        assert isinstance(called, Called)
        for event in reversed(self.events[:index]):
            if isinstance(event, ModeSet) and event.model.key == called.model.key:
                return event.training
            if isinstance(event, (Backward, Stepped)):
                return None
            if isinstance(event, Called) and event.grad and event.propagated is not False:
                return None
        return None


def bare(function: str) -> str:
    """The name of a function, without where it stands."""
    return function.split(":")[-2] if ":" in function else function


def loads(function: str) -> bool:
    """Whether a function is one that returns models in eval mode."""
    return ":from_pretrained:" in f":{function}"


def trains(event: Event) -> bool:
    """Whether an event is part of a training step."""
    return isinstance(event, (Backward, Stepped)) or (isinstance(event, Called) and event.propagated is True)
