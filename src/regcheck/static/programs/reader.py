"""Reads programs: interprets the tops of files, and the functions that no scanned code calls."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from regcheck.core.errors import CannotTrace
from regcheck.core.usage import Called, Event, Usage
from regcheck.files.place import Place
from regcheck.static.interpreter.interpreter import Interpreter
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
)
from regcheck.static.models.unregistered import unregistered_modules
from regcheck.static.project.entry_points import is_factory, program_functions
from regcheck.static.project.files import Source
from regcheck.static.project.names import Definition, Project, parameters_of

from .alternation import mark_alternating_calls
from .control_flow import ProgramCalls, ProgramEvaluator, ProgramStatements
from .domain import ProgramDomain

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


class ProgramReader:
    """Interprets the programs of a project one after the other; `models` are those that they construct."""

    def __init__(self, project: Project) -> None:
        self.domain = ProgramDomain()
        self.interpreter = Interpreter(
            project,
            self.domain,
            evaluator=ProgramEvaluator(self.domain),
            calls=ProgramCalls(self.domain),
            statements=ProgramStatements(self.domain),
        )
        self.models: list[Module] = []
        self._entered: dict[str, set[int]] = {}
        for source in project.sources:
            self.interpreter.state.globals[source.path] = Cells(__name__=Constant("__main__"))

    @property
    def entered(self) -> set[int]:
        """The functions that were entered, by the ids of their nodes."""
        return set[int]().union(*self._entered.values())

    def _is_called(self, function: Function) -> bool:
        """Whether code has called a function: where it belongs to a library, code of that library.

        Tests and examples use a library in their way, and others use it in theirs.
        """
        library = function.source.library
        called = (each for user, each in self._entered.items() if not library or user == library)
        return any(id(function.node) in each for each in called)

    @property
    def scored(self) -> set[object]:
        """The identities of the models whose results go into a loss, a score or a choice."""
        return self.domain.log.scored

    @property
    def features(self) -> set[object]:
        """The identities of the models whose results another model reads, or a loss of torch compares."""
        return self.domain.log.features

    def top_of(self, source: Source) -> Usage:
        """The events of running a file."""
        start = self._begin(source)
        globals_of_file = self.interpreter.state.globals[source.path]
        with self.interpreter.state.within(Frame(None, source, globals_of_file)):
            self.interpreter.statements.run(source.tree.body)
        return self._usage(source.path, start)

    def uncalled(self) -> Iterator[Function]:
        """The functions that may have findings and that no code called so far; afterwards no model has a mode."""
        self._leave_tops()
        for function in program_functions(self.interpreter.state.project):
            if not self._is_called(function):
                yield function
                self._collect_models()
        hidden = frozenset[int]().union(*map(unregistered_modules, self.models))
        for model in self.models:
            for _, each in descendants(model):
                if id(each) not in hidden:  # a hidden module keeps its mode: no call on its model sets it
                    each.cells.pop("training", None)

    def call_of(self, function: Function) -> Usage:
        """The events of a function that no scanned code calls; its arguments are unknown, or a factory's defaults."""
        start = self._begin(function.source)
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
        state.trail.clear()
        return self._usage(f"{function.source.path}::{function.name}", start)

    def trainings(self) -> Iterator[Definition]:
        """The classes whose training a library runs, step by step."""
        self._leave_tops()
        called = frozenset(self.entered)
        for definition in self.interpreter.state.project.definitions:
            if definition.source.analyzed and definition.is_module:
                step = definition.method(TRAINING_STEP)
                if step is not None and id(step.node) not in called:
                    yield definition

    def training_of(self, definition: Definition) -> Usage:
        """The events of a training that a library runs: an epoch of two steps, a validation, and the next epoch's step.

        A hook that cannot be followed ends the training after its first step.
        """
        start = self._begin(definition.source)
        state = self.interpreter.state
        with state.within(Frame(None, definition.source, state.globals[definition.source.path])):
            task = Instance(state.place(definition.node), definition=definition)
            state.created.append(task)
            self.interpreter.calls.initialize(task, (), {}, definition.node)
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
        self._collect_models()
        state.trail.clear()
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

    def _leave_tops(self) -> None:
        """The files have run: code that is called later may have changed the modes of their models."""
        self.domain.unsettle(self.interpreter.state.created)
        self._collect_models()

    def _begin(self, source: Source) -> int:
        """Starts a program of a file; the index of its first event."""
        self.interpreter.state.steps = 0
        self.interpreter.state.entered = self._entered.setdefault(source.library, set())
        self.domain.unknown_models.begin()
        self.domain.log.begin()
        self.domain.freezing.begin()
        self.domain.optimizers.begin()
        self.domain.constraints.begin()
        return len(self.domain.log.events)

    def _usage(self, subject: str, start: int) -> Usage:
        """Ends a program whose events begin at this index."""
        self.domain.freezing.end()
        self.domain.optimizers.end()
        self.domain.constraints.end()
        self.domain.log.end()
        return Usage(subject, mark_alternating_calls(self.domain.log.events[start:]))

    def _collect_models(self) -> None:
        """Keeps the models that were created and are not part of another one, and forgets the other modules."""
        log, state = self.domain.log, self.interpreter.state
        models = [each for each in state.created if isinstance(each, (Container, Instance)) and each.is_module]
        self.models += [each for each in models if id(each) not in log.parts]
        state.created.clear()
        log.forget_parts()


def constructor_arguments(definition: ClassDefinition) -> dict[str, Value]:
    """The arguments of a constructor that nobody calls: unknown ones, and settings where a constant is the default.

    Numbers with a fraction keep their defaults, as those of other functions do.
    """
    method = definition.method("__init__")
    if method is not None:
        given = [(each.arg, default) for each, default in parameters_of(method.node.args)[1:]]
    else:
        given = [*definition.fields]
    arguments: dict[str, Value] = {name: UnknownObject() for name, default in given if default is None}
    for name, default in given:
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
