"""The events of a program: an ordered log of what it does with its models, and the models that its values come from."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from regcheck.core.usage import Called, Event, ModeSet, StepComposed
from regcheck.core.usage import Model as Subject
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.state import Frame
from regcheck.static.interpreter.values import (
    VARYING,
    Cells,
    Constant,
    Container,
    Instance,
    Module,
    ParameterOf,
    Parameters,
    Setting,
    TensorRef,
    Unknown,
    UnknownModel,
    Value,
    Weight,
    argument,
    leaves,
)
from regcheck.static.models.inspection import has_learned_layers, identity, is_loss, modes, name_of, parts_of

from .repetition import Repetition, is_of_one_input, repetition_of

_SCORING = frozenset(("sub", "mul", "eq", "ne"))
_FIXED = (Constant, Setting, Parameters, ParameterOf, Weight)
"""The values that no result is scored against."""
_REDUCING = frozenset(("mean", "sum", "median", "norm", "average"))


@dataclass(frozen=True)
class CallResult(TensorRef):
    """The result of a model call itself, not a value computed from it."""


@dataclass(frozen=True)
class Difference(TensorRef):
    """A value computed from the results of model calls and from another value, element by element."""


class EventLog(Part):
    """Records events.

    The id of a `TensorRef` is the index of the model call that the tensor comes from, with the `name` of the log:
    another file may hold a tensor that comes from a call in another log.
    """

    lasting = ("_modes_set_at", "_weights_loaded")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.events: list[Event] = []
        self.gradients = Cells(enabled=Constant(True))
        """Whether gradients are recorded, under `enabled`."""
        self.callees: dict[int, Module] = {}
        """The model of each call, by the index of its event."""
        self.frames_around: dict[int, tuple[Frame, ...]] = {}
        """The frames of each call in the current program, by the index of its event."""
        self._fed_by: dict[int, tuple[int, ...]] = {}
        """The calls whose results each call receives."""
        self._repetitions: dict[int, Repetition] = {}
        """How loops repeat each call without gradients in train mode of the current program."""
        self._copied: list[int] = []
        """The indices of the events of the current program that the next event repeats."""
        self.training_loops: set[ast.AST] = set()
        """The loops in which a program trains."""
        self.loops: list[ast.AST] = []
        """The loops that are running, of any function, the outermost first."""
        self.loops_began: list[int] = []
        """When each of them began, by the clock of `Cells`."""
        self.trained_since: int | None = None
        """The index of the event that follows the first loop that trains, once one has ended in the current program."""
        self._calls: dict[int, tuple[ast.AST, tuple[ast.AST, ...]]] = {}
        """The nodes of the current program's calls, and the loops around them that began after their models were
        constructed; by the indices of their events."""
        self.scored: set[object] = set()
        """The identities of the models whose results go into a loss: each is a whole model."""
        self.steps = False
        """Whether the current program steps an optimizer."""
        self._tried_out: set[object] = set()
        self.features: set[object] = set()
        """The identities of the models whose results another model reads, or a loss of torch compares."""
        self._compared: set[object] = set()
        """The identities of the models of which the program puts the results of several calls together."""
        self._modes_set_at: dict[int, Place | None] = {}
        self._weights_loaded: set[int] = set()
        self._owners: dict[int, Module] = {}
        self._parts: tuple[int, frozenset[int]] = (-1, frozenset())
        self.copies: set[int] = set()
        """The ids of the models that the program copies from other ones."""
        self._keys: dict[int, str] = {}
        """The keys of models, by their ids."""
        self._trained: set[str] = set()
        """The keys of the models that the current program back-propagates through."""
        self._program, self._keys_given, self._start = "", 0, 0

    @property
    def has_gradients(self) -> bool | None:
        """Whether gradients are recorded; None if that is not known."""
        enabled = self.gradients["enabled"]
        return enabled.value if isinstance(enabled, Constant) else None

    def set_gradients(self, enabled: bool | None) -> None:
        self.state.set(self.gradients, "enabled", Unknown() if enabled is None else Constant(enabled))

    def begin(self, name: str) -> None:
        """A program with this name begins."""
        self._program, self._keys_given, self._start = name, 0, len(self.events)
        self.frames_around.clear()
        self._repetitions.clear()
        self._calls.clear()
        self._copied.clear()
        self.training_loops.clear()
        self.trained_since = None
        self._trained.clear()
        for identities in (self.scored, self.features, self._tried_out, self._compared):
            identities.clear()
        self.steps = False

    def cut(self, end: int) -> None:
        """Drops the events from an index on."""
        del self.events[end:]
        self._repetitions = {index: each for index, each in self._repetitions.items() if index < end}
        self._calls = {index: each for index, each in self._calls.items() if index < end}
        self._copied = [index for index in self._copied if index < end]

    def end(self) -> None:
        """The program is over: notes which calls follow its training, and where an input comes again untrained.

        What a test sends gradients through counts as scored if the test steps an optimizer.
        """
        self.scored |= self._tried_out if self.steps else set()
        for index, repetition in self._repetitions.items():
            event = self.events[index]
            if isinstance(event, Called) and event.training is True and not event.grad:
                passes_again = repetition.is_again(self.training_loops)
                self.events[index] = replace(
                    event, passes_again=passes_again, after_training=self._is_after_training(index)
                )
        for index in self._copied:
            self.events[index + 1] = self.events[index]

    def _is_after_training(self, index: int) -> bool:
        """Whether a call follows the loops that train, and is none of the input that statistics are trained on."""
        node, loops = self._calls[index]
        if self.trained_since is None or index < self.trained_since or not self.training_loops.isdisjoint(loops):
            return False
        event, frame = self.events[index], self.frames_around[index][-1]
        assert isinstance(event, Called)
        if not all("norm" in kind for kind in event.model.mode_dependent) or not is_of_one_input(node, frame):
            return True
        alike = [each for each in self._calls if self.callees[each] is self.callees[index]]
        alike = [each for each in alike if self.frames_around[each][-1].function is frame.function]
        return not any(
            getattr(self.events[each], "backpropagated", None)
            and _arguments_of(self._calls[each][0]) == _arguments_of(node)
            and is_of_one_input(self._calls[each][0], frame)
            for each in alike
        )

    def add(self, make: type[Event], node: ast.AST, **details: Any) -> int:
        """Appends an event at a node; its index."""
        self.events.append(make(self.state.place(node), self.state.frame.name, **details))
        return len(self.events) - 1

    def add_call(self, module: Module, args: Iterable[Value], node: ast.AST) -> CallResult:
        """Appends a call of a whole model."""
        fed_by = tuple(self.origins(args := tuple(args)))
        self.consume(args)
        frames = self.state.frames
        grad, training = self.has_gradients is not False, modes(module)[0]
        repetition = repetition_of(node, frames) if training is True and not grad else Repetition()
        index = self.add(
            Called,
            node,
            model=self.subject(module),
            training=training,
            grad=grad,
            result="discarded",
            repeats_input=repetition.of_one_input,
            inputs=2 if repetition.of_inputs else 0,
            single=repetition.single,
            mode_set_at=self._modes_set_at.get(id(module)),
            weights_loaded=self.has_weights(module),
            test_code=frames[-1].source.is_test,
            callers=tuple([each.name for each in reversed(frames[:-1])]),
        )
        if repetition.at_once and repetition.of_inputs:
            self._copied.append(index)
            self.events.append(self.events[index])  # as a loop, which is followed twice
        self.callees[index], self.frames_around[index] = module, tuple(frames)
        around = zip(self.loops, self.loops_began, strict=True)
        self._calls[index] = node, tuple([loop for loop, began in around if self._is_older(module, began)])
        self._repetitions[index], self._fed_by[index] = repetition, fed_by
        return CallResult(self.ids([index]))

    def _is_older(self, module: Module, time: int) -> bool:
        """Whether a model was constructed before a time; a copy goes on with the training of its original."""
        return module.cells.born < time or id(module) in self.copies

    def add_statistics(self, module: Module, node: ast.AST) -> None:
        """Appends a pass in train mode without gradients, which only updates the running statistics of a model."""
        self.add(Called, node, model=self.subject(module), training=True, grad=False, result="discarded")

    def add_part_call(self, part: Module, node: ast.AST) -> None:
        """Appends a prediction by a part of a model, as a call of the model, which it shares requests of modes with.

        That it is a prediction, source shows only without gradients, and where the program trains the whole model or
        loads its weights.
        """
        training, kinds = modes(part)
        if self.has_gradients is not False or training is None or not kinds or not has_learned_layers(part):
            return
        model = self._model_around(part)
        if not (self.has_weights(model) or self.key_of(model) in self._trained):
            return
        frames = self.state.frames
        repetition = repetition_of(node, frames)
        self.add(
            Called,
            node,
            model=replace(self.subject(part), key=self.key_of(model)),
            training=training,
            grad=False,
            result="used",
            repeats_input=repetition.of_one_input,
            mode_set_at=self._modes_set_at.get(id(model)),
            weights_loaded=self.has_weights(model),
            test_code=frames[-1].source.is_test,
            callers=tuple([each.name for each in reversed(frames[:-1])]),
        )

    def _model_around(self, part: Module) -> Module:
        """The whole model that a module is a part of."""
        owners = {id(child): each for each in self.state.created for child in parts_of(each)}
        seen: set[int] = set()
        while id(part) in owners and id(part) not in seen:
            seen.add(id(part))
            part = owners[id(part)]
        return part

    def add_export(self, module: Module, exporter: str, node: ast.AST) -> None:
        """Appends the call in which an exporter writes a model down."""
        self.add(
            Called,
            node,
            model=self.subject(module),
            training=modes(module)[0],
            grad=self.has_gradients is not False,
            result="used",
            exporter=exporter,
            mode_set_at=self._modes_set_at.get(id(module)),
            test_code=self.state.frames[-1].source.is_test,
            callers=tuple([each.name for each in reversed(self.state.frames[:-1])]),
        )

    def add_mode(self, model: Module, training: bool, node: ast.AST) -> None:
        """Appends a change of a model's mode."""
        self.add(ModeSet, node, model=self.subject(model), training=training)
        self._modes_set_at[id(model)] = self.state.place(node)

    def load_weights(self, model: Module) -> None:
        """The program loads a state dict into a model."""
        self._weights_loaded.add(id(model))

    def has_weights(self, model: Module) -> bool:
        """Whether the program has loaded a state dict into a model."""
        return id(model) in self._weights_loaded

    def add_score(self, loss: str, args: Args, kwargs: Kwargs) -> None:
        """Adds a loss function of torch to the model call whose result itself is the input of the loss."""
        scores = argument(args, kwargs, 0, "input")
        if loss and isinstance(scores, CallResult) and self.origins((scores,)):
            index = self.origins((scores,))[0]
            event = self.events[index]
            assert isinstance(event, Called)
            if loss not in event.scored_by:
                self.events[index] = replace(event, scored_by=(*event.scored_by, loss))

    def add_composed_steps(self, losses: Iterable[Value], node: ast.AST) -> None:
        """Appends, for each call whose result is in a loss, the function around both the call and the backward pass."""
        frames = self.state.frames
        for index in self.origins(losses):
            around = zip(frames, self.frames_around.get(index, ()), strict=False)
            shared = [frame for frame, other in around if frame is other]
            if shared and shared[-1] is not frames[-1]:
                self.events.append(StepComposed(self.state.place(node), shared[-1].name))

    def backpropagate(self, losses: Iterable[Value]) -> None:
        """The program back-propagates a loss through the results of the calls that it comes from."""
        for index in self.origins(losses):
            self._backpropagate(index)

    def _backpropagate(self, index: int) -> None:
        """A call is back-propagated; one of a module that learns nothing, a loss say, hands the gradient on."""
        event = self.events[index]
        if isinstance(event, Called) and event.grad and not event.backpropagated:
            self.events[index] = replace(event, backpropagated=True)
            self._trained.add(event.model.key)
            for each in () if event.model.learned else self._fed_by[index]:
                self._backpropagate(each)

    def subject(self, model: Module) -> Subject:
        is_followed = not isinstance(model, UnknownModel)
        return Subject(self.key_of(model), name_of(model), modes(model)[1], has_learned_layers(model), is_followed)

    def key_of(self, model: Module) -> str:
        """The key of a model, which no model of another program has."""
        key = self._keys.get(id(model))
        if key is None:
            key = self._keys[id(model)] = f"{self._program}#{self._keys_given}"
            self._keys_given += 1
        return key

    def called(self) -> Iterator[Module]:
        """The models that the current program calls, unless they are of unknown classes."""
        models = (each for index, each in self.callees.items() if index >= self._start)
        return (each for each in models if isinstance(each, (Container, Instance)) and each.is_module)

    @property
    def parts(self) -> frozenset[int]:
        """The ids of the modules that are registered in another one."""
        created = self.state.created
        if self._parts[0] != len(created):
            families = [[id(child) for child in parts_of(each) if not is_loss(child)] for each in created]
            self._parts = len(created), frozenset(itertools.chain(*families))
            shared = {child for family in families if len(family) > 1 for child in family}
            owned = zip(created, families, strict=True)
            self._owners = {child: owner for owner, family in owned for child in family if child not in shared}
        return self._parts[1]

    def is_model(self, module: Module) -> bool:
        """Whether a module is a model of its own: no part of another one, or the only part of a module."""
        return id(module) not in self.parts or id(module) in self._owners

    def forget_parts(self) -> None:
        """The list of created modules starts again."""
        self._parts = (-1, frozenset())

    def origins(self, values: Iterable[Value]) -> list[int]:
        """The model calls that values come from, by the indices of their events."""
        ids = (each for value in leaves(*values) if isinstance(value, TensorRef) for each in value.ids)
        return [int(index) for index, _, name in (each.partition("@") for each in ids) if name == self.name]

    def ids(self, calls: Iterable[int]) -> tuple[str, ...]:
        """The ids of tensors that come from model calls, by the indices of their events."""
        return tuple([f"{each}@{self.name}" for each in calls])

    def sources(self, values: Iterable[Value]) -> Iterator[int]:
        """The model calls that values come from, directly or through other models."""
        todo, seen = [*self.origins(values)], set[int]()
        while todo:
            index = todo.pop()
            if index not in seen:
                seen.add(index)
                todo += self._fed_by[index]
                yield index

    def callees_of(self, values: Iterable[Value]) -> list[Module]:
        """The models that values come from."""
        return [self.callees[each] for each in self.origins(values)]

    def consume(self, values: Iterable[Value]) -> Value:
        """The program uses values; the value computed from them."""
        indices = dict.fromkeys(self.origins(values))
        for index in indices:
            event = self.events[index]
            if isinstance(event, Called) and event.result == "discarded":
                self.events[index] = replace(event, result="used")
        return TensorRef(self.ids(indices)) if indices else VARYING

    def consume_in_loss(self, values: Iterable[Value]) -> Value:
        """The program computes a loss, or predicted classes, from values; the value computed."""
        values = tuple(values)
        self.scored.update(self._whole_models(values) - self._compared_in(values))
        return self.decide(values)

    def consume_in_training(self, values: Iterable[Value]) -> Value:
        """The program back-propagates values: a test may do so to try out a part, but steps no optimizer then."""
        values = tuple(values)
        is_test = self.state.frames[-1].source.is_test
        (self._tried_out if is_test else self.scored).update(self._whole_models(values) - self._compared_in(values))
        return self.decide(values)

    def note_features(self, values: Iterable[Value]) -> None:
        """The results that values come from are features."""
        self.features.update(map(identity, self.callees_of(values)))

    def put_together(self, values: Iterable[Value]) -> None:
        """The program puts values together, or compares them: results of several calls of a model are features."""
        calls = {index for each in leaves(*values) for index in self.origins((each,))[:1]}
        self._compared |= self._called_again(calls)

    def _compared_in(self, values: Iterable[Value]) -> set[object]:
        """The identities of the models of which values put the results of several calls together."""
        return self._compared & self._called_again({*self.origins(values)})

    def _called_again(self, calls: Iterable[int]) -> set[object]:
        models = [identity(self.callees[each]) for each in calls]
        return {each for each in models if models.count(each) > 1}

    def _whole_models(self, values: Iterable[Value]) -> set[object]:
        """The identities of the models that values come from, also through losses, and of those that only wrap one."""
        models: set[object] = set()
        calls = {*self.origins(values)}
        todo = [*calls]
        while todo:
            index = todo.pop()
            owner: Module | None = self.callees[index]
            seen: set[int] = set()
            while owner is not None and id(owner) not in seen:
                seen.add(id(owner))
                models.add(identity(owner))
                owner = self._owners.get(id(owner)) if self.is_model(owner) else None
            todo += [] if self._learns(index) else {*self._fed_by[index]} - calls
            calls.update(todo)
        return models

    def _learns(self, index: int) -> bool:
        """Whether the call at an index is one of a module with learned layers; any other hands gradients on."""
        event = self.events[index]
        return isinstance(event, Called) and event.model.learned

    def take_out(self, values: Iterable[Value]) -> Value:
        """The program takes values out of the graph, as an array or a number; the value computed."""
        values = tuple(values)
        for index in self.origins(values):
            event = self.events[index]
            if isinstance(event, Called) and not event.result_use:
                self.events[index] = replace(event, result_use="value")
        return self.consume(values)

    def combine(self, name: str, values: Args) -> Value:
        """The program computes a value from others by an operator."""
        result = self.consume(values)
        if not isinstance(result, TensorRef):
            return result
        by_model = [bool(self.origins((each,))) for each in values]
        others = [each for each, is_model in zip(values, by_model, strict=True) if not is_model]
        compares = name in _SCORING and not all(isinstance(each, _FIXED) for each in others)
        return Difference(result.ids) if compares or _holds_difference(values) else result

    def compute(self, name: str, values: Args) -> Value:
        """The program computes a value by a function; one number from differences is a score."""
        if not _holds_difference(values):
            return self.consume(values)
        if name in _REDUCING and len(values) == 1:
            return self.decide(values)
        result = self.consume(values)
        return Difference(result.ids) if isinstance(result, TensorRef) else result

    def decide(self, values: Iterable[Value]) -> Value:
        """The program computes a score, a class or a loss from values, which need not be a whole model's."""
        values = tuple(values)
        for index in self.origins(values):
            event = self.events[index]
            if isinstance(event, Called) and event.result_use != "decision":
                self.events[index] = replace(event, result_use="decision")
        return self.consume(values)


def _holds_difference(values: Iterable[Value]) -> bool:
    return any(isinstance(each, Difference) for each in values)


def _arguments_of(call: ast.AST) -> str:
    """The source of a call's arguments."""
    return ", ".join(ast.unparse(each) for each in (*call.args, *call.keywords)) if isinstance(call, ast.Call) else ""
