"""Resolves calls: enters functions of the scanned files, constructs their classes, computes a few builtins."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial

from regcheck.files.place import Place
from regcheck.static.project.names import Definition
from regcheck.torch_api.layers import CONTAINERS
from regcheck.torch_api.number_draws import GENERATORS

from .config_defaults import configuration
from .constant_folding import BUILTINS, MATH, METHODS
from .domain import Args, Kwargs
from .part import Part
from .setting_apis import SAVING_PARAMETERS
from .state import DEEPEST, OUTER, STEP_SHARES, Frame, Next, TooLong
from .values import (
    ANY_ITEMS,
    FIXED,
    NONE,
    OPEN,
    VARYING,
    Bound,
    Cells,
    Configuration,
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
    Namespace,
    OptionParser,
    ParameterOf,
    Parameters,
    Partial,
    Setting,
    Several,
    Super,
    Unknown,
    UnknownObject,
    Value,
    Weight,
    argument,
    as_default,
    by_default,
    computed_from,
    element,
    is_mode_setter,
    modules_in,
    options_of,
    tick,
    truth,
)

_TRANSPARENT = frozenset(
    "torch.compile torch.jit.script torch.nn.DataParallel torch.nn.parallel.DataParallel torch.jit.ignore"
    " torch.nn.parallel.DistributedDataParallel torch.nn.SyncBatchNorm.convert_sync_batchnorm copy.copy"
    " torch.nn.utils.spectral_norm torch.nn.utils.weight_norm torch.nn.utils.parametrizations.spectral_norm"
    " torch.nn.utils.parametrizations.weight_norm torch.jit.export copy.deepcopy".split()
)
"""Functions and classes that return their first argument, or a wrapper or copy of it."""
_UNDECIDED = frozenset("isinstance issubclass hasattr callable type any all print id repr".split())
_MODE_METHODS = frozenset(("torch.nn.train", "torch.nn.eval"))
"""The canonical names of `nn.Module.train` and `nn.Module.eval`."""
_OPTIMIZER_INIT = "torch.optim.__init__"
"""The canonical name of the constructor of any class of torch.optim."""
_COLLECTIONS = frozenset("list tuple sorted reversed set".split())
SELF_RETURNING = frozenset(
    "to cuda cpu half float double bfloat16 type requires_grad_ apply share_memory to_empty compile xpu ipu".split()
)
_REGISTERING = frozenset("add_module register_module register_parameter register_buffer".split())


class Calls(Part):
    """The call resolver."""

    def call(self, callee: Value, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """`callee(…)`."""
        callee = by_default(callee)
        if isinstance(callee, Function):
            return self.call_function(callee, args, kwargs, node)
        if isinstance(callee, External):
            return self._external(callee.name, args, kwargs, node)
        if isinstance(callee, Definition):
            return self.construct(callee, args, kwargs, node)
        if isinstance(callee, Partial):
            return self.call(callee.callee, (*callee.args, *args), {**callee.kwargs, **kwargs}, node)
        if isinstance(callee, Bound):
            return self.method(callee.receiver, callee.name, args, kwargs, node)
        if isinstance(callee, Instance) and not callee.definition.is_module:
            return self.method(callee, "__call__", args, kwargs, node)
        if isinstance(callee, Module):
            return self.domain.run_module(callee, args, kwargs, node)
        if isinstance(callee, Either):
            makers = [partial(self.call, each, args, kwargs, node) for each in options_of(callee)]
            return self.evaluator.alternatives(makers, doubt=False) if makers else FIXED
        return self.domain.opaque((callee, *args, *kwargs.values()), node)

    def call_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        """Enters a function; one that takes more than its share of the steps is opaque."""
        state = self.state
        depth = len(state.frames)
        if depth >= len(STEP_SHARES):
            return self._enter(function, args, kwargs, node)
        limit, mark, since = state.limit, len(state.trail), tick()
        state.limit = min(limit, state.steps + STEP_SHARES[depth])
        try:
            return self._enter(function, args, kwargs, node)
        except TooLong:
            if state.steps > limit:
                raise
            state.cuts += 1
            state.undo(mark, since)
            return self.domain.opaque((*args, *kwargs.values()), node)
        finally:
            state.limit = limit

    def _enter(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        state, definition = self.state, function.node
        frames, doubts = state.frames, state.doubts
        state.deepest = max(state.deepest, len(frames))
        if len(frames) > DEEPEST:
            state.cuts += 1
            return self.domain.opaque((*args, *kwargs.values()), node)
        if len([True for each in frames if each.function is not None and each.function.node is definition]) > 1:
            return self.domain.opaque((*args, *kwargs.values()), node)
        state.entered.add(id(definition))
        bound = (function.instance, *args) if function.instance is not None else args
        frame, outer_doubts = (
            Frame(function, function.source, Cells({OUTER: function.outer}), function.name),
            len(doubts),
        )
        frames.append(frame)
        try:
            self._bind(function, bound, kwargs)
            if isinstance(definition, ast.Lambda):
                return self.evaluator.evaluate(definition.body)
            end = self.statements.run(definition.body)
            if end is Next.GO:
                self.domain.leave_function(definition.body[-1])
                if not frame.returns:
                    return self.domain.function_result((NONE,))
            return self.domain.function_result(frame.returns) if frame.returns else FIXED
        finally:
            frames.pop()
            del doubts[outer_doubts:]

    def _bind(self, function: Function, args: Args, kwargs: Kwargs) -> None:
        """Gives a function's parameters their values in the current frame."""
        spec, cells = function.node.args, self.state.frame.locals
        names = [each.arg for each in (*spec.posonlyargs, *spec.args)]
        first_default = len(names) - len(spec.defaults)
        others = dict(kwargs)
        for index, name in enumerate(names):
            default = spec.defaults[index - first_default] if index >= first_default else None
            cells[name] = self._parameter(function, args, others, index, name, default)
            others.pop(name, None)
        for each, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            cells[each.arg] = self._parameter(function, (), others, 0, each.arg, default)
            others.pop(each.arg, None)
        if spec.vararg:
            cells[spec.vararg.arg] = Items.of(tuple(args[len(names) :]), mutable=False)
        if spec.kwarg:
            cells[spec.kwarg.arg] = Entries.of(others)

    def _parameter(
        self, function: Function, args: Args, kwargs: Kwargs, index: int, name: str, default: ast.expr | None
    ) -> Value:
        """A parameter's value; if it is not known, the configuration that its function expects."""
        value = kwargs.get(name)
        if value is None:
            value = _positional(args, index)
        if value is None and default is not None and OPEN not in kwargs:
            frame = Frame(None, function.source, Cells({OUTER: function.outer}), function.name)
            value = self.attributes.constant(default, frame)
            if function.name.endswith("__init__"):
                value = as_default(value)
        if value is None:
            value = VARYING if OPEN in kwargs else FIXED
        if not isinstance(value, Unknown) or value.varies or isinstance(function.node, ast.Lambda):
            return value
        if type(value) not in (Unknown, UnknownObject):
            return value
        declared = self.options.of_decorators(function, name)
        if declared is not None:
            return declared
        key, configurations = (id(function.node), name), self.state.project.configurations
        if key not in configurations:
            configurations[key] = configuration(self.state.project, function, name)
        return configurations[key] or value

    def construct(self, definition: Definition, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        """Creates an object of a scanned class; an optimizer that inherits torch's step is one of torch's."""
        instance = Instance(self.state.place(node), definition=definition)
        self.state.created.append(instance)
        self.initialize(instance, args, kwargs, node)
        if instance.optimizer_arguments is not None and isinstance(node, ast.expr):
            return self._external(definition.optimizer_base, *instance.optimizer_arguments, node)
        return instance

    def initialize(self, instance: Instance, args: Args, kwargs: Kwargs, node: ast.AST) -> None:
        """Runs an object's `__init__`; of a torch class or a dataclass, sets what its own would set."""
        definition = instance.definition
        method = definition.method("__init__")
        if method is not None:
            method.instance = instance
            self.call_function(method, args, kwargs, node)
        elif definition.optimizer_base:
            instance.optimizer_arguments = args, kwargs
        elif definition.torch_base not in ("", "Module"):
            instance.base = self._layer(definition.torch_base, args, kwargs, node, instance.place)
        elif not definition.is_module:
            fields = {name: (each, default) for each in reversed(definition.mro) for name, default in each.fields}
            for index, (name, (owner, default)) in enumerate(fields.items()):
                value = argument(args, kwargs, index, name, ...)
                if value == Constant(...):
                    frame = Frame(None, owner.source, Cells(), owner.name)
                    value = FIXED if default is None else as_default(self.attributes.constant(default, frame))
                self.state.set(instance.cells, name, value)
            for name in [name for name in kwargs if name not in fields and name != OPEN]:
                self.state.set(instance.cells, name, kwargs[name])
            settle = definition.method("__post_init__") or definition.method("__attrs_post_init__")
            if settle is not None:
                settle.instance = instance
                self.call_function(settle, (), {}, node)

    def _layer(
        self, name: str, args: Args, kwargs: Kwargs, node: ast.AST, place: Place | None
    ) -> Container | LayerValue:
        """Creates a layer or a container of torch.nn."""
        if name in CONTAINERS:
            container = Container(place, name=name)
            self.state.created.append(container)
            self.containers.fill(container, args)
            return container
        layer = LayerValue(
            place, name=name, args=args, kwargs=dict(kwargs), call=node if isinstance(node, ast.Call) else None
        )
        self.state.created.append(layer)
        return layer

    def _external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """A call of a function or class that the scanned files do not define."""
        result = self.domain.external(name, args, kwargs, node)
        if result is None:
            result = self.options.external(name, args, kwargs, node)
        if result is not None:
            return result
        package, _, last = name.rpartition(".")
        if name == _OPTIMIZER_INIT and args and isinstance(args[0], Instance) and args[0].definition.optimizer_base:
            args[0].optimizer_arguments = args[1:], kwargs
            return NONE
        if name in _MODE_METHODS and args and isinstance(args[0], Module):
            return self.module_method(args[0], last, args[1:], kwargs, node)
        if name in GENERATORS:
            return External(GENERATORS[name])
        if package == "torch.nn" and last[:1].isupper() and name not in _TRANSPARENT:
            if last == "Parameter":
                return Weight(False if argument(args, kwargs, 1, "requires_grad") == Constant(False) else None)
            return self._layer(last, args, kwargs, node, self.state.place(node))
        if name in _TRANSPARENT and args:
            return self.domain.copy_of(args[0]) if package == "copy" else args[0]
        if name == "functools.partial" and args:
            return Partial(args[0], args[1:], kwargs)
        if name == "collections.OrderedDict":
            return self.containers.dictionary(args, kwargs)
        if name in ("torch.utils.checkpoint.checkpoint", "torch.jit.checkpoint") and args:
            return self.call(args[0], args[1:], {}, node)
        if name.startswith("torch."):
            result = self.domain.torch_function(name, args, kwargs, node)
            if result is not None:
                return result
        if package == "math" and last in MATH:
            return self._compute(MATH[last], args, node)
        if package == "math" and last in ("pi", "inf"):
            return FIXED
        if package == "builtins":
            return self._builtin(last, args, kwargs, node)
        return self.domain.opaque((*args, *kwargs.values()), node)

    def _compute(self, compute: Callable[..., object], args: Args, node: ast.AST) -> Value:
        constants = [each.value for each in map(by_default, args) if isinstance(each, Constant)]
        if args and len(constants) == len(args):
            return computed_from(args, self.state.compute(compute, *constants))
        return self.domain.opaque(args, node)

    def _builtin(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        containers = self.containers
        if name in BUILTINS:
            return self._compute(BUILTINS[name], args, node)
        if name in _COLLECTIONS:
            items = containers.limited(containers.items_of(args[0])) if args else ()
            return Items.of(items[::-1] if name == "reversed" else items, mutable=name != "tuple")
        if name == "range":
            bounds = [each.value for each in args if isinstance(each, Constant) and isinstance(each.value, int)]
            return self.state.compute(range, *bounds) if len(bounds) == len(args) else Items.of(ANY_ITEMS)
        if name == "enumerate" and args:
            return containers.enumerate_items(containers.limited(containers.items_of(args[0])))
        if name == "zip" and args:
            return containers.zipped(args)
        if name == "map" and len(args) == 2 and _is_short(args[0]):
            return self._map(args[0], args[1], node)
        if name == "dict":
            return containers.dictionary(args, kwargs)
        if name == "len" and args:
            measured = args[0]
            is_exact = measured.exact if isinstance(measured, Items) else isinstance(measured, Container)
            if isinstance(measured, Items) and self.state.changes_in_loop(measured.cells):
                return VARYING  # it may grow at each pass
            return Constant(len(containers.items_of(measured))) if is_exact else VARYING
        if name == "getattr" and len(args) > 1:
            return self._getattr(args, kwargs, node)
        if name == "setattr" and len(args) == 3 and isinstance(args[0], (Instance, Namespace)):
            cells = args[0].cells
            if isinstance(args[1], Constant):
                self.state.set(cells, str(args[1].value), args[2])
            elif any(modules_in(args[2])):
                self.state.set(cells, f"*{len(cells)}", args[2])
            else:
                self.options.forget(cells)
            return NONE
        if name in _UNDECIDED:
            return FIXED
        return self.domain.opaque((*args, *kwargs.values()), node)

    def _map(self, function: Value, over: Value, node: ast.expr) -> Value:
        """`map(function, over)`, as a list comprehension."""
        items: list[Value] = []
        for each in self.containers.limited(self.containers.items_of(over)):
            result = self.call(function, (element(each),), {}, node)
            items.append(result if element(each) is each else Several(result))
        return Items.of(tuple(items))

    def _getattr(self, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """`getattr(owner, name[, default])`."""
        owner, name = args[0], by_default(args[1])
        if not isinstance(name, Constant) or not isinstance(name.value, str):
            return self.domain.opaque((*args, *kwargs.values()), node)
        value = self.attributes.attribute(owner, name.value)
        if isinstance(value, Setting) or (value == Bound(owner, name.value) and isinstance(owner, Namespace)):
            return value if isinstance(value, Setting) or len(args) < 3 else args[2]
        if len(args) == 3 and not (isinstance(owner, Configuration) and name.value in owner.settings):
            setting = self.containers.setting_of(owner, name, args[2], node)
            if setting is not None:
                return setting
        if (isinstance(value, UnknownObject) and len(args) == 2) or is_mode_setter(value):
            return value
        if isinstance(value, (Bound, Unknown)):
            return Unknown(varies=len(args) > 2)
        return computed_from(args[1:2], value)

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """`owner.name(…)`."""
        result = self.domain.method(owner, name, args, kwargs, node)
        if result is not None:
            return result
        if isinstance(owner, Either) and any(isinstance(each, (Module, Items, Entries)) for each in owner.options):
            makers = [partial(self.method, each, name, args, kwargs, node) for each in options_of(owner)]
            return self.evaluator.alternatives(makers, doubt=False)
        if isinstance(owner, ParameterOf) and owner.owner is not None and name == "requires_grad_":
            self.state.set_requires_grad(owner.owner, truth(argument(args, kwargs, 0, "requires_grad", True)))
            return owner
        if isinstance(owner, Super):
            return self._super_method(owner, name, args, kwargs, node)
        if isinstance(owner, Instance):
            member = self.attributes.attribute(owner, name)
            if not isinstance(member, Bound):
                return self.call(member, args, kwargs, node)
        if isinstance(owner, Module):
            return self.module_method(owner, name, args, kwargs, node)
        if isinstance(owner, Items):
            return self.containers.list_method(owner, name, args, node)
        if isinstance(owner, OptionParser):
            return self.options.method(owner, name, args, kwargs, node)
        if isinstance(owner, Entries):
            return self.containers.dict_method(owner, name, args, kwargs, node)
        if isinstance(owner, (External, Definition)):
            return self.call(self.attributes.attribute(owner, name), args, kwargs, node)
        default = by_default(owner)
        if isinstance(default, Constant) and (type(default.value), name) in METHODS and not kwargs:
            return self._compute(METHODS[type(default.value), name], (owner, *args), node)
        setting = self.containers.setting_of(owner, *args, node) if name == "get" and len(args) == 2 else None
        return setting or self.domain.opaque((owner, *args, *kwargs.values()), node)

    def super_object(self, node: ast.Call) -> Value:
        """`super()`."""
        frames = reversed(self.state.frames)
        function = next((each.function for each in frames if each.function and each.function.owner), None)
        if function is None or function.owner is None or function.instance is None:
            return FIXED
        named = self.evaluator.evaluate(node.args[0]) if node.args else None
        return Super(function.instance, named if isinstance(named, Definition) else function.owner)

    def _super_method(self, owner: Super, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        instance = owner.instance
        member = self.attributes.attribute(owner, name)
        if isinstance(member, Function):
            return self.call_function(member, args, kwargs, node)
        if not isinstance(instance, Instance):
            return FIXED
        if name == "__init__":
            base = instance.definition.torch_base
            if base not in ("", "Module") and instance.base is None:
                instance.base = self._layer(base, args, kwargs, node, instance.place)
            elif instance.definition.optimizer_base:
                instance.optimizer_arguments = args, kwargs
            return NONE
        if name in ("forward", "__call__") and instance.base is not None:
            return self.domain.run_module(instance.base, args, kwargs, node)
        return self.module_method(instance, name, args, kwargs, node)

    def module_method(self, module: Module, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """A method that every `nn.Module` has."""
        result = self.domain.module_method(module, name, args, kwargs, node)
        if result is not None:
            return result
        if name in ("train", "eval"):
            mode = truth(Constant(False) if name == "eval" else argument(args, kwargs, 0, "mode", True))
            self.domain.set_training(module, VARYING if mode is None else Constant(mode), node)
            return module
        if name == "requires_grad_":
            self.state.set_requires_grad(module, truth(argument(args, kwargs, 0, "requires_grad", True)))
        if name in SELF_RETURNING:
            return module
        if name == "parameters" and not (args or kwargs):
            return Parameters(True, owner=module)
        if name in ("forward", "__call__"):
            return self.domain.run_module(module, args, kwargs, node)
        if name == SAVING_PARAMETERS:
            self.state.set(module.cells, "hparams", self.options.saved_parameters(module, args))
            return NONE
        target = module.base if isinstance(module, Instance) and isinstance(module.base, Container) else module
        if isinstance(target, Container):
            result = self.containers.container_method(target, name, args)
            if result is not None:
                return result
        if name in _REGISTERING and len(args) > 1:
            value = {"register_parameter": Weight(), "register_buffer": VARYING}.get(name, args[1])
            cells = target.entries if isinstance(target, Container) else module.cells
            key = str(args[0].value) if isinstance(args[0], Constant) else f"*{len(cells)}"
            self.state.set(cells, key, value if args[1] != NONE else args[1])
            return NONE
        return self.domain.opaque((module, *args, *kwargs.values()), node)


def _is_short(function: Value) -> bool:
    """Whether a function is one call of a model, or one expression: others may take all steps if `map` calls them."""
    is_lambda = isinstance(function, Function) and isinstance(function.node, ast.Lambda)
    return is_lambda or (isinstance(function, Module) and function.is_module)


def _positional(args: Args, index: int) -> Value | None:
    """The argument at a position; None if there are fewer."""
    for position, each in enumerate(args[: index + 1]):
        if type(each) is Several:
            return each.item
        if type(each) is Maybe:
            return VARYING
        if position == index:
            return each
    return None
