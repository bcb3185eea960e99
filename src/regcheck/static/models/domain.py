"""What the calls of torch mean in a forward: each becomes an op."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from regcheck.core.graph import Kind, Reach
from regcheck.files.discarded_results import FunctionBody
from regcheck.files.place import Place
from regcheck.static.interpreter.domain import Args, Domain, Kwargs
from regcheck.static.interpreter.mode_values import ByMode, in_mode
from regcheck.static.interpreter.values import (
    FIXED,
    NONE,
    SIZES,
    VARYING,
    Constant,
    Container,
    Either,
    Instance,
    Items,
    LayerValue,
    Maybe,
    Module,
    Several,
    TensorRef,
    UnknownObject,
    Value,
    Weight,
    argument,
    by_default,
    descendants,
    leaves,
    modules_in,
    options_of,
    truth,
    unknown_from,
)
from regcheck.static.torch_calls import (
    Rate,
    dropout_fields,
    kind_of_call,
    kind_of_layer,
    layer_acts,
    may_learn,
    stacking,
    tracks,
)
from regcheck.torch_api.arguments import Argument
from regcheck.torch_api.functions import (
    BATCH_NORM_TRAINING,
    BRANCH,
    COIN_TOSSES,
    CONVERSIONS,
    DROPPING,
    EAGER_ONLY,
    FACTORIES,
    FOREIGN,
    IN_PLACE,
    METADATA,
    NOT_OPERANDS,
    SOURCE_ALIASES,
    kind_of,
)
from regcheck.torch_api.layers import layer_named
from regcheck.torch_api.number_draws import GENERATORS, NUMBER_DRAWS, SEEDING
from regcheck.torch_api.reused_masks import PRODUCTS

from .axis_arguments import axis_arguments_of, axis_arguments_of_layer, index_of
from .emit import SETITEM, Emitter
from .forward_cache import ForwardRunner
from .mode_switch import ModeSwitch

if TYPE_CHECKING:
    from regcheck.static.interpreter.interpreter import Interpreter

_HOOK = b"register_forward_hook"
_OF_NUMBERS = {
    "builtins": frozenset(("float", "abs")),
    "numpy": frozenset("array asarray float32 float64 abs exp log sqrt square sign tanh sin cos clip where".split()),
}
"""Functions of Python and NumPy that compute numbers as the function of torch with this name does."""
_TORCH = frozenset(
    ("torch", "torch.nn.functional", "torch.special", "torch.linalg", "torch.fft", "torch.Tensor", "torch.ops.aten")
)


class ModelDomain(Domain):
    """Emits the ops of one model's forward.

    `build_functions` are the functions that building the model entered, by the ids of their nodes. `switch` sets the
    model's mode before the forward runs, where that is more than a flag.
    """

    def __init__(self, emitter: Emitter, runner: ForwardRunner, build_functions: set[int], switch: ModeSwitch) -> None:
        self.emitter = emitter
        self.runner = runner
        self.build_functions = build_functions
        self.switch = switch
        self.model = emitter.modules.model
        self._set_by_forward: dict[int, Value] = {}
        """The train mode that the forward itself sets, whatever the arguments are, by the ids of the modules."""

    def connect(self, interpreter: Interpreter) -> None:
        super().connect(interpreter)
        for part in (self.emitter, self.runner, self.switch):
            part.connect(interpreter)
        self.emit = self.emitter.emit

    def opaque(self, values: Iterable[Value], node: ast.AST) -> Value:
        values = tuple(values)
        if self.switch.running:
            for module in modules_in(Items.of(values)):
                self.switch.forget(module)
        origins = self.emitter.origins(values)
        if not origins:
            return unknown_from(values)
        return self.emit(Kind.OPAQUE, "opaque", (TensorRef(tuple(origins)),), place=self.state.place(node))

    def join_tensors(self, values: Sequence[Value]) -> Value:
        return self.emit(Kind.JOIN, "join", values, place=None)

    def arithmetic(self, name: str, values: Args, node: ast.AST) -> Value:
        tensors = [each for each in values if isinstance(each, (TensorRef, Weight))]
        if not tensors:
            return self.opaque(values, node)
        scalar = len(tensors) == 1 and all(isinstance(each, (TensorRef, Weight, Constant)) for each in values)
        kind = Kind.SCALE if name in ("neg", "invert") else kind_of(name, scalar)
        reused = "" if scalar else self._reused_mask(name, node)
        return self.emit(kind, name, values, place=self.state.place(node), operands=values, reused_mask=reused)

    def zero_product(self, values: Args, node: ast.AST) -> Value:
        if any(isinstance(each, TensorRef) for each in values):
            return self.emit(Kind.CONSTANT, "zero", (), place=None)
        return Constant(0.0)

    def item(self, owner: Value, key: Value, node: ast.AST) -> Value:
        if isinstance(owner, TensorRef):
            arguments = (("key", index_of(key, node)),)
            place = self.state.place(node)
            return self.emit(Kind.RESHAPE, "getitem", (owner, key), place=place, axis_arguments=arguments)
        return self.opaque((owner, key), node)

    def after_write(self, owner: Value, key: Value, value: Value, target: ast.Subscript) -> Value:
        if not isinstance(owner, TensorRef):
            return self.opaque((owner, value), target)
        if _is_everything(target.slice):
            return self.emit(Kind.IDENTITY, "copy", (value,), place=self.state.place(target))
        values = (owner, key, value)
        return self.emit(Kind.CONCAT, SETITEM, values, place=self.state.place(target), operands=values)

    def attribute(self, owner: Value, name: str) -> Value | None:
        if not isinstance(owner, (TensorRef, Weight)):
            return None
        if name in METADATA:
            return SIZES if name == "shape" else VARYING
        kind = kind_of(SOURCE_ALIASES[name]) if name in SOURCE_ALIASES else Kind.OPAQUE
        return self.emit(kind, SOURCE_ALIASES.get(name, name), (owner,), place=None)

    def are_same(self, left: Module, right: Module) -> bool | None:
        paths = [self.emitter.modules.paths.get(id(each), "*") for each in (left, right)]
        return None if any("*" in each for each in paths) else left is right

    def class_of(self, module: Module) -> Value | None:
        return module.definition if isinstance(module, Instance) else None

    def setting(self, owner: Instance, name: str, value: Value) -> Value:
        """A setting that other code than the constructor assigns may differ from call to call."""
        project = self.state.project
        assigned_elsewhere = project.assigned_on_models if owner.definition.is_module else project.assigned_elsewhere
        assigning = owner.definition.assigning.get(name, ())
        if name in assigned_elsewhere or any(id(node) not in self.build_functions for node in assigning):
            return VARYING
        return value

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        if not isinstance(owner, (TensorRef, Weight)):
            return None
        if name in METADATA:
            return SIZES if name == "size" and not (args or kwargs) else VARYING
        if name == "sample" and isinstance(owner, TensorRef) and owner.ids[0] in self.emitter.coin_tosses:
            return self._sample(owner, args, kwargs, node)
        result = self._function(name, (owner, *args), kwargs, node)
        return result if result is not None else self.opaque((owner, *args, *kwargs.values()), node)

    def module_method(self, module: Module, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        return self.switch.method(module, name, args, node) if self.switch.running else None

    def set_training(self, module: Module, training: Value, node: ast.AST) -> None:
        if self.switch.running:
            self.switch.set_training(module, training, node)
        else:
            super().set_training(module, training, node)
            if not self.state.doubts and in_mode(training, self.emitter.mode) == Constant(True):
                self._set_by_forward.update({id(each): training for _, each in descendants(module)})

    def assign_training(self, owner: Value, training: Value, node: ast.AST) -> None:
        if self.switch.running and isinstance(owner, Module):
            self.switch.set_flag(owner, training)
        else:
            super().assign_training(owner, training, node)

    def external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        if name == "builtins.sum" and args:
            return self._sum(args[0], argument(args, kwargs, 1, "start", 0), node)
        if name == "builtins.type" and len(args) == 1 and isinstance(args[0], Instance):
            return self.class_of(args[0])
        if name in GENERATORS and any(each != NONE for each in (*args, *kwargs.values())):
            return VARYING  # seeded by each call, it draws the same numbers each time
        if name in NUMBER_DRAWS and not any(modules_in(each) for each in args):
            return self._draw(name, args, kwargs, node, NUMBER_DRAWS[name])
        if name in SEEDING:
            self.emitter.seeded = True
        package, _, function = name.rpartition(".")
        if function in _OF_NUMBERS.get(package, ()) and _hold_tensors(*args, *kwargs.values()):
            return self._function(function, args, kwargs, node)
        return self._function(function, args, kwargs, node) if function in FOREIGN.get(package, ()) else None

    def _sum(self, terms: Value, start: Value, node: ast.expr) -> Value | None:
        """The sum of a sequence's tensors, as `+` adds them; None for any other sequence."""
        items = [each.item if isinstance(each, Several) else each for each in self.calls.containers.items_of(terms)]
        if not (items and all(isinstance(each, TensorRef) for each in items)):
            return None
        total = start
        for each in items:
            total = self.arithmetic("add", (total, each), node)
        return total

    def torch_function(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        package, _, function = name.rpartition(".")
        if name in EAGER_ONLY:
            return Constant(False)
        if function in COIN_TOSSES and package.startswith("torch.distributions"):
            return self._coin_tosses(COIN_TOSSES[function], args, kwargs, node)
        return self._function(function, args, kwargs, node) if package in _TORCH else None

    def _coin_tosses(self, probability: Argument, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """A distribution of zeros and ones at a constant rate, as an op that its samples come from."""
        values = (*args, *kwargs.values())
        count = kwargs.get("total_count", args[0] if probability.position and args else Constant(1))
        if self.emitter.origins(values) or count != Constant(1):
            return None
        number = self.emit(Kind.CONSTANT, "distribution", (), place=self.state.place(node))
        self.emitter.coin_tosses[number.ids[0]] = argument(args, kwargs, *probability)
        return number

    def _sample(self, distribution: TensorRef, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        probability = self.emitter.coin_tosses[distribution.ids[0]]
        sizes = (*args, *kwargs.values(), probability)
        level = self.emit(Kind.CONSTANT, "full", (), place=self.state.place(node), operands=sizes)
        return self._function("bernoulli", (level,), {}, node) or level

    def _function(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """A torch function or a tensor's method; None if it is not in torch's table."""
        function = SOURCE_ALIASES.get(name.strip("_"), name.strip("_"))
        place = self.state.place(node)
        if function in DROPPING:
            how, mode = DROPPING[function], self.emitter.mode
            rate = argument(args, kwargs, *how.rate)
            gate = how.switch(kwargs)
            switch = Constant(True) if gate is None else argument(args, kwargs, *gate)
            values = [in_mode(each, mode) for each in (*args, *kwargs.values())]
            discarded = not name.endswith("_") and self._discards(node, argument(args, kwargs, *IN_PLACE))
            return self._drop(function, rate, switch, values, place, discarded=discarded)
        if kind_of(function) is Kind.RANDOM:
            return self._draw(function, args, kwargs, node)
        values = [*args, *kwargs.values()]
        operands = _operands(args, kwargs)
        if function in CONVERSIONS:
            data = argument(args, kwargs, *CONVERSIONS[function])
            if _hold_tensors(data):
                return self.emit(Kind.IDENTITY, "identity", (data,), place=place)
        if function in FACTORIES:
            return self.emit(Kind.CONSTANT, function, (), place=place, operands=operands)
        tensors = [each for each in values if isinstance(each, (TensorRef, Weight, Items))]
        scalar = len(tensors) == 1 and all(isinstance(each, (TensorRef, Weight, Constant)) for each in args)
        what = kind_of_call(function, args, kwargs, scalar)
        if what.kind is Kind.OTHER and not tensors:
            return None
        active: bool | None = False
        if what.kind is Kind.BATCH_NORM:
            active = truth(argument(args, kwargs, *BATCH_NORM_TRAINING))
        reused = self._reused_mask(function, node)
        return self.emit(
            what.kind,
            function,
            values,
            place=place,
            window=what.window,
            active=active,
            reused_mask=reused,
            axis_arguments=axis_arguments_of(function, args, kwargs),
            operands=operands,
        )

    def _draw(self, function: str, args: Args, kwargs: Kwargs, node: ast.AST, spread: Sequence[Argument] = ()) -> Value:
        """Emits a random draw; one between equal bounds, or at a scale of zero, is none (see `NUMBER_DRAWS`)."""
        is_loss = any("loss" in each.name.lower() for each in self.state.frames)
        is_seeded = self.emitter.seeded or kwargs.get("generator", NONE) != NONE
        active: bool | None = None if self.state.doubts or is_seeded or is_loss else True
        bounds = [by_default(argument(args, kwargs, *each)) for each in spread]
        numbers = {each.value for each in bounds if isinstance(each, Constant)} | ({0} if len(bounds) == 1 else set())
        if bounds and len(numbers) == 1 and all(isinstance(each, Constant) for each in bounds):
            active = False
        return self.emit(
            Kind.RANDOM,
            function,
            (*args, *kwargs.values()),
            place=self.state.place(node),
            active=active,
            operands=_operands(args, kwargs),
        )

    def branch(self, tensors: Sequence[TensorRef]) -> None:
        ids = self.emitter.origins(tensors)
        if not self.emitter.drawn.isdisjoint(ids):
            self.emit(Kind.OTHER, BRANCH, tensors, place=None)

    def _drop(
        self,
        function: str,
        rate: Value,
        switch: Value,
        values: Iterable[Value],
        place: Place | None,
        layer: LayerValue | None = None,
        discarded: bool = False,
    ) -> Value:
        """Emits a dropping op; `switch` is the value that turns it on."""
        is_certain = not any(self.state.doubts)
        mine, other = [
            dropout_fields(Rate.of(in_mode(rate, mode)), in_mode(switch, mode), is_certain)
            for mode in (self.emitter.mode, self.emitter.tracker.other)
        ]
        return self.emit(
            kind_of(function),
            function,
            values,
            place=place,
            layer=layer,
            drops=DROPPING[function].drops,
            learned=function == "multi_head_attention_forward",
            discarded=discarded,
            keep_name=self.state.project.keep_name(place if layer is None else layer.place),
            **mine,
            other=other if other != mine else None,
        )

    def _discards(self, call: ast.expr, in_place: Value) -> bool:
        """Whether the running function reads nothing of what a dropout returns, and the dropout is not in place."""
        function = self.state.frame.function
        if truth(in_place) is not False or function is None or isinstance(function.node, ast.Lambda):
            return False
        bodies = self.state.project.bodies
        if function.node not in bodies:
            bodies[function.node] = FunctionBody(function.node)
        return bodies[function.node].discards(call)

    def _reused_mask(self, function: str, node: ast.AST) -> str:
        """The words that say when the mask of a product is drawn, if it is drawn once; empty for any other op."""
        if function not in PRODUCTS:
            return ""
        place = self.state.place(node)
        return self.state.frames[-1].source.products.get((place.line, place.column), "")

    def run_module(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        return self._run(module, args, kwargs, node, self.state.place(node))

    def _run(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr, place: Place | None) -> Value:
        if isinstance(module, LayerValue):
            return self._run_layer(module, args, kwargs, node, place)
        if isinstance(module, Container):
            if module.name != "Sequential" or not args:
                return self.opaque(args, node)
            value = args[0]
            for each in module.entries.values():
                value = self._run_element(each, value, node)
            return value
        assert isinstance(module, Instance)
        forward = module.definition.method("forward")
        if forward is None:
            if module.base is not None:
                return self._run(module.base, args, kwargs, node, place)
            return self.emit(Kind.OPAQUE, "opaque", (*args, *kwargs.values()), place=place, learned=True)
        forward.instance = module
        running = self.emitter.running
        running.append(self.emitter.modules.path_below(module, running[-1]))
        try:
            return self.runner.run(module, forward, args, kwargs, node)
        finally:
            running.pop()

    def _run_element(self, element: Value, value: Value, node: ast.expr) -> Value:
        """Runs an element of a `Sequential`; the places of its ops are where it was constructed."""
        if isinstance(element, Several):
            return self._run_element(element.item, value, node)
        if isinstance(element, Maybe):
            result = value
            for each in element.items:
                result = self._run_element(each, result, node)
            return self.state.join([value, result])
        if isinstance(element, Either):
            return self.state.join([self._run_element(each, value, node) for each in options_of(element)])
        if isinstance(element, Module):
            return self._run(element, (value,), {}, node, element.place)
        return self.calls.call(element, (value,), {}, node)

    def _run_layer(self, layer: LayerValue, args: Args, kwargs: Kwargs, node: ast.expr, place: Place | None) -> Value:
        row = layer_named(layer.name)
        function, values = row.function, (*args, *kwargs.values())
        if function in DROPPING:
            assert row.rate is not None
            rate = layer.argument(*row.rate)
            if rate == VARYING or isinstance(rate, UnknownObject):  # a layer keeps the rate that it is constructed with
                rate = FIXED
            # A `Sequential` calls its elements itself, and a hook reads what a layer returns.
            is_read = place != self.state.place(node) or _HOOK in self.state.frame.source.content
            in_place = row.arguments.get("inplace")
            discarded = in_place is not None and not is_read and self._discards(node, layer.argument(*in_place))
            return self._drop(function, rate, self.training(layer), values, place, layer, discarded)
        what = kind_of_layer(layer)
        depth, between, clause = stacking(layer)
        switch = self.training(layer) if what.kind is Kind.BATCH_NORM or between else Constant(True)
        mine, other = [
            layer_acts(layer, what.kind, in_mode(switch, mode))
            for mode in (self.emitter.mode, self.emitter.tracker.other)
        ]
        active = None if self.state.doubts and what.kind is Kind.RANDOM else mine
        return self.emit(
            what.kind,
            function or layer.name,
            values,
            place=place,
            layer=layer,
            rate=between,
            active=active,
            learned=may_learn(what.kind),
            window=what.window,
            depth=depth,
            by_default=clause,
            tracks=what.kind is not Kind.BATCH_NORM or tracks(layer) is not False,
            axis_arguments=axis_arguments_of_layer(layer),
            other={"active": other} if other is not mine else None,
        )

    def function_result(self, values: Sequence[Value]) -> Value:
        """Of the model's own forward each result is an output."""
        function = self.state.frame.function
        if len(self.state.frames) == 2 and function is not None and function.instance is self.model:
            return Items.of(tuple(values))
        return self.state.join(values)

    def training(self, module: Module) -> Value:
        """A registered module has the mode of the model unless the model sets it; others stay as they were built."""
        modules, switched = self.emitter.modules, self.switch.mode_of(module)
        if switched is not None:
            return switched
        if "training" in module.cells:
            mode: Value = module.cells["training"]
            if self._set_by_forward.get(id(module)) is mode:
                return mode
            if id(module) in modules.preset:
                return self.by_mode(VARYING, Constant(False))
            return VARYING if mode == Constant(True) else mode
        reach = self.emitter.reach(module)
        if reach is Reach.REGISTERED:
            return self.by_mode(Constant(True), Constant(False))
        return Constant(True) if reach in (Reach.HIDDEN, Reach.NEW) else VARYING

    def by_mode(self, train: Value, evaluation: Value) -> Value:
        """A value that depends on the mode."""
        return ByMode(self.emitter.tracker, train, evaluation)


def _operands(args: Args, kwargs: Kwargs) -> list[Value]:
    """The arguments of a call that say something about the values of its result."""
    return [*args, *(value for key, value in kwargs.items() if key not in NOT_OPERANDS)]


def _hold_tensors(*values: Value) -> bool:
    return any(isinstance(each, TensorRef) for each in leaves(*values))


def _is_everything(index: ast.expr) -> bool:
    """Whether an index, `[:]` or `[...]`, selects everything."""
    if isinstance(index, ast.Tuple):
        return all(map(_is_everything, index.elts))
    if isinstance(index, ast.Slice):
        return index.lower is None and index.upper is None and index.step is None
    return isinstance(index, ast.Constant) and index.value is ...
