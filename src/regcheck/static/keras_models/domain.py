"""What the calls of Keras mean in source: each layer's call becomes ops, each model keeps its inputs and outputs."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from regcheck.core.graph import Drops, Kind, Mode, Op, Site
from regcheck.files.discarded_results import FunctionBody
from regcheck.files.place import Place
from regcheck.files.syntax import walk
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.domain import Args, Domain, Kwargs
from regcheck.static.interpreter.values import (
    NONE,
    SIZES,
    VARYING,
    Constant,
    Container,
    Instance,
    Items,
    LayerValue,
    Maybe,
    Module,
    Several,
    Super,
    TensorRef,
    Unknown,
    UnknownObject,
    Value,
    argument,
    by_default,
    descendants,
    leaves,
    truth,
    unknown_from,
)
from regcheck.static.models.class_counts import width_counts_classes
from regcheck.static.torch_calls import Rate, dropout_fields
from regcheck.torch_api.functions import DROPPING, call_text, kind_of
from regcheck.torch_api.keras_names import LAYERS, public_name
from regcheck.torch_api.layers import KERAS_LAYERS, layer_named

_ACTIVATIONS = {"swish": "silu", "hard_sigmoid": "hardsigmoid", "hard_tanh": "hardtanh", "exponential": "exp"}
"""Keras' names of activations that torch names otherwise."""
_POINTWISE = (Kind.ACTIVATION, Kind.SIGMOID, Kind.SOFTMAX)
_FUNCTIONS = ("keras.activations", "keras.ops", "keras.ops.nn", "tensorflow.nn")
_MERGING = frozenset("Add Subtract Multiply Average Maximum Minimum Concatenate Dot".split())
_TRAINING = ("compile", "fit", "fit_generator", "train_on_batch")
_DROPPING_FUNCTIONS = ("tensorflow.nn.dropout", "keras.random.dropout", "keras.backend.dropout")
_WITH_MODE = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout")
"""Layers whose second argument in a call is `training`."""


@dataclass(eq=False)
class FunctionalModel(Module):
    """A functional model: the tensors that it is built from, and its name."""

    inputs: Value = NONE
    outputs: Value = NONE
    name: str = "Model"


@dataclass(eq=False)
class KerasObject(LayerValue):
    """An object of Keras that is no layer, with its constructor's arguments: an optimizer or a regularizer."""


@dataclass(frozen=True)
class Compilation:
    """A call of `compile` on a model."""

    model: Module
    optimizer: Value
    place: Place
    function: str


@dataclass(frozen=True)
class TapeEntry:
    """One op in both modes, and the layers behind it."""

    train: Op
    eval: Op
    layers: tuple[Module, ...] = ()

    def in_mode(self, mode: Mode) -> Op:
        return self.train if mode is Mode.TRAIN else self.eval


class KerasDomain(Domain):
    """Records the ops that layers emit, in order, and the models that a program builds of them.

    Attributes:
        tape: all ops by id.
        scored: the ids of models, and the definitions of classes, that the program compiles or trains.
        parts: the ids of models that run inside of others.
        mode: the mode in which a subclass's `call` is interpreted; None while a functional model is built, where one
            op stands for both modes.
    """

    def __init__(self) -> None:
        self.tape: dict[str, TapeEntry] = {}
        self.scored: set[object] = set()
        self.parts: set[int] = set()
        self.compilations: list[Compilation] = []
        self.mode: Mode | None = None
        self._switches: list[Value] = []
        self._wrappers: list[Module] = []
        self._channels_first = False
        self._names: dict[int, str] = {}
        self._bodies: dict[ast.AST, FunctionBody] = {}

    @contextmanager
    def running(self, model: Module, mode: Mode | None) -> Iterator[None]:
        """Interprets the `call` of a model in a mode, or its layers for both modes."""
        before = self.mode, self._names, self._switches
        self.mode, self._switches = mode, []
        self._names = {id(each): path for path, each in descendants(model)}
        try:
            yield
        finally:
            self.mode, self._names, self._switches = before

    def new_input(self, name: str) -> TensorRef:
        """An input of a model."""
        return self._emit(Kind.INPUT, name, (), None)

    def opaque(self, values: Iterable[Value], node: ast.AST) -> Value:
        values = tuple(values)
        if not self._origins(values):
            return unknown_from(values)
        learned = any(isinstance(each, (Module, UnknownObject)) for each in leaves(*values))
        return self._emit(Kind.OPAQUE, "opaque", values, self.state.place(node), learned=learned)

    def join_tensors(self, values: Sequence[Value]) -> Value:
        return self._emit(Kind.JOIN, "join", values, None)

    def arithmetic(self, name: str, values: Args, node: ast.AST) -> Value:
        tensors = [each for each in values if isinstance(each, TensorRef)]
        if not tensors:
            return self.opaque(values, node)
        scalar = len(tensors) == 1 and all(isinstance(each, (TensorRef, Constant)) for each in values)
        kind = Kind.SCALE if name in ("neg", "invert") else kind_of(name, scalar)
        return self._emit(kind, name, values, self.state.place(node))

    def item(self, owner: Value, key: Value, node: ast.AST) -> Value:
        if isinstance(owner, TensorRef):
            return self._emit(Kind.RESHAPE, "getitem", (owner,), self.state.place(node))
        return self.opaque((owner, key), node)

    def attribute(self, owner: Value, name: str) -> Value | None:
        if isinstance(owner, TensorRef) and name in ("shape", "dtype"):
            return SIZES if name == "shape" else VARYING
        if isinstance(owner, FunctionalModel) and name in ("input", "inputs", "output", "outputs"):
            return owner.inputs if name.startswith("input") else owner.outputs
        if isinstance(owner, Module) and name in ("input", "output"):
            if name == "input":
                return self.new_input("input")
            return self._emit(Kind.OPAQUE, "opaque", (), owner.place, learned=True, layer=owner)
        return None

    def external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        public = public_name(name.replace("tensorflow.optimizers.", "keras.optimizers."))
        package, _, last = (public or name).rpartition(".")
        if package in _FUNCTIONS and args and kind_of(_ACTIVATIONS.get(last, last)) in _POINTWISE:
            return self._activate(Constant(last), args[0], self.state.place(node), None)
        if name in _DROPPING_FUNCTIONS and args:
            return self._drop_always(name, args, kwargs, node)
        if not public:
            return None
        if last == "Sequential":
            model = Container(self.state.place(node), name="Sequential")
            self.state.created.append(model)
            given = argument(args, kwargs, 0, "layers")
            if given != NONE:
                self.containers.extend(model, self.containers.items_of(given))
            return model
        if last in ("Model", "Functional"):
            return self._model(args, kwargs, node)
        if last == "Input":
            return self.new_input("input")
        if last == "set_image_data_format":
            self._channels_first = self._channels_first or args[:1] != (Constant("channels_last"),)
            return NONE
        if package == LAYERS and last[:1].islower():
            merging = next((each for each in _MERGING if each.lower() == last), None)
            layer = LayerValue(self.state.place(node), name=f"{LAYERS}.{merging}", args=args[1:], kwargs=kwargs)
            return self._run_layer(layer, args[:1], {}, node, layer.place) if merging else None
        if not last[:1].isupper() and package != "keras.regularizers":
            return None
        is_layer = package in (LAYERS, "keras.applications") or package.startswith("keras.applications.")
        result = (LayerValue if is_layer else KerasObject)(
            self.state.place(node),
            name=public,
            args=args,
            kwargs=dict(kwargs),
            call=node if isinstance(node, ast.Call) else None,
        )
        if is_layer:
            self.state.created.append(result)
        return result

    def _model(self, args: Args, kwargs: Kwargs, node: ast.expr, of: Instance | None = None) -> Value | None:
        """A functional model; `of` is the object of a subclass whose constructor builds it."""
        inputs = kwargs.get("input", argument(args, kwargs, 0, "inputs"))
        outputs = kwargs.get("output", argument(args, kwargs, 1, "outputs"))
        if outputs == NONE:
            return None
        name_given = kwargs.get("name", NONE)
        own = of.definition.name if of is not None else "Model"
        name = str(name_given.value) if isinstance(name_given, Constant) and name_given.value else own
        model = FunctionalModel(self.state.place(node), inputs=inputs, outputs=outputs, name=name)
        self.state.created.append(model)
        return model

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        if isinstance(owner, Super) and name == "__init__" and isinstance(owner.instance, Instance):
            if is_keras(owner.instance) and ("outputs" in kwargs or len(args) > 1):
                self._model(args, kwargs, node, owner.instance)
                return NONE
            return None
        if not isinstance(owner, Instance) or not is_keras(owner):
            return None
        if name in _TRAINING:
            self._note_training(owner, owner.definition, name, args, kwargs, node)
        if name == "__call__" and owner.definition.method("call") is not None:
            return self.run_module(owner, args, kwargs, node)
        return None

    def module_method(self, module: Module, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        if name in _TRAINING:
            self._note_training(module, id(module), name, args, kwargs, node)
            return VARYING
        if isinstance(module, Container) and name == "add" and args:
            self.containers.extend(module, args[:1])
            return NONE
        if isinstance(module, Container) and name == "pop":
            last = next(reversed(module.entries), None)
            if last is not None:
                self.state.set(module.entries, last, VARYING)
            return VARYING
        return None

    def _note_training(self, model: Module, key: object, name: str, args: Args, kwargs: Kwargs, node: ast.AST) -> None:
        self.scored.add(key if isinstance(key, int) else id(key))
        overridden = isinstance(model, Instance) and model.definition.method("compile") is not None
        if name == "compile" and not overridden:
            optimizer = argument(args, kwargs, 0, "optimizer", "rmsprop")
            self.compilations.append(Compilation(model, optimizer, self.state.place(node), self.state.frame.name))

    def run_module(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        place = self.state.place(node)
        if isinstance(module, KerasObject):
            return self.opaque((*args, *kwargs.values()), node)
        if isinstance(module, LayerValue):
            return self._run_layer(module, args, kwargs, node, place)
        self.parts.add(id(module))
        if isinstance(module, Container) and args:
            with self._switched(kwargs):
                return self.run_sequential(module, args[0], node)
        if isinstance(module, Instance):
            self.parts.add(id(module.definition))
            if self.mode is not None:
                with self._switched(kwargs):
                    return self.run_call(module, args, kwargs, node)
        return self._emit(Kind.OPAQUE, "opaque", (*args, *kwargs.values()), place, learned=True)

    @contextmanager
    def _switched(self, kwargs: Kwargs) -> Iterator[None]:
        """Layers inherit the argument `training` of the call around theirs."""
        training = kwargs.get("training", NONE)
        self._switches.append(self._switches[-1] if training == NONE and self._switches else training)
        try:
            yield
        finally:
            self._switches.pop()

    def run_sequential(self, model: Container, value: Value, node: ast.expr) -> Value:
        """Runs the layers of a `Sequential` one after the other."""
        entries = model.entries
        for name, each in entries.items():
            result = self._run_element(each, value, node)
            certain = name[:1] != "*" and name not in entries.doubtful
            value = result if certain else self.state.join([value, result])
        return value

    def _run_element(self, element: Value, value: Value, node: ast.expr) -> Value:
        if isinstance(element, Several):
            return self._run_element(element.item, value, node)
        if isinstance(element, Maybe):
            for each in element.items:
                value = self._run_element(each, value, node)
            return value
        if isinstance(element, TensorRef):  # an `Input` among the layers
            return value
        if isinstance(element, LayerValue) and not isinstance(element, KerasObject):
            return self._run_layer(element, (value,), {}, node, element.place)
        return self.calls.call(element, (value,), {}, node)

    def run_call(self, model: Instance, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """Runs the `call` of a subclass in the current mode."""
        call = model.definition.method("call")
        assert call is not None
        assert self.mode is not None
        spec = call.node.args
        named = {each.arg for each in (*spec.args, *spec.kwonlyargs)}
        switch = self._switches[-1] if self._switches else NONE
        others = {key: each for key, each in kwargs.items() if key != "training"}
        if "training" in named:
            others["training"] = Constant(self.mode is Mode.TRAIN) if switch == NONE else switch
        call.instance = model
        return self.calls.call_function(call, args, others, node)

    def _run_layer(self, layer: LayerValue, args: Args, kwargs: Kwargs, node: ast.expr, place: Place | None) -> Value:
        row, name = layer_named(layer.name), layer.name.rpartition(".")[2]
        value, function = args[0] if args else VARYING, row.function
        if name in ("Bidirectional", "TimeDistributed"):
            return self._run_wrapper(layer, args, kwargs, node, place)
        if name == "InputLayer":
            return value
        if name == "Activation":
            return self._activate(argument(layer.args, layer.kwargs, 0, "activation"), value, place, layer)
        if function in DROPPING:
            training = args[1] if len(args) > 1 and name in _WITH_MODE else kwargs.get("training", NONE)
            return self._drop(layer, value, training, node, place)
        args = (*args, *self._dropped_inside(layer, args, kwargs, place))
        if row.kind is Kind.CONV or "pool" in function:
            value = self._run_on_map(layer, value, place)
        elif row.kind is Kind.BATCH_NORM:
            training = args[1] if len(args) > 1 else kwargs.get("training", NONE)
            tracks = truth(layer.kwargs.get("trainable", Constant(True)))
            train, evaluation = (truth(each) if tracks else tracks for each in self._acts(training))
            value = self._emit(
                row.kind, function, (value,), place, layer=layer, active=train, other={"active": evaluation}
            )
        elif function:
            value = self._emit(
                row.kind,
                function,
                (*args, *kwargs.values()),
                place,
                layer=layer,
                learned=row.learned,
                axes=_axes(layer),
            )
        else:
            learned = row.learned or layer.name not in KERAS_LAYERS
            return self._emit(Kind.OPAQUE, "opaque", (*args, *kwargs.values()), place, layer=layer, learned=learned)
        if row.kind is Kind.RECURRENT:
            sequences = truth(layer.kwargs.get("return_sequences", Constant(False)))
            state = truth(layer.kwargs.get("return_state", Constant(False)))
            if sequences is False and state is False:
                axes = (("dim", 1), ("index", -1))
                return self._emit(Kind.RESHAPE, "select", (value,), place, axes=axes)
            return value
        training = (
            argument(layer.args, layer.kwargs, *row.arguments["activation"]) if "activation" in row.arguments else NONE
        )
        return self._activate(layer.kwargs.get("activation", training), value, place, layer)

    def _run_wrapper(self, layer: LayerValue, args: Args, kwargs: Kwargs, node: ast.expr, place: Place | None) -> Value:
        inner = layer.argument(0, "layer")
        is_recurrent = isinstance(inner, LayerValue) and layer_named(inner.name).kind in (
            Kind.RECURRENT,
            Kind.LINEAR,
            Kind.DROPOUT,
            *_POINTWISE,
        )
        if is_recurrent and isinstance(inner, LayerValue):
            self._wrappers.append(layer)
            try:
                return self._run_layer(inner, args, kwargs, node, place)
            finally:
                self._wrappers.pop()
        return self._emit(Kind.OPAQUE, "opaque", args, place, layer=layer, learned=True)

    def _run_on_map(self, layer: LayerValue, value: Value, place: Place | None) -> Value:
        """A convolution or a pooling: torch's, on a map whose channels are moved to the front."""
        row, name = layer_named(layer.name), layer.name.rpartition(".")[2]
        rank, first = int(name.removesuffix("Transpose")[-2]), self._is_channels_first(layer)
        if name.startswith("Global"):
            dims = tuple(range(2, rank + 2)) if first else tuple(range(1, rank + 1))
            keeps = layer.kwargs.get("keepdims", Constant(False))
            axes = (("dim", dims), ("keepdim", truth(keeps)))
            function = "amax" if "Max" in name else "mean"
            return self._emit(kind_of(function), function, (value,), place, layer=layer, window=True, axes=axes)
        size_name = "kernel_size" if row.kind is Kind.CONV else "pool_size"
        size = argument(layer.args, layer.kwargs, *row.arguments[size_name])
        window = "Transpose" not in name and is_above_one(size)
        moved = value if first else self._moved(value, -1, 1)
        ran = self._emit(
            row.kind, row.function, (moved,), place, layer=layer, learned=row.learned, window=window, axes=()
        )
        return ran if first else self._moved(ran, 1, -1)

    def _is_channels_first(self, layer: LayerValue) -> bool:
        data_format = layer.kwargs.get("data_format", NONE)
        return data_format == Constant("channels_first") or (data_format == NONE and self._channels_first)

    def _moved(self, value: Value, source: int, destination: int) -> Value:
        axes = (("source", source), ("destination", destination))
        return self._emit(Kind.RESHAPE, "movedim", (value,), None, axes=axes)

    def _drop(self, layer: LayerValue, value: Value, training: Value, node: ast.expr, place: Place | None) -> Value:
        """A dropping op; one that drops channels runs on a map whose channels are moved to the front."""
        row = layer_named(layer.name)
        assert row.rate is not None
        rate = layer.argument(*row.rate)
        if isinstance(rate, UnknownObject) or rate == VARYING:
            rate = Unknown()
        certain = not any(self.state.doubts)
        mine, other = (dropout_fields(Rate.of(rate), each, certain) for each in self._acts(training))
        of_channels = row.function[-2:-1].isdigit() and not self._is_channels_first(layer)
        drops = DROPPING[row.function].drops
        if layer.kwargs.get("noise_shape", NONE) != NONE or len(layer.args) > 1:
            drops = Drops.CHANNELS  # values that share one draw
        result = self._emit(
            Kind.DROPOUT,
            row.function,
            (self._moved(value, -1, 1) if of_channels else value,),
            place,
            layer=layer,
            drops=drops,
            discarded=self._discards(node),
            keep_name=self.state.project.keep_name(layer.place),
            other=other,
            **mine,
        )
        return self._moved(result, 1, -1) if of_channels else result

    def _dropped_inside(self, layer: LayerValue, args: Args, kwargs: Kwargs, place: Place | None) -> Iterator[Value]:
        """What a recurrent or attention layer drops of values that no other op has: its state, inputs or scores."""
        arguments = layer_named(layer.name).arguments
        for name in ("dropout", "recurrent_dropout"):
            rate = layer.argument(*arguments[name]) if name in arguments else NONE
            if by_default(rate) in (Constant(0), Constant(0.0), NONE):
                continue
            rate_value = Rate.of(Unknown() if isinstance(rate, UnknownObject) or rate == VARYING else rate)
            acts, certain = self._acts(kwargs.get("training", NONE)), not any(self.state.doubts)
            mine, other = (dropout_fields(rate_value, each, certain) for each in acts)
            shown = layer.name + ("" if mine["rate"] is None else f"({name}={mine['rate']:g})")
            inside = self._emit(Kind.OPAQUE, "opaque", (*args, *kwargs.values()), place, layer=layer, learned=True)
            drops = Drops.ELEMENTS
            yield self._emit(
                Kind.DROPOUT, "dropout", (inside,), place, layer=layer, drops=drops, shown=shown, other=other, **mine
            )

    def _drop_always(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """A function that drops whenever it is called."""
        rate = argument(args, kwargs, 1, "rate")
        fields = dropout_fields(Rate.of(rate), Constant(True), not any(self.state.doubts))
        noise = argument(args, kwargs, 2, "noise_shape")
        drops = Drops.ELEMENTS if noise == NONE else Drops.CHANNELS
        shown = name.replace("tensorflow.", "tf.") + ("" if fields["rate"] is None else f"(rate={fields['rate']:g})")
        place = self.state.place(node)
        return self._emit(Kind.DROPOUT, "dropout", args[:1], place, drops=drops, shown=shown, **fields)

    def _acts(self, training: Value) -> tuple[Value, Value]:
        """Whether a layer acts as in training, in each mode, where a call gives it this argument `training`."""
        value = by_default(training)
        if value == NONE and self._switches:
            value = self._switches[-1]
        return (Constant(True), Constant(False)) if value == NONE else (value, value)

    def _discards(self, call: ast.expr) -> bool:
        """Whether no code reads what a call returns; at the top of a file only a statement of its own is certain."""
        frame = self.state.frame
        if frame.function is None or isinstance(frame.function.node, ast.Lambda):
            return any(isinstance(each, ast.Expr) and each.value is call for each in frame.source.tree.body)
        node = frame.function.node
        body = self._bodies.setdefault(node, FunctionBody(node))
        return any(each is call for each in walk(node)) and body.discards(call)

    def _activate(self, name: Value, value: Value, place: Place | None, layer: LayerValue | None) -> Value:
        """An activation by its name, or by the function or layer that computes it."""
        name = by_default(name)
        if name == NONE or name == Constant("linear"):
            return value
        if isinstance(name, LayerValue):
            return self._run_layer(name, (value,), {}, ast.Name("activation", ast.Load()), place)
        text = str(name.value) if isinstance(name, Constant) else getattr(name, "name", "").rpartition(".")[2]
        function = _ACTIVATIONS.get(text, text)
        kind = kind_of(function)
        if kind not in _POINTWISE:
            return self._emit(Kind.OPAQUE, "opaque", (value,), place, layer=layer)
        return self._emit(kind, function, (value,), place, layer=layer)

    def _origins(self, values: Iterable[Value]) -> tuple[str, ...]:
        origins = [name for each in leaves(*values) if isinstance(each, TensorRef) for name in each.ids]
        return tuple(dict.fromkeys(origins))

    def _emit(
        self,
        kind: Kind,
        function: str,
        inputs: Iterable[Value],
        place: Place | None,
        *,
        layer: Module | None = None,
        other: Mapping[str, Any] | None = None,
        active: bool | None = False,
        rate: float | None = None,
        axes: tuple[tuple[str, Any], ...] = (),
        shown: str = "",
        **more: Any,
    ) -> TensorRef:
        """Adds an op; `other` holds the fields that differ in eval mode, `shown` is the call as messages show it."""
        path = self._path(layer)
        name = f"{function}_{len(self.tape)}"
        layer_name = layer.name if isinstance(layer, LayerValue) else ""
        op = Op(
            id=name,
            kind=kind,
            site=Site(path, function, place),
            call=shown or call_text(function, layer_name, rate),
            inputs=self._origins(inputs),
            active=active,
            rate=rate,
            axis_arguments=axes,
            of_classes=kind in (Kind.LINEAR, Kind.CONV)
            and isinstance(layer, LayerValue)
            and width_counts_classes(layer),
            **more,
        )
        in_eval = replace(op, mode=Mode.EVAL, **(other or {}))
        self.tape[name] = TapeEntry(op, in_eval, tuple(self._layers_of(layer)))
        return TensorRef((name,))

    def _layers_of(self, layer: Module | None) -> Iterator[Module]:
        """A layer, those in its arguments and those around it."""
        for each in (*self._wrappers, layer):
            inside = (each, *each.args, *each.kwargs.values()) if isinstance(each, LayerValue) else (each,)
            yield from (one for one in leaves(*inside) if isinstance(one, Module))

    def _path(self, layer: Module | None) -> str:
        if layer is None:
            return ""
        if id(layer) in self._names:
            return self._names[id(layer)]
        name = layer.kwargs.get("name", NONE) if isinstance(layer, LayerValue) else NONE
        return str(name.value) if isinstance(name, Constant) and name.value else ""


def is_keras(instance: Instance) -> bool:
    """Whether an object's class derives from a layer or model of Keras."""
    return derives_from_keras(instance.definition)


def derives_from_keras(definition: Any) -> bool:
    """Whether a scanned class derives from a layer or model of Keras."""
    bases = [base for each in definition.mro for base in each.bases]
    return any(public_name(getattr(base, "name", "")).startswith("keras.") for base in bases)


def is_above_one(size: Value) -> bool:
    """Whether a size is, or may be, above one along some axis."""
    size = by_default(size)
    items = size.items if isinstance(size, Items) else (size,)
    numbers = [each.value if isinstance(each, Constant) else None for each in map(by_default, items)]
    return any(number is None or (isinstance(number, int) and number > 1) for number in numbers)


def _axes(layer: LayerValue) -> tuple[tuple[str, Any], ...]:
    """The arguments of a reshaping layer that decide which axes it moves, as torch's functions name them."""
    name = layer.name.rpartition(".")[2]
    if name == "Flatten":
        return (("start_dim", 1), ("end_dim", -1))
    if name == "Reshape":
        return (("sizes", (-1, *_numbers(layer.argument(0, "target_shape")))),)
    if name == "Permute":
        return (("sizes", (0, *_numbers(layer.argument(0, "dims")))),)
    return ()


def _numbers(value: Value) -> tuple[Any, ...]:
    items = value.items if isinstance(value, Items) else ()
    return tuple(each.value if isinstance(each, Constant) else "?" for each in items)
