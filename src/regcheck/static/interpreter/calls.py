"""Calling things: functions of the scanned files are entered, their classes built, and a few builtins computed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from regcheck.files.place import Place
from regcheck.static.project.names import Definition
from regcheck.torch_api.layers import CONTAINERS

from .config_defaults import configuration
from .constant_folding import BUILTINS, MATH, METHODS
from .containers import Sequences, paired
from .state import OUTER, Frame, Next, TooLong
from .values import (
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
    Maybe,
    Module,
    Partial,
    Several,
    Super,
    Unknown,
    UnknownSetting,
    Value,
    Weight,
    argument,
    fallen_back_on,
    looked_up,
    now,
    truth,
)

Args = tuple[Value, ...]
Kwargs = Mapping[str, Value]

DEEPEST = 40
SHARES = (100_000, 100_000, 30_000, 10_000)
_TRANSPARENT = frozenset(
    "torch.compile torch.jit.script torch.nn.DataParallel torch.nn.parallel.DataParallel torch.jit.ignore"
    " torch.nn.parallel.DistributedDataParallel torch.nn.SyncBatchNorm.convert_sync_batchnorm copy.copy"
    " torch.nn.utils.spectral_norm torch.nn.utils.weight_norm torch.nn.utils.parametrizations.spectral_norm"
    " torch.nn.utils.parametrizations.weight_norm torch.jit.export copy.deepcopy".split()
)
SELF_RETURNING = frozenset(
    "to cuda cpu half float double bfloat16 type requires_grad_ apply share_memory to_empty compile xpu ipu".split()
)


class Calls(Sequences):
    """The evaluator of calls."""

    def _eval_call(self, node: ast.Call) -> Value:
        if isinstance(node.func, ast.Attribute):
            owner = self.evaluate(node.func.value)
            args, kwargs = self.given(node)
            return self.method(owner, node.func.attr, args, kwargs, node)
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            return self._super(node)
        callee = self.evaluate(node.func)
        args, kwargs = self.given(node)
        return self.call(callee, args, kwargs, node)

    def _super(self, node: ast.Call) -> Value:
        function = next(
            (each.function for each in reversed(self.frames) if each.function and each.function.owner), None
        )
        if function is None or function.owner is None or function.instance is None:
            return Unknown()
        after: Value = function.owner
        if node.args:
            named = self.evaluate(node.args[0])
            after = named if isinstance(named, Definition) else after
        return Super(function.instance, after) if isinstance(after, Definition) else Unknown()

    def call(self, callee: Value, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        if isinstance(callee, Function):
            return self.call_function(callee, args, kwargs, node)
        if isinstance(callee, External):
            return self.call_external(callee.name, args, kwargs, node)
        if isinstance(callee, Definition):
            return self.construct(callee, args, kwargs, node)
        if isinstance(callee, Partial):
            return self.call(callee.callee, (*callee.args, *args), {**callee.kwargs, **kwargs}, node)
        if isinstance(callee, Bound):
            return self.method(callee.receiver, callee.name, args, kwargs, node)
        if isinstance(callee, Instance) and not callee.definition.is_module:
            return self.method(callee, "__call__", args, kwargs, node)
        if isinstance(callee, Module):
            return self.call_module(callee, args, kwargs, node)
        if isinstance(callee, Either):
            options = [each for each in callee.options if each != Constant(None)]

            def option(each: Value) -> Callable[[], Value]:
                return lambda: self.call(each, args, kwargs, node)

            return self.alternatives([option(each) for each in options], doubt=False) if options else Unknown()
        return self.opaque((callee, *args, *kwargs.values()), node)

    def call_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        """Enter a function; one that takes more than its share of the steps is opaque after all."""
        if len(self.frames) >= len(SHARES):
            return self._enter_function(function, args, kwargs, node)
        limit, mark, since = self.limit, len(self.log), now()
        self.limit = min(limit, self.steps + SHARES[len(self.frames)])
        try:
            return self._enter_function(function, args, kwargs, node)
        except TooLong:
            if self.steps > limit:
                raise
            self.cuts += 1
            self.undo(mark, since)
            return self.opaque((*args, *kwargs.values()), node)
        finally:
            self.limit = limit

    def _enter_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        running = sum(each.function is not None and each.function.node is function.node for each in self.frames)
        if running > 1 or len(self.frames) > DEEPEST:
            return self.opaque((*args, *kwargs.values()), node)
        self.ran.add(id(function.node))
        bound = (function.instance, *args) if function.instance is not None else args
        with self.entered(Frame(function, function.source, Cells({OUTER: function.outer}), function.name)) as frame:
            self.bind(function, bound, kwargs)
            if isinstance(function.node, ast.Lambda):
                return self.evaluate(function.node.body)
            end = self.run(function.node.body)
            returned = [*frame.returns, *([Constant(None)] if end is Next.GO and not frame.returns else [])]
            return self.returned(returned) if returned else Unknown()

    def returned(self, values: Sequence[Value]) -> Value:
        """What a function gives that returns one of these values."""
        return self.join(values)

    def bind(self, function: Function, args: Args, kwargs: Kwargs) -> None:
        """Give a function's parameters their values in the current frame."""
        spec, cells = function.node.args, self.frame.locals
        named = [each.arg for each in (*spec.posonlyargs, *spec.args)]
        first_default = len(named) - len(spec.defaults)
        rest = dict(kwargs)
        for index, name in enumerate(named):
            default = spec.defaults[index - first_default] if index >= first_default else None
            cells[name] = self._told(function, name, self._parameter(args, rest, index, name, default, function))
            rest.pop(name, None)
        for name_node, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            value = self._parameter((), rest, 0, name_node.arg, default, function)
            cells[name_node.arg] = self._told(function, name_node.arg, value)
            rest.pop(name_node.arg, None)
        if spec.vararg:
            cells[spec.vararg.arg] = Items.of(tuple(args[len(named) :]), mutable=False)
        if spec.kwarg:
            cells[spec.kwarg.arg] = Entries.of(rest)

    def _told(self, function: Function, name: str, value: Value) -> Value:
        """A parameter's value; of one that is not known, what its class says of it."""
        if type(value) is not Unknown or value.varies or isinstance(function.node, ast.Lambda):
            return value
        key = id(function.node), name
        if key not in self.project.configurations:
            self.project.configurations[key] = configuration(self.project, function, name)
        return self.project.configurations[key] or value

    def _parameter(
        self, args: Args, kwargs: Kwargs, index: int, name: str, default: ast.expr | None, function: Function
    ) -> Value:
        if name in kwargs:
            return kwargs[name]
        for position, each in enumerate(args[: index + 1]):
            if type(each) is Several:
                return each.item
            if type(each) is Maybe:
                return Unknown(varies=True)
            if position == index:
                return each
        if OPEN in kwargs:
            return Unknown(varies=True)
        if default is None:
            return Unknown()
        value = self.constant(default, Frame(None, function.source, Cells({OUTER: function.outer}), function.name))
        return fallen_back_on(value) if function.name.endswith("__init__") else value

    def construct(self, definition: Definition, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        """Build an object of a scanned class by entering its `__init__`."""
        instance = Instance(self.place(node), definition=definition)
        self.made.append(instance)
        self.initialize(instance, args, kwargs, node)
        return instance

    def initialize(self, instance: Instance, args: Args, kwargs: Kwargs, node: ast.AST) -> None:
        """Run an object's `__init__` with these arguments."""
        definition = instance.definition
        method = definition.method("__init__")
        if method is not None:
            method.instance = instance
            self.call_function(method, args, kwargs, node)
        elif definition.torch_base not in ("", "Module"):
            instance.base = self.layer(definition.torch_base, args, kwargs, instance.place)
        elif not definition.is_module:
            for index, (name, default) in enumerate(definition.fields):
                frame = Frame(None, definition.source, Cells(), definition.name)
                fallback = Unknown() if default is None else fallen_back_on(self.constant(default, frame))
                given = argument(args, kwargs, index, name, ...)
                self.set(instance.cells, name, fallback if given == Constant(...) else given)

    def layer(self, name: str, args: Args, kwargs: Kwargs, place: Place | None) -> Container | LayerValue:
        """A layer or a container of torch.nn."""
        if name in CONTAINERS:
            container = Container(place, name=name)
            self.made.append(container)
            self.fill(container, args)
            return container
        layer = LayerValue(place, name=name, args=args, kwargs=dict(kwargs))
        self.made.append(layer)
        return layer

    def call_external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """What a function or class that is not in the scanned files gives."""
        package, _, last = name.rpartition(".")
        if package == "torch.nn" and last[:1].isupper() and name not in _TRANSPARENT:
            return Weight() if last == "Parameter" else self.layer(last, args, kwargs, self.place(node))
        if name in _TRANSPARENT and args:
            return self.copied(args[0]) if name.startswith("copy.") else args[0]
        if name == "functools.partial" and args:
            return Partial(args[0], args[1:], kwargs)
        if name == "collections.OrderedDict":
            return self.dictionary(args, kwargs)
        if name in ("torch.utils.checkpoint.checkpoint", "torch.jit.checkpoint") and args:
            return self.call(args[0], args[1:], {}, node)
        if name.startswith("torch."):
            found = self.call_torch(name, args, kwargs, node)
            if found is not None:
                return found
        if package == "math" and last in MATH:
            return self._computed(MATH[last], args, node)
        if package == "math" and last in ("pi", "inf"):
            return Unknown()
        if package == "builtins":
            return self._builtin(last, args, kwargs, node)
        return self.opaque((*args, *kwargs.values()), node)

    def copied(self, value: Value) -> Value:
        """A copy of a module, with a mode of its own."""
        return value

    def _computed(self, compute: Callable[..., object], args: Args, node: ast.AST) -> Value:
        if args and all(isinstance(each, Constant) for each in args):
            return self.computed(compute, *(each.value for each in args if isinstance(each, Constant)))
        return self.opaque(args, node)

    def _builtin(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        if name in BUILTINS:
            return self._computed(BUILTINS[name], args, node)
        if name in ("list", "tuple", "sorted", "reversed", "set"):
            items = self.bounded(self.iterated(args[0])) if args else ()
            return Items.of(items[::-1] if name == "reversed" else items, mutable=name != "tuple")
        if name == "range":
            if all(isinstance(each, Constant) and isinstance(each.value, int) for each in args):
                return self.computed(range, *(each.value for each in args if isinstance(each, Constant)))
            return Items.of((Several(Unknown(varies=True)),))
        if name == "enumerate" and args:
            items = self.bounded(self.iterated(args[0]))
            self.steps += len(items)
            return Items.of(tuple(paired(index, each) for index, each in enumerate(items)))
        if name == "zip" and args:
            return self.zipped([self.iterated(each) for each in args])
        if name == "dict":
            return self.dictionary(args, kwargs)
        if name == "len" and args:
            known = args[0]
            exact = isinstance(known, Items) and known.exact
            return (
                Constant(len(self.iterated(known))) if exact or isinstance(known, Container) else Unknown(varies=True)
            )
        if name == "getattr" and len(args) > 1 and isinstance(args[1], Constant) and isinstance(args[1].value, str):
            found = self.attribute(args[0], args[1].value)
            setting = looked_up(*args) if len(args) == 3 else None
            if isinstance(found, UnknownSetting) or setting is not None:
                return setting or found
            return Unknown(varies=len(args) > 2) if isinstance(found, (Bound, Unknown)) else found
        if name == "setattr" and len(args) == 3 and isinstance(args[0], Instance) and isinstance(args[1], Constant):
            self.set(args[0].cells, str(args[1].value), args[2])
            return Constant(None)
        if name in ("isinstance", "issubclass", "hasattr", "callable", "type", "any", "all", "print", "id", "repr"):
            return Unknown(varies=False)
        return self.opaque((*args, *kwargs.values()), node)

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """`owner.name(…)`."""
        if isinstance(owner, Either) and any(isinstance(each, (Module, Items, Entries)) for each in owner.options):
            kept = [each for each in owner.options if each != Constant(None)]

            def option(each: Value) -> Callable[[], Value]:
                return lambda: self.method(each, name, args, kwargs, node)

            return self.alternatives([option(each) for each in kept], doubt=False)
        if isinstance(owner, Super):
            return self._super_call(owner, name, args, kwargs, node)
        if isinstance(owner, Instance):
            found = self.attribute(owner, name)
            if not isinstance(found, Bound):
                return self.call(found, args, kwargs, node)
        if isinstance(owner, Module):
            return self.module_method(owner, name, args, kwargs, node)
        if isinstance(owner, Items):
            return self.list_method(owner, name, args, node)
        if isinstance(owner, Entries):
            return self.dict_method(owner, name, args, kwargs, node)
        if isinstance(owner, (External, Definition)):
            return self.call(self.attribute(owner, name), args, kwargs, node)
        if isinstance(owner, Constant) and (type(owner.value), name) in METHODS and not kwargs:
            return self._computed(METHODS[type(owner.value), name], (owner, *args), node)
        setting = looked_up(owner, *args) if name == "get" and len(args) == 2 else None
        return setting or self.opaque((owner, *args, *kwargs.values()), node)

    def _super_call(self, owner: Super, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        instance = owner.instance
        found = self.attribute(owner, name)
        if isinstance(found, Function):
            return self.call_function(found, args, kwargs, node)
        if not isinstance(instance, Instance):
            return Unknown()
        if name == "__init__":
            base = instance.definition.torch_base
            if base not in ("", "Module") and instance.base is None:
                instance.base = self.layer(base, args, kwargs, instance.place)
            return Constant(None)
        if name in ("forward", "__call__") and instance.base is not None:
            return self.call_module(instance.base, args, kwargs, node)
        return self.module_method(instance, name, args, kwargs, node)

    def module_method(self, module: Module, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """A method that every `nn.Module` has."""
        if name in ("train", "eval"):
            mode = Constant(False) if name == "eval" else argument(args, kwargs, 0, "mode", True)
            known = truth(mode)
            self.set_training(module, Unknown(varies=True) if known is None else Constant(known), node)
            return module
        if name in SELF_RETURNING:
            return module
        if name in ("forward", "__call__"):
            return self.call_module(module, args, kwargs, node)
        target = module.base if isinstance(module, Instance) and isinstance(module.base, Container) else module
        if isinstance(target, Container):
            found = self.container_method(target, name, args)
            if found is not None:
                return found
        if name in ("add_module", "register_module", "register_parameter", "register_buffer") and len(args) > 1:
            value = {"register_parameter": Weight(), "register_buffer": Unknown(varies=True)}.get(name, args[1])
            cells = target.entries if isinstance(target, Container) else module.cells
            key = str(args[0].value) if isinstance(args[0], Constant) else f"*{len(cells)}"
            self.set(cells, key, value if args[1] != Constant(None) else args[1])
            return Constant(None)
        return self.opaque((module, *args, *kwargs.values()), node)
