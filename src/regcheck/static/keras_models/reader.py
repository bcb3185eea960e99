"""Reads the Keras models of a project: one graph a model, and the layers that no model shows."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Protocol

from regcheck.core.finding import NotChecked
from regcheck.core.graph import Flow, Graph, Mode, Op, Site, Wholeness
from regcheck.core.usage import Usage
from regcheck.files.place import Place
from regcheck.static.interpreter.interpreter import Interpreter
from regcheck.static.interpreter.state import Frame
from regcheck.static.interpreter.values import (
    FIXED,
    OPEN,
    Cells,
    Constant,
    Container,
    Function,
    Instance,
    Module,
    Unknown,
    UnknownObject,
    Value,
    descendants,
)
from regcheck.static.models.outputs import named_outputs
from regcheck.static.programs.reader import constructor_arguments, unknown_parameters
from regcheck.static.project.files import Source, file_scope
from regcheck.static.project.names import Definition, Project
from regcheck.static.reading import KerasReading
from regcheck.torch_api.keras_names import LAYERS, layer_calls

from .domain import FunctionalModel, KerasDomain, TapeEntry, derives_from_keras
from .regularizers import stepped

_BUILDING = re.compile(rb"\b(?:Sequential|Model|Functional|compile)\b")
"""What a function says that builds or trains a model."""

MOST_NAMED = 3
AUDIT = "audit the model, with Keras 3 on torch: `KERAS_BACKEND=torch regcheck audit FILE.py:FUNCTION`"


class Attempt(Protocol):
    """Runs a piece of work; yields nothing, and lists the piece as not checked, where it fails."""

    def __call__(self, subject: str, path: str, line: int, work: Callable[[], None]) -> Iterator[None]: ...


def read_keras(project: Project, sources: Sequence[Source], attempt: Attempt) -> KerasReading:
    """Interprets files that build Keras models: their tops, the functions that nothing calls, and their classes."""
    reader = KerasReader(project)
    for source in sources:
        for _ in attempt(source.module, source.path, 1, partial(reader.run_top, source)):
            pass
    for source in sources:
        for function in reader.uncalled(source):
            for _ in attempt(function.name, source.path, function.node.lineno, partial(reader.run_function, function)):
                pass
        for definition in classes_of(project, source):
            where = definition.name, source.path, definition.node.lineno
            for _ in attempt(*where, partial(reader.run_class, definition)):
                pass
    missed = (not_followed(project, source, reader.followed) for source in sources)
    return KerasReading(reader.graphs(), tuple(reader.usages), tuple(filter(None, missed)))


def classes_of(project: Project, source: Source) -> Iterator[Definition]:
    """The classes at the top of a file that derive from a layer or model of Keras."""
    for each in file_scope(source.tree.body):
        if isinstance(each, ast.ClassDef):
            definition = project.definition(each, source, each.name)
            if derives_from_keras(definition):
                yield definition


class KerasReader:
    """Interprets programs one after the other, and lowers the models that they build.

    `followed` are the places of the layers that are in a model.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.domain = KerasDomain()
        self.interpreter = Interpreter(project, self.domain)
        self.followed: set[Place] = set()
        self.usages: list[Usage] = []
        self._graphs: list[tuple[object, Graph]] = []
        self._models: list[Module] = []
        """All models, whose ids are in use as long as they live."""
        for source in project.sources:
            self.interpreter.state.globals[source.path] = Cells(__name__=Constant("__main__"))

    def graphs(self) -> tuple[Graph, ...]:
        """All graphs in which a rule can start, marked as those of whole models or of parts."""
        domain = self.domain

        def wholeness(key: object) -> Wholeness:
            if key in domain.scored:
                return Wholeness.SCORED
            return Wholeness.UNKNOWN if key in domain.parts else Wholeness.ALONE

        return tuple([replace(graph, wholeness=wholeness(key)) for key, graph in self._graphs])

    def run_top(self, source: Source) -> None:
        """Runs a file, and lowers the models that it builds."""
        self._begin()
        with self._at_top(source):
            self.interpreter.statements.run(source.tree.body)
            self._lower_models()

    def uncalled(self, source: Source) -> Iterator[Function]:
        """The functions and methods of a file that build models and that no code has called so far."""
        functions: list[tuple[ast.stmt, Function]] = []
        for each in file_scope(source.tree.body):
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions.append((each, self.project.function(each, source)))
            elif isinstance(each, ast.ClassDef):
                owner = self.project.definition(each, source, each.name)
                for name, node in owner.methods.items():
                    if name not in ("__init__", "call", "build"):
                        functions.append((node, Function(node, source, f"{owner.name}.{name}", None, owner)))
        for statement, function in functions:
            if id(statement) not in self.interpreter.state.entered and _BUILDING.search(source.text_of(statement)):
                yield function

    def run_function(self, function: Function) -> None:
        """Calls a function that no code calls with unknown arguments, and lowers the models that it builds."""
        self._begin()
        with self._at_top(function.source):
            if isinstance(function.owner, Definition):
                function.instance = self._instance(function.owner)
            kwargs: dict[str, Value] = {name: UnknownObject() for name in unknown_parameters(function)}
            if function.node.args.kwarg is not None:
                kwargs[OPEN] = Unknown()
            node = ast.Name(function.name, ast.Load(), lineno=1, col_offset=0)
            self.interpreter.calls.call_function(function, (), kwargs, node)
            self._lower_models()
        self.interpreter.state.trail.clear()

    def run_class(self, definition: Definition) -> None:
        """Lowers a subclass: what its constructor builds, and its `call`, once in each mode."""
        self._begin()
        with self._at_top(definition.source):
            instance = self._instance(definition)
            if definition.method("call") is not None:
                build = definition.method("build")
                if build is not None:
                    build.instance = instance
                    self.interpreter.calls.call_function(build, (FIXED,), {}, definition.node)
                self._keep(id(definition), definition.name, *(self._call_flow(instance, mode) for mode in Mode))
            self._lower_models()
        self.interpreter.state.trail.clear()

    def _begin(self) -> None:
        self.interpreter.state.steps = 0

    def _at_top(self, source: Source) -> AbstractContextManager[None]:
        """The frame of a file's top."""
        state = self.interpreter.state
        return state.within(Frame(None, source, state.globals[source.path]))

    def _instance(self, definition: Definition) -> Instance:
        instance = Instance(None, definition=definition)
        arguments = constructor_arguments(definition)
        self.interpreter.calls.initialize(instance, (), arguments, definition.node)
        return instance

    def _call_flow(self, model: Instance, mode: Mode) -> Flow:
        """The flow of a subclass in one mode."""
        call = model.definition.method("call")
        assert call is not None
        start = len(self.domain.tape)
        args: list[Value] = []
        spec = call.node.args
        for each in (*spec.posonlyargs, *spec.args)[1:]:
            if each.arg == "training":
                break
            args.append(self.domain.new_input(each.arg))
        node = ast.Name("call", ast.Load(), lineno=call.node.lineno, col_offset=0)
        with self.domain.running(model, mode):
            result = self.domain.run_call(model, tuple(args), {}, node)
        return self._flow([*self.domain.tape.values()][start:], result, mode)

    def _lower_models(self) -> None:
        """Lowers the models that the program in the current frame has built, and notes what trains them."""
        state, domain = self.interpreter.state, self.domain
        models = [*state.created]
        self._models += models
        layers: dict[int, list[Module]] = {}
        for model in models:
            if isinstance(model, Container) and model.entries:
                start = len(domain.tape)
                with domain.running(model, None):
                    node = ast.Name("model", ast.Load(), lineno=1, col_offset=0)
                    result = domain.run_sequential(model, domain.new_input("input"), node)
                entries = [*domain.tape.values()][start:]
            elif isinstance(model, FunctionalModel):
                entries, result = self._behind(model.outputs), model.outputs
            else:
                continue
            self._keep(id(model), model.name, *(self._flow(entries, result, mode) for mode in Mode))
            layers[id(model)] = [layer for entry in entries for layer in entry.layers]
        steps = [
            stepped(each, layers.get(id(each.model)) or [layer for _, layer in descendants(each.model)])
            for each in domain.compilations
        ]
        events = tuple(filter(None, steps))
        if events:
            self.usages.append(Usage(state.frame.source.path, events))
        domain.compilations.clear()
        state.created.clear()

    def _behind(self, outputs: Value) -> list[TapeEntry]:
        """The ops that outputs are computed from, in order, and the dropouts among them whose results are discarded."""
        tape = self.domain.tape
        todo = [name for _, name in named_outputs(outputs, "")]
        needed: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in needed:
                needed.add(name)
                todo += tape[name].train.inputs
        return [
            each
            for name, each in tape.items()
            if name in needed or (each.train.discarded and needed.issuperset(each.train.inputs))
        ]

    def _flow(self, entries: Sequence[TapeEntry], result: Value, mode: Mode) -> Flow:
        occurrences: defaultdict[Site, Iterator[int]] = defaultdict(count)
        ops: dict[str, Op] = {}
        for entry in entries:
            op = entry.in_mode(mode)
            occurrence = next(occurrences[op.site])
            ops[op.id] = replace(op, site=replace(op.site, occurrence=occurrence)) if occurrence else op
            self.followed.update(each.place for each in entry.layers if each.place)
        outputs = [pair for pair in named_outputs(result, "output") if pair[1] in ops]
        return Flow(mode, ops, tuple(outputs))

    def _keep(self, key: object, name: str, train: Flow, evaluation: Flow) -> None:
        starts = self.project.starts
        if train.outputs and any(starts.has(op) for flow in (train, evaluation) for op in flow):
            self._graphs.append((key, Graph(name, train, evaluation, Wholeness.UNKNOWN, assumed=True)))


def not_followed(project: Project, source: Source, followed: Collection[Place]) -> NotChecked | None:
    """The layers that a file constructs at other places than these; None where there are none."""
    missed: dict[str, int] = {}
    count = 0
    for call, name in layer_calls(source.tree, partial(project.resolve, source)):
        if Place(source.path, call.lineno, call.col_offset + 1) not in followed:
            missed.setdefault(name.removeprefix(f"{LAYERS}."), call.lineno)
            count += 1
    if not count:
        return None
    named = ", ".join(f"`{name}` (line {line})" for name, line in [*missed.items()][:MOST_NAMED])
    more = f" and {len(missed) - MOST_NAMED} other kinds" if len(missed) > MOST_NAMED else ""
    layers = f"{count} Keras layer{'s' * (count > 1)}"
    reason = f"{layers} in no model that the source shows: {named}{more}"
    return NotChecked(source.path, reason, AUDIT, source.path, min(missed.values()))
