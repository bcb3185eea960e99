"""Reads the programs of a file: interprets its top, and the functions that no scanned code calls."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial

from regcheck.core.errors import CannotTrace
from regcheck.core.usage import Called, Event, Usage
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.state import Frame
from regcheck.static.interpreter.values import (
    OPEN,
    Cells,
    ClassDefinition,
    Constant,
    Container,
    Entries,
    Function,
    Instance,
    Items,
    Module,
    Origin,
    Setting,
    Unknown,
    UnknownObject,
    Value,
    descendants,
    tick,
)
from regcheck.static.models.mode_switch import overriding
from regcheck.static.project.files import Source
from regcheck.static.project.names import Definition, Project, parameters_of
from regcheck.static.project.outlines import is_factory

from .alternation import mark_alternating_calls
from .control_flow import program_interpreter
from .imports import Imports
from .shared_imports import SharedImports

TRAINING_STEP = "training_step"
OPTIMIZERS = "configure_optimizers"
BEFORE_STEPS = (
    "configure_model",
    "setup",
    OPTIMIZERS,
    "on_fit_start",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
)
"""The methods of a model that Lightning calls to train it, those before the first step in their order."""
AFTER_STEP = ("on_train_batch_end",)
BETWEEN_STEPS = (*AFTER_STEP, "on_train_batch_start")
VALIDATION = (
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "validation_step",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
)
"""The methods that Lightning calls in eval mode and without gradients; afterwards it restores the modes."""
STEP_OF_LIBRARY = "optimizer_closure"
"""The function of Lightning that calls a step and its backward pass."""
BETWEEN_EPOCHS = ("on_train_epoch_end", "on_train_epoch_start", "on_train_batch_start")


@dataclass(frozen=True)
class Program:
    """A program that was interpreted.

    Attributes:
        usage: its events; None where it could not be followed, because of `failure`.
        models: by their keys, the models that it constructs, which are not parts of another one, and those of other
            programs that it calls.
        entered: the functions that it enters, by the ids of their nodes.
        scored: the identities of the models whose results go into a loss, a score or a choice.
        features: the identities of the models whose results another model reads, or a loss of torch compares.
    """

    usage: Usage | None
    failure: Exception | None
    models: dict[str, Module]
    entered: frozenset[int]
    scored: frozenset[object]
    features: frozenset[object]


class ProgramReader:
    """Interprets the programs of a file: its top first, then functions, each in the state that the top leaves.

    What one function leaves behind, another one does not meet.
    """

    def __init__(self, project: Project, source: Source, shared: SharedImports) -> None:
        self.source = source
        self.imports = Imports(project, shared)
        self.domain = self.imports.domain
        self.interpreter = program_interpreter(project, self.domain)
        self.interpreter.state.globals = self.imports.globals

    def top(self) -> Program:
        """The events of running the file."""
        state = self.interpreter.state
        self.imports.begin()
        program = self._program(self.source.path, self._run_top)
        state.created += self.imports.created
        self.domain.unsettle(state.created)  # code that is called later may have changed the modes
        state.trail.clear()
        self._forget_created()
        self.imports.keeps_effects = False
        return program

    def call_of(self, function: Function) -> Program:
        """The events of a function that no scanned code calls; its arguments are unknown, or a factory's defaults."""
        name = str(Place(self.source.path, function.node.lineno))
        return self._undo_after(name, partial(self._run_function, function))

    def training_of(self, definition: Definition) -> Program:
        """The events of a training that a library runs: an epoch of two steps, a validation, and the next epoch's step.

        A hook that cannot be followed ends the training after its first step.
        """
        name = str(Place(self.source.path, definition.node.lineno))
        return self._undo_after(name, partial(self._run_training, definition))

    def _undo_after(self, name: str, run: Callable[[], Usage]) -> Program:
        """Runs a program, and undoes its effects on all but the objects that it created."""
        imported = frozenset(self.imports.globals)
        self.imports.has_cycle = False
        facts = [(part, _containers_in(part)) for part in (self.domain, *self.domain.parts)]
        self.imports.begin()
        since = tick()
        program = self._program(name, run)
        self.interpreter.state.undo(0, since)
        for part, before in facts:
            vars(part).update(before)
        self.imports.add_facts()
        self._forget_created()
        if self.imports.has_cycle:  # what these files leave depends on which of them runs first
            self.imports.forget(imported)
        return program

    def _program(self, name: str, run: Callable[[], Usage]) -> Program:
        state, log = self.interpreter.state, self.domain.log
        state.steps, state.entered = 0, set()
        self.domain.begin(name)
        usage: Usage | None = None
        failure: Exception | None = None
        try:
            usage = run()
        except Exception as error:  # the objects that a program created before it failed count all the same
            failure = error
        built = [each for each in state.created if isinstance(each, (Container, Instance)) and each.is_module]
        models: list[Module] = [each for each in built if id(each) not in log.parts]
        others = log.called() if usage is not None else ()
        models += {id(each): each for each in others if not any(each is one for one in models)}.values()
        return Program(
            usage,
            failure,
            {log.key_of(each): each for each in models},
            frozenset(state.entered),
            frozenset(log.scored),
            frozenset(log.features),
        )

    def _run_top(self) -> Usage:
        state, start = self.interpreter.state, len(self.domain.log.events)
        cells = Cells(__name__=Constant("__main__"))
        with self.imports.running(self.source, cells), state.within(Frame(None, self.source, cells)):
            self.interpreter.statements.run(self.source.tree.body)
        return self._usage(self.source.path, start)

    def _run_function(self, function: Function) -> Usage:
        start = len(self.domain.log.events)
        state, calls = self.interpreter.state, self.interpreter.calls
        with state.within(Frame(None, function.source, state.globals[function.source.path])):
            if function.owner is not None:
                instance = Instance(None, definition=function.owner)
                calls.initialize(instance, (), constructor_arguments(function.owner), function.owner.node)
                function.instance = instance
                self.domain.unsettle(state.created)
            node = ast.Name(function.name, ast.Load(), lineno=1, col_offset=0)
            unknown = () if is_factory(function) else unknown_parameters(function)
            kwargs: dict[str, Value] = {name: UnknownObject() for name in unknown}
            if function.node.args.kwarg is not None:
                kwargs[OPEN] = Unknown()
            self.domain.log.consume([calls.call_function(function, (), kwargs, node)])
        return self._usage(f"{function.source.path}::{function.name}", start)

    def _run_training(self, definition: Definition) -> Usage:
        start = len(self.domain.log.events)
        state = self.interpreter.state
        with state.within(Frame(None, definition.source, state.globals[definition.source.path])):
            task = Instance(state.place(definition.node), definition=definition)
            state.created.append(task)
            self.interpreter.calls.initialize(task, (), {}, definition.node)
            if any(overriding(task)):  # releases of Lightning before 2.2 call `train()` first
                self.domain.library_sets_training(task, Constant(True))
            self._call_methods(task, BEFORE_STEPS)
            try:
                self._train(task)
            except CannotTrace:
                optimizers = definition.method(OPTIMIZERS)
                state.entered.discard(id(optimizers.node if optimizers else None))  # it is read on its own
                raise
            entered, end = set(state.entered), len(self.domain.log.events)
            try:
                self._call_methods(task, BETWEEN_STEPS)
                self._train(task)
                self._call_methods(task, AFTER_STEP)
                with self._validating(task):
                    self._call_methods(task, VALIDATION)
                self._call_methods(task, BETWEEN_EPOCHS)
                self._train(task)
            except CannotTrace:
                state.entered.intersection_update(entered)  # the hooks are read on their own
                self.domain.log.cut(end)
                self.domain.freezing.cut(end)
        usage = self._usage(f"{definition.source.path}::{definition.name}", start)
        return replace(usage, events=tuple([each for each in usage.events if not _may_be_a_sample(each)]))

    def _train(self, task: Instance) -> None:
        """A training step of a library, and its backward pass, in a function of that library."""
        state = self.interpreter.state
        with state.within(replace(state.frame, name=STEP_OF_LIBRARY)):
            loss = _loss_in(self._call_method(task, TRAINING_STEP))
            self.domain.method(loss, "backward", (), {}, ast.Name(TRAINING_STEP, ast.Load(), lineno=1, col_offset=0))
            self.domain.log.steps = True

    @contextlib.contextmanager
    def _validating(self, task: Instance) -> Iterator[None]:
        """Eval mode without gradients; afterwards each module has the mode that it had before."""
        state, log = self.interpreter.state, self.domain.log
        modules = [each for _, each in descendants(task)]
        modes = [self.domain.training(each) for each in modules]
        self.domain.library_sets_training(task, Constant(False))
        gradients = log.has_gradients
        log.set_gradients(False)
        yield
        log.set_gradients(gradients)
        for each, mode in zip(modules, modes, strict=True):
            state.set(each.cells, "training", mode)

    def _call_methods(self, task: Instance, names: Sequence[str]) -> None:
        for each in names:
            self._call_method(task, each)

    def _call_method(self, task: Instance, name: str) -> Value:
        """Calls a method of an object with unknown arguments, if it has the method."""
        method = task.definition.method(name)
        if method is None:
            return Unknown()
        method.instance = task
        unknown: dict[str, Value] = {each: Unknown() for each in unknown_parameters(method)}
        node = ast.Name(name, ast.Load(), lineno=method.node.lineno, col_offset=0)
        result = self.interpreter.calls.call_function(method, (), unknown, node)
        if name == OPTIMIZERS:
            self.domain.optimizers.configure(task, result)
        return result

    def _forget_created(self) -> None:
        self.interpreter.state.created.clear()
        self.domain.log.forget_parts()

    def _usage(self, subject: str, start: int) -> Usage:
        """Ends a program whose events begin at this index."""
        self.domain.freezing.end()
        self.domain.optimizers.end()
        self.domain.constraints.end()
        self.domain.log.end()
        return Usage(subject, mark_alternating_calls(self.domain.log.events[start:]))


def _containers_in(part: Part) -> dict[str, object]:
    """The attributes of a part, containers copied; the trail undoes what is written to cells."""
    return {
        name: copy(value) if type(value) in (list, dict, set) else value
        for name, value in vars(part).items()
        if name not in Part.__annotations__
    }


def constructor_arguments(definition: ClassDefinition) -> dict[str, Value]:
    """The arguments of a constructor that nobody calls: unknown ones, and settings where a constant is the default.

    Numbers with a fraction keep their defaults, as those of other functions do.
    """
    method = definition.method("__init__")
    if method is not None:
        parameters = [(each.arg, default) for each, default in parameters_of(method.node.args)[1:]]
    else:
        parameters = [*definition.fields]
    arguments: dict[str, Value] = {name: UnknownObject() for name, default in parameters if default is None}
    for name, default in parameters:
        if isinstance(default, ast.Constant) and isinstance(default.value, (bool, int, str)):
            origin = Origin(name, Place(definition.source.path, default.lineno))
            arguments[name] = Setting(default=Constant(default.value), origin=origin)
    return arguments


def _loss_in(result: Value) -> Value:
    """The loss in the result of a training step: the result itself, its entry `loss`, or its first item."""
    if isinstance(result, Entries):
        loss: Value = result.cells.get("loss", Unknown())
        return loss
    return result.items[0] if isinstance(result, Items) and result.items else result


def _may_be_a_sample(event: Event) -> bool:
    """Whether a hook calls a model in train mode and decides nothing by the result, as a GAN draws its pictures."""
    if not isinstance(event, Called) or STEP_OF_LIBRARY in event.callers:
        return False
    return event.training is True and not event.grad and event.result_use != "decision"


def unknown_parameters(function: Function) -> list[str]:
    """The parameters whose defaults say little about what a caller passes: all but those with a float."""
    bound = 1 if function.instance is not None else 0
    return [
        each.arg
        for each, default in parameters_of(function.node.args)[bound:]
        if not (isinstance(default, ast.Constant) and isinstance(default.value, float))
    ]
