"""From code that uses models to the events that rules read: mode changes, calls, training steps, optimizers."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from regcheck.core.usage import Backward, Called, Event, MethodNotCalled, ModeSet, StepComposed, Stepped, Usage
from regcheck.core.usage import Model as Subject
from regcheck.static.interpreter.state import Frame, Next
from regcheck.static.interpreter.values import (
    OPEN,
    Bound,
    Cells,
    Constant,
    Container,
    Either,
    Entries,
    External,
    Function,
    Instance,
    Items,
    LayerValue,
    Module,
    OptimizerValue,
    TensorRef,
    Unknown,
    Value,
    argument,
    descendants,
    inside,
    modules_in,
    truth,
)
from regcheck.static.models.constructors import Builder
from regcheck.static.models.inspection import has_learned_layers, identity, modes, name_of
from regcheck.static.models.unregistered import unregistered_modules
from regcheck.static.project.entry_points import is_plain, worthwhile
from regcheck.static.project.files import Source
from regcheck.static.project.names import Definition, Project, parameters_of
from regcheck.torch_api.functions import METADATA
from regcheck.torch_api.losses import LOSS_FUNCTIONS, LOSS_LAYERS, LOSSES

from .alternation import mark_alternating_calls
from .optimizers import described

Args = tuple[Value, ...]
Kwargs = Mapping[str, Value]

_GRAD_OFF, _GRAD_ON, _GRAD_OPEN = External("grad off"), External("grad on"), External("grad unknown")
_LOSS_WORDS = ("loss", "criterion", "cross_entropy", "kl_div")
_HARMLESS = frozenset(
    "parameters named_parameters buffers named_buffers state_dict load_state_dict zero_grad get_parameter extra_repr"
    " register_forward_hook register_forward_pre_hook register_full_backward_hook modules named_modules children"
    " named_children get_submodule get_buffer double_ float_".split()
)
_ONLY_MODELS = frozenset(
    ("parameters", "named_parameters", "modules", "named_modules", "children", "named_children", "requires_grad_")
)
_PASSING = frozenset(("print", "len", "isinstance", "type", "id", "repr", "str", "hasattr", "callable", "getattr"))


@dataclass(frozen=True)
class CallResult(TensorRef):
    """The very result of a model call, and no value computed from it."""


class ProgramInterpreter(Builder):
    """Interprets the tops of files and functions, and writes down what they do with models."""

    longest = 4
    copying = False  # what is built is told apart by its events

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.events: list[Event] = []
        self.world = Cells(grad=Constant(True))
        self.globals = {source.path: Cells() for source in project.sources}
        self.callees: dict[int, Module] = {}
        self.around: dict[int, tuple[Frame, ...]] = {}
        self.models: list[Module] = []
        self.whole: set[object] = set()
        self.feeding: set[object] = set()
        self._parts: tuple[int, frozenset[int]] = (-1, frozenset())

    def uncalled(self) -> Iterator[Function]:
        """The functions that may be worth it and that nothing called so far; after them, no model has a mode left."""
        self.unsettle(self.made)
        self._keep_models()
        for function in worthwhile(self.project):
            if id(function.node) not in self.ran:
                yield function
                self._keep_models()
        hidden = frozenset[int]().union(*map(unregistered_modules, self.models))
        for model in self.models:
            for _, each in descendants(model):
                if id(each) not in hidden:  # no call on the model that keeps it says anything of its mode
                    each.cells.pop("training", None)

    def _keep_models(self) -> None:
        """Remember the models that were made and are no part of another one, and forget the rest."""
        models = [each for each in self.made if isinstance(each, (Container, Instance)) and each.is_module]
        self.models += [each for each in models if id(each) not in self.parts]
        self.made, self._parts = [], (-1, frozenset())

    def top_of(self, source: Source) -> Usage:
        """What running a file does."""
        self.steps = 0
        self.around.clear()
        start = len(self.events)
        with self.entered(Frame(None, source, self.globals[source.path])):
            self.run(source.tree.body)
        return Usage(source.path, mark_alternating_calls(self.events[start:]))

    def call_of(self, function: Function) -> Usage:
        """What a function does that no scanned code calls: nothing is known of what it is given."""
        self.steps = 0
        self.around.clear()
        start = len(self.events)
        with self.entered(Frame(None, function.source, self.globals[function.source.path])):
            if function.owner is not None:
                instance = Instance(None, definition=function.owner)
                self.initialize(instance, (), {}, function.owner.node)
                function.instance = instance
                self.unsettle(self.made)
            node = ast.Name(function.name, ast.Load(), lineno=1, col_offset=0)
            kwargs: dict[str, Value] = {name: Unknown() for name in _settings(function)}
            if function.node.args.kwarg is not None:
                kwargs[OPEN] = Unknown()
            self.consume([self.call_function(function, (), kwargs, node)])
        self.log.clear()
        return Usage(f"{function.source.path}::{function.name}", mark_alternating_calls(self.events[start:]))

    def top_level(self, name: str) -> Value:
        found: Value | None = self.globals[self.frame.source.path].get(name)
        return found if found is not None else super().top_level(name)

    def named(self, name: str) -> Value:
        return Constant("__main__") if name == "__name__" else super().named(name)

    def note(self, make: type[Event], node: ast.AST, **details: Any) -> int:
        self.events.append(make(self.place(node), self.frame.name, **details))
        return len(self.events) - 1

    def subject(self, model: Module) -> Subject:
        return Subject(str(id(model)), name_of(model), modes(model)[1], has_learned_layers(model))

    def call_module(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        given = [*args, *kwargs.values()]
        if isinstance(module, LayerValue) and module.name in LOSS_LAYERS:
            self._note_scored(LOSSES[module.name], args, kwargs)
            return self._judged(given)
        self.feeding.update(identity(self.callees[each]) for each in self.origins(given))
        if id(module) in self.parts:
            return self.opaque(given, node)
        self.consume(given)
        index = self.note(
            Called,
            node,
            model=self.subject(module),
            training=modes(module)[0],
            grad=self.world["grad"] != Constant(False),
            result="discarded",
            test_code=self.frame.source.is_test,
            callers=tuple(each.name for each in reversed(self.frames[:-1])),
        )
        self.callees[index], self.around[index] = module, tuple(self.frames)
        return CallResult((str(index),))

    def _note_scored(self, loss: str, args: Args, kwargs: Kwargs) -> None:
        """Write down that a loss of torch takes the very result of a model call as its input."""
        given = argument(args, kwargs, 0, "input")
        if loss and isinstance(given, CallResult):
            index = int(given.ids[0])
            event = self.events[index]
            assert isinstance(event, Called)
            if loss not in event.scored_by:
                self.events[index] = replace(event, scored_by=(*event.scored_by, loss))

    @property
    def parts(self) -> frozenset[int]:
        """The modules that are registered in another one."""
        known = len(self.made)
        if self._parts[0] != known:
            owners = [each for each in self.made if each.is_module]
            self._parts = known, frozenset(id(child) for each in owners for _, child in each.children())
        return self._parts[1]

    def origins(self, values: Sequence[Value]) -> Iterator[int]:
        """The model calls that values come from."""
        for each in inside(*values):
            if isinstance(each, TensorRef):
                yield from map(int, each.ids)

    def consume(self, values: Sequence[Value]) -> tuple[str, ...]:
        """The values are made use of."""
        found = tuple(dict.fromkeys(self.origins(values)))
        for index in found:
            event = self.events[index]
            if isinstance(event, Called) and event.result == "discarded":
                self.events[index] = replace(event, result="used")
        return tuple(map(str, found))

    def _judged(self, values: Sequence[Value]) -> Value:
        """The values go into a loss: the models they come from are whole models."""
        self.whole.update(identity(self.callees[each]) for each in self.origins(values))
        return self._derived(values)

    def _derived(self, values: Sequence[Value]) -> Value:
        found = self.consume(values)
        return TensorRef(found) if found else Unknown(varies=True)

    def unsettle(self, values: Sequence[Value]) -> None:
        """Something unknown got hold of the values: the modes of the models among them cannot be told any more."""
        for value in values:
            inner = value.cells.values() if isinstance(value, (Entries, Instance)) else ()
            for model in (*modules_in(value), *(each for held in inner for each in modules_in(held))):
                for _, each in descendants(model):
                    self.set(each.cells, "training", Unknown(varies=True))

    def opaque(self, values: Sequence[Value], node: ast.AST) -> Value:
        self.unsettle(values)
        if isinstance(node, ast.Call) and _is_loss(node.func):
            return self._judged(values)
        return self._derived(values)

    def arithmetic(self, name: str, values: tuple[Value, ...], node: ast.AST) -> Value:
        return self._derived(values)

    def join_traced(self, values: Sequence[Value]) -> Value:
        return TensorRef(tuple(dict.fromkeys(map(str, self.origins(values)))))

    def attribute(self, owner: Value, name: str) -> Value:
        if isinstance(owner, TensorRef) and name in METADATA:
            return Unknown(varies=True)
        return super().attribute(owner, name)

    def _eval_joinedstr(self, node: ast.JoinedStr) -> Value:
        self.consume([self.evaluate(each.value) for each in node.values if isinstance(each, ast.FormattedValue)])
        return super()._eval_joinedstr(node)

    def assign(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            if "loss" in target.id.lower() and any(True for _ in self.origins([value])):
                self._judged([value])
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            self.consume([value])
        super().assign(target, value)

    def discard(self, node: ast.expr, value: Value) -> None:
        self._note_not_called(node, asserted=False)
        super().discard(node, value)

    def _run_assert(self, node: ast.Assert) -> Next:
        for each in _truths(node.test):
            self._note_not_called(each, asserted=True)
        return Next.GO

    def _note_not_called(self, node: ast.expr, asserted: bool) -> None:
        """Write down that a model's `eval` or `train` is named and not called."""
        if not isinstance(node, ast.Attribute) or node.attr not in ("eval", "train"):
            return
        owner = self.evaluate(node.value)
        models = [*modules_in(owner)]
        text = ast.unparse(node.value)
        if models and isinstance(owner, Module) and _inherits(owner, node.attr):
            model = self.subject(owner)
        elif type(owner) is Unknown and self._is_used_as_model(text):
            model = Subject("", text)
        else:
            return
        self.note(MethodNotCalled, node, model=model, owner=text, method=node.attr, asserted=asserted)

    def _is_used_as_model(self, owner: str) -> bool:
        """Whether the function at hand calls `owner`, or a method of it that only models have, or says what it is."""
        scope = self.frame.function.node if self.frame.function else self.frame.source.tree
        for each in ast.walk(scope):
            if isinstance(each, ast.Call):
                of_models = isinstance(each.func, ast.Attribute) and each.func.attr in _ONLY_MODELS
                callee = each.func.value if of_models and isinstance(each.func, ast.Attribute) else each.func
                if ast.unparse(callee) == owner:
                    return True
            elif isinstance(each, ast.arg) and each.arg == owner and each.annotation is not None:
                named = self.project.resolve(self.frame.source, each.annotation)
                if named == External("torch.nn.Module") or (isinstance(named, Definition) and named.is_module):
                    return True
        return False

    def set_training(self, value: Value, training: Value, node: ast.AST) -> None:
        models = [*modules_in(value)]
        if not models:
            self.unsettle(self.made)
        for model in models:
            for _, each in descendants(model):
                self.set(each.cells, "training", training)
            if isinstance(training, Constant) and id(model) not in self.parts:
                self.note(ModeSet, node, model=self.subject(model), training=bool(training.value))

    def copied(self, value: Value) -> Value:
        if isinstance(value, Instance):
            twin = replace(value, cells=Cells({name: self.copied(each) for name, each in value.cells.items()}))
            self.made.append(twin)
            return twin
        if isinstance(value, Container):
            box = replace(value, cells=Cells(value.cells))
            box.entries = Cells({name: self.copied(each) for name, each in value.entries.items()})
            self.made.append(box)
            return box
        return replace(value, cells=Cells(value.cells)) if isinstance(value, LayerValue) else value

    def call(self, callee: Value, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        if isinstance(callee, Either):
            return self.opaque((*callee.options, *args, *kwargs.values()), node)
        return super().call(callee, args, kwargs, node)

    def call_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        grad = self.world["grad"]
        if not isinstance(function.node, ast.Lambda):
            for each in function.node.decorator_list:
                self._decorate(each, [*args, *kwargs.values()])
        found = super().call_function(function, args, kwargs, node)
        self.set(self.world, "grad", grad)
        return found

    def _decorate(self, node: ast.expr, values: Sequence[Value]) -> None:
        callee = self.evaluate(node.func if isinstance(node, ast.Call) else node)
        name = callee.name if isinstance(callee, External) else ""
        if name in ("torch.no_grad", "torch.inference_mode") or name.endswith(".no_grad"):
            self.set(self.world, "grad", Constant(False))
        elif not is_plain(callee):
            self.unsettle(values)

    def call_external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        package, _, last = name.rpartition(".")
        if package == "builtins" and last in _PASSING and (last != "getattr" or len(args) < 2):
            self.consume(args)
        return super().call_external(name, args, kwargs, node)

    def call_torch(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        package, _, last = name.rpartition(".")
        if name in ("torch.no_grad", "torch.autograd.no_grad", "torch.autograd.grad_mode.no_grad"):
            return _GRAD_OFF
        if name == "torch.enable_grad":
            return _GRAD_ON
        if name in ("torch.inference_mode", "torch.set_grad_enabled"):
            asked = truth(argument(args, kwargs, 0, "mode", True))
            on = asked if last == "set_grad_enabled" or asked is None else not asked
            found = _GRAD_OPEN if on is None else _GRAD_ON if on else _GRAD_OFF
            if last == "set_grad_enabled":
                self._set_grad(found)
            return found
        if package == "torch.optim" and last[:1].isupper():
            optimizer = described(last, str(self.place(node)), args, kwargs, node)
            self.note(Stepped, node, optimizer=optimizer)
            return OptimizerValue(optimizer)
        if name == "torch.autograd.grad":
            self.note(Backward, node)
        if package == "torch.nn.functional" and last in LOSS_FUNCTIONS:
            self._note_scored(last, args, kwargs)
            return self._judged([*args, *kwargs.values()])
        if last == "argmax":
            return self._judged(args)
        return self._derived([*args, *kwargs.values()])

    def _set_grad(self, value: Value) -> None:
        known = {_GRAD_OFF: Constant(False), _GRAD_ON: Constant(True)}
        self.set(self.world, "grad", known.get(value, Unknown()) if isinstance(value, External) else Unknown())

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        given = [*args, *kwargs.values()]
        if isinstance(owner, (Unknown, TensorRef, OptimizerValue, Bound, External)):
            if name == "backward":
                self.note(Backward, node)
                self._note_parts([owner, *given], node)
                return self._judged([owner, *given])
            if name == "step":
                if isinstance(owner, OptimizerValue):
                    self.note(Stepped, node, optimizer=owner.described)
                else:
                    self.note(Backward, node)
                return Unknown()
            if name in ("train", "eval") and not isinstance(owner, (TensorRef, External)):
                self.unsettle(self.made)
                return owner
        if isinstance(owner, TensorRef):
            if name in METADATA:
                return Unknown(varies=True)
            return self._judged([owner, *given]) if name == "argmax" else self._derived([owner, *given])
        if isinstance(owner, (Items, Entries)):
            self.consume(given)
        return super().method(owner, name, args, kwargs, node)

    def _note_parts(self, losses: Sequence[Value], node: ast.expr) -> None:
        """Write down in which functions a backward pass and the calls whose results are in the loss come together."""
        for index in self.origins(losses):
            shared = [mine for mine, its in zip(self.frames, self.around.get(index, ()), strict=False) if mine is its]
            if shared and shared[-1] is not self.frame:
                self.events.append(StepComposed(self.place(node), shared[-1].name))

    def module_method(self, module: Module, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        if name == "apply" and args:
            self.call(args[0], (Unknown(),), {}, node)
            return module
        if name in _HARMLESS and not isinstance(module, Container):
            return Unknown(varies=True)
        if name in _HARMLESS and name not in ("children", "named_children"):
            return Unknown(varies=True)
        return super().module_method(module, name, args, kwargs, node)

    def repeat(self, once: Callable[[], Next]) -> Next:
        """Twice, so that what the end of a pass leaves behind meets its beginning."""
        end = once()
        return once() if end in (Next.GO, Next.CONTINUE) else end if end is not Next.BREAK else Next.GO

    def _run_with(self, node: ast.With | ast.AsyncWith) -> Next:
        grad = self.world["grad"]
        for each in node.items:
            value = self.evaluate(each.context_expr)
            if value in (_GRAD_OFF, _GRAD_ON, _GRAD_OPEN):
                self._set_grad(value)
            if each.optional_vars is not None:
                self.assign(each.optional_vars, value)
        end = self.run(node.body)
        self.set(self.world, "grad", grad)
        return end

    _run_asyncwith = _run_with


def _settings(function: Function) -> list[str]:
    """The parameters of a function that no one calls whose defaults say little: all but those with a number."""
    bound = 1 if function.instance is not None else 0
    return [
        each.arg
        for each, default in parameters_of(function.node.args)[bound:]
        if not (isinstance(default, ast.Constant) and isinstance(default.value, float))
    ]


def _truths(node: ast.expr) -> Iterator[ast.expr]:
    """The expressions whose truth decides that of another one."""
    parts = node.values if isinstance(node, ast.BoolOp) else [node.operand] if isinstance(node, ast.UnaryOp) else []
    yield node
    for each in parts:
        yield from _truths(each)


def _inherits(module: Module, name: str) -> bool:
    """Whether a module's attribute is a method, rather than a property or a value that somebody put there."""
    if not isinstance(module, Instance):
        return True
    method = module.definition.method(name)
    decorated = method is not None and not isinstance(method.node, ast.Lambda) and bool(method.node.decorator_list)
    return not decorated and name not in module.cells and module.definition.constant(name) is None


def _is_loss(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return any(each in name.lower() for each in _LOSS_WORDS)
