"""From a model's class to its graph: its `forward` is interpreted once per mode, and every torch call becomes an op."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from regcheck.core.graph import Flow, Graph, Kind, Mode, Op, Site, Wholeness
from regcheck.files.place import Place
from regcheck.static.interpreter.mode_values import side
from regcheck.static.interpreter.state import Frame, blurred
from regcheck.static.interpreter.values import (
    Cells,
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
    Unknown,
    Value,
    Weight,
    argument,
    descendants,
    truth,
)
from regcheck.static.project.names import Project
from regcheck.static.torch_calls import (
    Rate,
    doing,
    dropping,
    is_random,
    layer_acts,
    layer_doing,
    learns,
    stacking,
    tracks,
)
from regcheck.torch_api.functions import (
    BATCH_NORM_TRAINING,
    DROPPING,
    EAGER_ONLY,
    FACTORIES,
    FOREIGN,
    METADATA,
    SOURCE_ALIASES,
    kind_of,
)
from regcheck.torch_api.layers import layer_named

from .emit import SETITEM, RegisteredModules, Spoilt
from .forward_cache import CachingEmitter, ForwardCache, expanded
from .outputs import named_outputs

Args = tuple[Value, ...]
Kwargs = Mapping[str, Value]

_TORCH = ("torch", "torch.nn.functional", "torch.special", "torch.linalg", "torch.fft", "torch.Tensor")


def graph_of(project: Project, model: Module, subject: str, ran: set[int], repeats: ForwardCache) -> Graph | None:
    """The graph of a built model; None where `forward` gives nothing, or no rule can start in it.

    `ran`: the functions that building it entered.
    """
    kept = RegisteredModules(model)
    train = _followed(project, kept, Mode.TRAIN, ran, repeats)
    evaluation = _followed(project, kept, Mode.EVAL, ran, repeats) if train.sight.looked else train
    if not (train.matters or evaluation.matters):
        return None
    flow = train.flow(Mode.TRAIN)
    return Graph(subject, flow, evaluation.flow(Mode.EVAL), Wholeness.UNKNOWN, assumed=True) if flow.outputs else None


def _followed(project: Project, kept: RegisteredModules, mode: Mode, ran: set[int], repeats: ForwardCache) -> Lowering:
    """A model's forward, interpreted in that mode."""
    lowering = Lowering(project, kept, mode, ran, repeats)
    try:
        lowering.follow()
    except Spoilt:
        lowering.undo(0, lowering.began)
        lowering = Lowering(project, kept, mode, ran, repeats)
        lowering.one_sided = True
        lowering.follow()
    return lowering


class Lowering(CachingEmitter):
    """One forward in one mode."""

    def follow(self) -> None:
        """Interpret the forward, and leave the model as it was."""
        first = self.model.definition.source if isinstance(self.model, Instance) else next(iter(self.project.sources))
        with self.entered(Frame(None, first, Cells())):
            results = self._enter()
        self.undo(0, self.began)
        self.outputs = tuple(pair for each in results for pair in named_outputs(each, "output"))

    def flow(self, mode: Mode) -> Flow:
        """What was followed, as the flow of a mode; of the other one than its own if only its ops depend on that."""
        turns: Counter[Site] = Counter()
        ops: dict[str, Op] = {}
        for op in expanded(self.track, mode):
            turn = turns[op.site]
            turns[op.site] += 1
            ops[op.id] = replace(op, site=replace(op.site, occurrence=turn)) if turn else op
        if not any(op.learned for op in ops.values()):
            # An augmentation, a loss or a sampler is random on purpose; only a model's predictions are judged.
            for name, op in ops.items():
                if op.kind is Kind.RANDOM:
                    ops[name] = replace(op, active=None if op.active else op.active)
        return Flow(mode, ops, self.outputs)

    def returned(self, values: Sequence[Value]) -> Value:
        function = self.frame.function
        if len(self.frames) == 2 and function is not None and function.instance is self.model:
            return Items.of(tuple(values))
        return super().returned(values)

    def _enter(self) -> tuple[Value, ...]:
        """Run the model; the values of its `return` statements."""
        node = ast.Name("forward", ast.Load(), lineno=1, col_offset=0)
        forward = self.model.definition.method("forward") if isinstance(self.model, Instance) else None
        if forward is None:
            if not isinstance(self.model, (Instance, Container)):
                return ()
            return (self.call_module(self.model, (self._input("input"),), {}, node),)
        spec = forward.node.args
        names = [each.arg for each in (*spec.posonlyargs, *spec.args)][1:]
        forward.instance = self.model
        inputs = tuple(self._input(name) for name in names)
        more: Args = (Several(self._input(spec.vararg.arg)),) if spec.vararg else ()
        kwargs: dict[str, Value] = {each.arg: self._input(each.arg) for each in spec.kwonlyargs}
        returned = self.call_function(forward, (*inputs, *more), kwargs, node)
        return returned.items if isinstance(returned, Items) else ()

    def _input(self, name: str) -> Value:
        return self.emit(Kind.INPUT, name, (), place=None)

    def set_training(self, value: Value, training: Value, node: ast.AST) -> None:
        if isinstance(value, Module):
            for _, each in descendants(value):
                self.set(each.cells, "training", training)

    def _instance_attribute(self, owner: Instance, name: str) -> Value:
        found = super()._instance_attribute(owner, name)
        if isinstance(found, (Constant, Unknown)) and name != "training" and self._is_changed(owner, name):
            return Unknown(varies=True)
        return found

    def _is_changed(self, owner: Instance, name: str) -> bool:
        """Whether a setting is assigned by anything else than the constructor."""
        tampered = self.project.tampered_models if owner.definition.is_module else self.project.tampered
        if name in tampered:
            return True
        return any(id(node) not in self.built_by for node in owner.definition.assigning.get(name, ()))

    def opaque(self, values: Sequence[Value], node: ast.AST) -> Value:
        if not any(True for each in values for _ in self.origins(each)):
            return blurred(values)
        return self.emit(Kind.OPAQUE, "opaque", values, place=self.place(node))

    def join_traced(self, values: Sequence[Value]) -> Value:
        return self.emit(Kind.JOIN, "join", values, place=None)

    def zero(self, values: tuple[Value, ...], node: ast.AST) -> Value:
        traced = any(isinstance(each, TensorRef) for each in values)
        return self.emit(Kind.CONSTANT, "zero", (), place=None) if traced else Constant(0.0)

    def arithmetic(self, name: str, values: tuple[Value, ...], node: ast.AST) -> Value:
        tensors = [each for each in values if isinstance(each, (TensorRef, Weight))]
        if not tensors:
            return self.opaque(values, node)
        scalar = len(tensors) == 1 and all(isinstance(each, (TensorRef, Weight, Constant)) for each in values)
        kind = Kind.SCALE if name == "neg" else kind_of(name, scalar)
        return self.emit(kind, name, values, place=self.place(node))

    def item(self, owner: Value, key: Value, node: ast.AST) -> Value:
        if isinstance(owner, TensorRef):
            return self.emit(Kind.RESHAPE, "getitem", (owner, key), place=self.place(node))
        return super().item(owner, key, node)

    def written(self, owner: Value, key: Value, value: Value, target: ast.Subscript) -> Value:
        if not isinstance(owner, TensorRef):
            return super().written(owner, key, value, target)
        if _is_everything(target.slice):
            return self.emit(Kind.IDENTITY, "copy", (value,), place=self.place(target))
        return self.emit(Kind.CONCAT, SETITEM, (owner, key, value), place=self.place(target))

    def attribute(self, owner: Value, name: str) -> Value:
        if isinstance(owner, (TensorRef, Weight)):
            if name in METADATA:
                return Unknown(varies=True)
            kind = kind_of(SOURCE_ALIASES[name]) if name in SOURCE_ALIASES else Kind.OPAQUE
            return self.emit(kind, SOURCE_ALIASES.get(name, name), (owner,), place=None)
        return super().attribute(owner, name)

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        if isinstance(owner, (TensorRef, Weight)):
            if name in METADATA:
                return Unknown(varies=True)
            found = self._function(name, (owner, *args), kwargs, node)
            return found if found is not None else self.opaque((owner, *args, *kwargs.values()), node)
        return super().method(owner, name, args, kwargs, node)

    def call_external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        package, _, function = name.rpartition(".")
        found = self._function(function, args, kwargs, node) if function in FOREIGN.get(package, ()) else None
        return found if found is not None else super().call_external(name, args, kwargs, node)

    def call_torch(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        package, _, function = name.rpartition(".")
        if name in EAGER_ONLY:
            return Constant(False)
        if name == "torch.manual_seed":
            self.seeded = True
        return self._function(function, args, kwargs, node) if package in _TORCH else None

    def _function(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """A torch function or tensor method; None for one that is not known."""
        function = SOURCE_ALIASES.get(name.strip("_"), name.strip("_"))
        if function in DROPPING:
            return self._dropping(function, args, kwargs, node)
        values = (*args, *kwargs.values())
        if is_random(function):
            in_loss = any("loss" in each.name.lower() for each in self.frames)
            given = kwargs.get("generator", Constant(None)) != Constant(None)
            certain = not (self.doubts or self.seeded or given or in_loss)
            return self.emit(Kind.RANDOM, function, values, place=self.place(node), active=True if certain else None)
        if function in FACTORIES:
            return self.emit(Kind.CONSTANT, function, (), place=self.place(node))
        tensors = [each for each in values if isinstance(each, (TensorRef, Weight, Items))]
        scalar = len(tensors) == 1 and all(isinstance(each, (TensorRef, Weight, Constant)) for each in args)
        what = doing(function, args, kwargs, scalar)
        if what.kind is Kind.OTHER and not tensors:
            return None
        active: bool | None = False
        if what.kind is Kind.BATCH_NORM:
            active = truth(argument(args, kwargs, *BATCH_NORM_TRAINING))
        return self.emit(what.kind, function, values, place=self.place(node), window=what.window, active=active)

    def _dropping(self, function: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        how = DROPPING[function]
        rate = argument(args, kwargs, *how.rate)
        given = how.switch(kwargs)
        switch = Constant(True) if given is None else argument(args, kwargs, *given)
        values = tuple([side(each, self.mode) for each in (*args, *kwargs.values())])
        return self.drop(function, rate, switch, values, self.place(node))

    def drop(
        self,
        function: str,
        rate: Value,
        switch: Value,
        values: Sequence[Value],
        place: Place | None,
        layer: LayerValue | None = None,
    ) -> Value:
        """Add a dropping op."""
        certain = not any(self.doubts)
        mine, other = (
            dropping(Rate.of(side(rate, mode)), side(switch, mode), certain) for mode in (self.mode, self.sight.other)
        )
        return self.emit(
            kind_of(function),
            function,
            values,
            place=place,
            layer=layer,
            drops=DROPPING[function].drops,
            learned=function == "multi_head_attention_forward",
            **mine,
            other=other if other != mine else None,
        )

    def call_module(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        return self._run_module(module, args, kwargs, node, self.place(node))

    def _run_module(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr, place: Place | None) -> Value:
        if isinstance(module, LayerValue):
            return self._layer(module, args, kwargs, place)
        if isinstance(module, Container):
            return self._container(module, args, node)
        assert isinstance(module, Instance)
        forward = module.definition.method("forward")
        if forward is None:
            if module.base is not None:
                return self._run_module(module.base, args, kwargs, node, place)
            return self.emit(Kind.OPAQUE, "opaque", (*args, *kwargs.values()), place=place, learned=True)
        forward.instance = module
        self.running.append(self.path(module))
        try:
            return self.forwarded(module, forward, args, kwargs, node)
        finally:
            self.running.pop()

    def _container(self, container: Container, args: Args, node: ast.expr) -> Value:
        if container.name != "Sequential" or not args:
            return self.opaque(args, node)
        value = args[0]
        for each in container.entries.values():
            value = self._element(each, value, node)
        return value

    def _element(self, element: Value, value: Value, node: ast.expr) -> Value:
        """An element of a `Sequential`: its ops stand where the element was built."""
        if isinstance(element, Several):
            return self._element(element.item, value, node)
        if isinstance(element, Maybe):
            inside = value
            for each in element.items:
                inside = self._element(each, inside, node)
            return self.join([value, inside])
        if isinstance(element, Either):
            return self.join([self._element(each, value, node) for each in element.options if each != Constant(None)])
        if isinstance(element, Module):
            return self._run_module(element, (value,), {}, node, element.place)
        return self.call(element, (value,), {}, node)

    def _layer(self, layer: LayerValue, args: Args, kwargs: Kwargs, place: Place | None) -> Value:
        row = layer_named(layer.name)
        function, values = row.function, (*args, *kwargs.values())
        if function in DROPPING:
            assert row.rate is not None
            return self.drop(function, layer.argument(*row.rate), self.training(layer), values, place, layer)
        what = layer_doing(layer)
        depth, between = stacking(layer)
        switch = self.training(layer) if what.kind is Kind.BATCH_NORM or between else Constant(True)
        mine, other = (layer_acts(layer, what.kind, side(switch, mode)) for mode in (self.mode, self.sight.other))
        active = None if self.doubts and what.kind is Kind.RANDOM else mine
        return self.emit(
            what.kind,
            function or layer.name,
            values,
            place=place,
            layer=layer,
            rate=between,
            active=active,
            learned=learns(what.kind),
            window=what.window,
            depth=depth,
            tracks=what.kind is not Kind.BATCH_NORM or tracks(layer) is not False,
            other={"active": other} if other is not mine else None,
        )


def _is_everything(index: ast.expr) -> bool:
    """Whether an index, `[:]` or `[...]`, leaves nothing out."""
    if isinstance(index, ast.Tuple):
        return all(map(_is_everything, index.elts))
    if isinstance(index, ast.Slice):
        return index.lower is None and index.upper is None and index.step is None
    return isinstance(index, ast.Constant) and index.value is ...
