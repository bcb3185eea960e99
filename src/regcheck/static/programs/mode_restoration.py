"""Functions that change a model's mode: which of their paths return with the model in another mode than on entry."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import field, replace
from functools import partial

from regcheck.core.usage import Backward, Called, ModeNotRestored, ModeSet, Stepped
from regcheck.core.usage import Model as Subject
from regcheck.files.place import Place
from regcheck.files.syntax import walk
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.state import State
from regcheck.static.interpreter.values import (
    NONE,
    Cells,
    Constant,
    Function,
    Module,
    TensorRef,
    Value,
    descendants,
)
from regcheck.static.models.inspection import depends_on_mode

from .events import EventLog

_MODE = "training"


@dataclass(eq=False)
class _Exit:
    """An end of a function, at `place`, that leaves `module`, a part of the model `key`, in another mode."""

    place: Place
    key: str
    module: Module
    training: bool


@dataclass(eq=False)
class _FunctionCall:
    """A running call of a function.

    Modules are keyed by their ids as text. `before` holds the modes of modules before the function set them, `in_eval`
    the models that the current path put in eval mode, `models` all whose mode the function set, `trained_at` where it
    set train mode, `restored` those that some path leaves in train mode. `guards` counts the blocks around the current
    statement that may set the mode once more after a `return`.
    """

    name: str = ""
    before: Cells = field(default_factory=Cells)
    in_eval: Cells = field(default_factory=Cells)
    models: dict[str, Module] = field(default_factory=dict)
    trained_at: dict[str, Place] = field(default_factory=dict)
    exits: list[_Exit] = field(default_factory=list)
    restored: set[str] = field(default_factory=set)
    guards: int = 0


@dataclass(eq=False)
class _GeneratorModes:
    """What a generator, called as a context manager, sets: the modes and the switch of gradients at its `yield`.

    These hold within the block. The interpreter runs the whole generator at its call. `start` is where the trail began
    there, and `gradients` is the switch.
    """

    state: State
    start: int
    gradients: Cells
    at_yield: list[tuple[Cells, Value]] = field(default_factory=list)
    enabled_at_yield: Value | None = None

    def note_yield(self) -> None:
        written = [cells for cells, key, _ in self.state.trail[self.start :] if key == _MODE]
        self.at_yield = [(cells, cells[_MODE]) for cells in written if _MODE in cells]
        self.enabled_at_yield = self.gradients["enabled"]

    def enter(self) -> Callable[[], None]:
        """Sets the modes and the switch within the block; the result sets the modes after it."""
        if self.enabled_at_yield is not None:
            self.state.set(self.gradients, "enabled", self.enabled_at_yield)
        after = [(cells, cells[_MODE]) for cells, _ in self.at_yield if _MODE in cells]
        self._set(self.at_yield)
        return partial(self._set, after)

    def _set(self, modes: Iterable[tuple[Cells, Value]]) -> None:
        for cells, mode in modes:
            self.state.set(cells, _MODE, mode)


class ModeRestoration(Part):
    """Compares, at each end of a function, the modes of models with their modes on entry.

    A module has a debt while its mode is not restored: `_debts` holds the index of the event that says so, by the
    module's id. The event is completed when a loss is propagated back to a call that the model owed its mode to.
    """

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._calls: list[_FunctionCall] = []
        self._debts = Cells()
        self._lapses = Cells()
        """Where `eval()` was called for the latest prediction, on some path; by the ids of models."""
        self._generators: list[_GeneratorModes] = []
        self._awaited: dict[int, set[int]] = {}
        """By the index of a model call, the events that a backward pass through the call completes."""

    def begin_call(self, function: Function) -> int:
        """A call of a function begins; the index of its first event."""
        self._calls.append(_FunctionCall(function.name))
        return len(self.log.events)

    def end_call(self, function: Function, node: ast.AST, start: int, returns: bool) -> None:
        """The latest call, of a function at a node, ends; `returns` says that it was followed to its end."""
        call = self._calls.pop()
        if not (returns and call.exits) or is_generator(function):
            return
        if not any(isinstance(each, (Backward, Stepped)) for each in self.log.events[start:]):
            self._report(call, node, start)

    def _report(self, call: _FunctionCall, node: ast.AST, start: int) -> None:
        """Adds an event for each exit of a function, called at a node, that leaves another mode.

        A function that restores the mode on no path counts if the model was to train, and was used in eval mode.
        """
        events, frame = self.log.events, self.state.frame
        for each in call.exits:
            key, module = each.key, str(id(each.module))
            if key not in call.restored:
                used = self.log.key_of(call.models[key])
                if self._is_to_train(used, start) and self._is_used_in_eval(used, start):
                    self.state.set(self._debts, module, Constant(len(events)))
                    event = ModeNotRestored(
                        each.place,
                        frame.name,
                        model=self.log.subject(each.module),
                        training=False,
                        mode_setter=call.name,
                        restores=False,
                    )
                    events.append(event)
                continue
            model = self.log.subject(call.models[key])
            part = next(path for path, other in descendants(call.models[key]) if other is each.module)
            if self._is_trained(model) if part else not self._may_end_caller(node):
                self.state.set(self._debts, module, Constant(len(events)))
            event = ModeNotRestored(
                each.place, frame.name, model=model, training=each.training, mode_setter=call.name, part=part
            )
            events.append(event)

    def _is_to_train(self, key: str, start: int) -> bool:
        """Whether a model was put in train mode, or called in it with gradients, before event `start`."""
        events = [each for each in self.log.events[:start] if isinstance(each, (Called, ModeSet))]
        return any(
            each.model.key == key and each.training is True and (isinstance(each, ModeSet) or each.grad)
            for each in events
        )

    def _is_used_in_eval(self, key: str, start: int) -> bool:
        """Whether a model was called in eval mode since event `start`."""
        calls = [each for each in self.log.events[start:] if isinstance(each, Called)]
        return any(each.model.key == key and each.training is False for each in calls)

    def _is_trained(self, model: Subject) -> bool:
        """Whether the model was called with gradients: then the modes of its parts are meant for training."""
        calls = [each for each in self.log.events if isinstance(each, Called)]
        return any(each.model.key == model.key and each.grad for each in calls)

    def _may_end_caller(self, call: ast.AST) -> bool:
        """Whether the caller may end because of a call's result: then it expects an early return."""
        frame = self.state.frame
        nodes = [*walk(frame.function.node if frame.function else frame.source.tree)]
        targets: list[ast.expr] = []
        for each in nodes:
            if isinstance(each, (ast.Assign, ast.NamedExpr)) and any(inner is call for inner in walk(each.value)):
                targets += each.targets if isinstance(each, ast.Assign) else [each.target]
        names = {each.id for target in targets for each in walk(target) if isinstance(each, ast.Name)}
        return any(
            any(each is call or (isinstance(each, ast.Name) and each.id in names) for each in walk(node.test))
            and any(isinstance(each, (ast.Break, ast.Return, ast.Raise)) for each in walk(node))
            for node in nodes
            if isinstance(node, (ast.If, ast.While))
        )

    def settle(self, module: Module) -> None:
        """The mode of a module is restored, or may be."""
        if self._debts or self._lapses:
            for cells in (self._debts, self._lapses):
                if str(id(module)) in cells:
                    self.state.set(cells, str(id(module)), NONE)

    def note_call(self, module: Module, call: int) -> None:
        """The event `call` calls a model: a prediction in eval mode, or training in a mode that may be left from one.

        Where the mode is set on some path only, its cell joins the paths; a lapse stays until any path sets the mode.
        """
        event, key = self.log.events[call], str(id(module))
        assert isinstance(event, Called)
        if event.training is False and not event.grad and event.mode_set_at is not None:
            self.state.set(self._lapses, key, Constant(event.mode_set_at))
        elif event.training is None and event.grad:
            lapse = self._lapses.get(key, NONE)
            if isinstance(lapse, Constant) and lapse != NONE:
                self.log.events[call] = replace(event, eval_left_on=lapse.value)

    def before_mode_set(self, models: Iterable[Module], training: Value, node: ast.AST) -> None:
        """The program is about to set the mode of models."""
        call = self._calls[-1] if self._calls else None
        for model in models:
            for _, each in descendants(model):
                if call is not None and str(id(each)) not in call.before:
                    self.state.set(call.before, str(id(each)), self.domain.training(each))
                self.settle(each)
            if call is not None:
                key = str(id(model))
                call.models[key] = model
                if training == Constant(False):
                    self.state.set(call.in_eval, key, Constant(True))
                else:
                    call.trained_at[key] = self.state.place(node)

    def break_loop(self) -> None:
        """The loop ends: its next pass does not meet the modes that the current path leaves behind."""
        for cells in (self._debts, self._lapses):
            for key in [*cells]:
                self.state.set(cells, key, NONE)

    def leave_function(self, node: ast.stmt) -> None:
        """The current function ends after a statement."""
        if not self._calls or self._calls[-1].guards:
            return
        call = self._calls[-1]
        for key, model in call.models.items():
            if call.before.get(key) != Constant(True) or key not in call.in_eval:
                continue
            mode = self.domain.training(model)
            if mode == Constant(False):
                call.exits.append(_Exit(self.state.place(node), key, model, False))
            elif mode == Constant(True):
                call.restored.add(key)
                part = next((each for _, each in descendants(model) if self._is_unfrozen(each, call)), None)
                if part is not None and key in call.trained_at:
                    call.exits.append(_Exit(call.trained_at[key], key, part, True))

    def _is_unfrozen(self, module: Module, call: _FunctionCall) -> bool:
        """Whether a layer was in eval mode on entry and is in train mode now."""
        was_in_eval = call.before.get(str(id(module))) == Constant(False)
        is_in_train = self.domain.training(module) == Constant(True)
        return was_in_eval and is_in_train and bool(depends_on_mode(module))

    @contextmanager
    def generator_around(self) -> Iterator[_GeneratorModes]:
        """Runs the block, which calls a context manager; the modes at the `yield` of a generator are noted."""
        modes = _GeneratorModes(self.state, len(self.state.trail), self.log.gradients)
        self._generators.append(modes)
        try:
            yield modes
        finally:
            self._generators.pop()

    def note_yield(self) -> None:
        """A generator yields: the block that it is the context manager of begins."""
        if self._generators:
            self._generators[-1].note_yield()

    @contextmanager
    def guarded(self, guards: bool) -> Iterator[None]:
        """Runs a block; `guards` says that it may set the mode once more when the function returns."""
        call = self._calls[-1] if self._calls else _FunctionCall()
        call.guards += guards
        try:
            yield
        finally:
            call.guards -= guards

    def debts_of(self, module: Module) -> set[int]:
        """The events of the modes, of a module and its parts, that are not restored."""
        debts = [self._debts.get(str(id(each))) for _, each in descendants(module)] if self._debts else []
        return {each.value for each in debts if isinstance(each, Constant) and each.value is not None}

    def await_backward(self, debts: set[int], result: Value) -> None:
        """A call of a model with debts gave a result: a backward pass through it relies on the mode."""
        if debts and isinstance(result, TensorRef) and self.log.has_gradients:
            self._awaited |= dict.fromkeys(self.log.origins([result]), debts)

    def propagate(self, loss: Value) -> None:
        """A backward pass starts at a loss."""
        for call in self.log.origins([loss]):
            for index in self._awaited.pop(call, ()):
                event = self.log.events[index]
                assert isinstance(event, ModeNotRestored)
                self.log.events[index] = replace(event, next_use=event.next_use or self.log.events[call].place)


def is_generator(function: Function) -> bool:
    """Whether a function may be a context manager, whose end runs later."""
    return any(isinstance(each, (ast.Yield, ast.YieldFrom)) for each in walk(function.node))
