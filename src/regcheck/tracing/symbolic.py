"""Trace without inputs by torch.fx, which continues past every forward that it cannot trace to the end.

Such a module becomes one opaque op. The ops before the stop lead into it, and so do its submodules not reached until
then, each traced on its own: their inputs are unknown, and so is the use of their results.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import fx, nn

from regcheck.core.errors import CannotTrace, message_of, stops
from regcheck.core.graph import Kind, Site
from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.functions import DROPPING, KINDS, LEARNED
from regcheck.torch_api.layers import layer_named

from .call_interceptor import arguments_of, eager, is_placed, name_of
from .record import META, NO_OUTPUT, CallMetadata, Recording
from .running import Locate, ModuleStack, layer_of
from .traced_code import tracer_of
from .user_line import raising_place, runs_the_model


class CannotFollow(CannotTrace):
    """A forward cannot be traced symbolically; `place` is the line that stopped it."""

    def __init__(self, error: BaseException) -> None:
        message = next(iter(message_of(error).strip().splitlines()), type(error).__name__)
        super().__init__(f"without inputs, symbolic tracing stopped: {message}", raising_place(error.__traceback__))


@dataclass(frozen=True)
class SymbolicTrace:
    """A symbolic trace, and the error that stopped it in each opaque module, by path."""

    recording: Recording
    opaque: Mapping[str, CannotFollow]


@runs_the_model
def trace(model: nn.Module, locate: Locate | None = None) -> SymbolicTrace:
    """Trace `model` in its current mode.

    torch.fx writes to the model, and the model may store its proxies: pass a new copy for each trace.

    Raises:
        CannotFollow: no op could be traced.
    """
    tracer = LeafyTracer(model, locate)
    try:
        if isinstance(model, torch.jit.ScriptModule):
            raise NotImplementedError("the calls of a scripted module cannot be traced")
        with eager():
            graph = tracer.trace(model)
    except BaseException as error:
        if stops(error):
            raise
        raise CannotFollow(error) from error
    if "" in tracer.opaque and not any(_matters(node) for node in graph.nodes):
        raise tracer.opaque[""]
    output = next(node for node in graph.nodes if node.op == "output")
    outputs = tuple(_named_nodes(output.args[0], "output"))
    unfollowed = () if outputs or "" in tracer.opaque else (NO_OUTPUT,)
    return SymbolicTrace(Recording(graph, outputs, ran=frozenset(tracer.ran), unfollowed=unfollowed), tracer.opaque)


class LeafyTracer(fx.Tracer):
    """A tracer that adds metadata to nodes, enters dropout layers, and continues past modules it cannot trace."""

    traced_func_name = "modules"  # any plain function will do: `_whole` calls the model itself instead

    def __init__(self, model: nn.Module, locate: Locate | None = None) -> None:
        super().__init__(param_shapes_constant=True)
        self.opaque: dict[str, CannotFollow] = {}
        owned = [*model.named_parameters(), *model.named_buffers()]
        self._shapes = {name: tuple(each.shape) for name, each in owned if not nn.parameter.is_lazy(each)}
        self._parameters = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        self._entered: set[nn.Module] = set()
        self._running = ModuleStack(model, locate)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        return self._whole, []

    def _whole(self) -> Any:
        """The result of calling the model itself, with a proxy for each required argument."""
        result = self._called(self.root, lambda name: self.create_proxy("placeholder", name, (), {}))
        try:
            self.create_arg(result)
        except Exception:  # an output of a type that torch.fx does not know
            return list(_proxies_in(result))
        return result

    def _called(self, module: nn.Module, give: Callable[[str], fx.Proxy]) -> Any:
        positional, keyword = required_arguments(module)
        return module(*map(give, positional), **{name: give(name) for name in keyword})

    @property
    def ran(self) -> set[str]:
        """Paths of the modules that the trace entered."""
        return self._running.ran

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        function = layer_named(layer_of(m)).function
        if (function in DROPPING or (not function and m._modules)) and not isinstance(m, nn.MultiheadAttention):
            return False
        return bool(super().is_leaf_module(m, module_qualified_name))

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self._running.enter(m)
        self._entered.add(m)
        before, depth = len(self.graph.nodes), len(self.module_stack)
        try:
            if m is self.root or not self._is_registered(m):
                return forward(*args, **kwargs)
            return super().call_module(m, forward, args, kwargs)
        except BaseException as error:
            if stops(error) or not self._is_registered(m):
                raise
            while len(self.module_stack) > depth:  # torch.fx does not pop them on an error
                self.module_stack.popitem()
            return self._stopped(m, error, [*_proxies_in((args, kwargs))], before)
        finally:
            self._running.leave(m)

    def _is_registered(self, module: nn.Module) -> bool:
        return self.submodule_paths is not None and module in self.submodule_paths

    def _stopped(self, module: nn.Module, error: BaseException, inputs: list[fx.Proxy], before: int) -> fx.Proxy:
        """The opaque op of a module whose forward cannot be traced to the end."""
        path = self.path_of_module(module)
        self.opaque.setdefault(path, CannotFollow(error))
        loose = [fx.Proxy(node, self) for node in list(self.graph.nodes)[before:] if not node.users]
        parts = [proxy for part in self._parts(module) for proxy in _proxies_in(part)]
        return self.create_proxy("call_module", path, (*inputs, *loose, *parts), {})

    def _parts(self, module: nn.Module) -> Iterator[Any]:
        """The results of the submodules not entered yet, each called on its own."""
        for child in module.children():
            if type(child).forward is nn.Module.forward:  # a container that is never called
                yield from self._parts(child)
            elif child not in self._entered:
                yield self._called(child, lambda name: self.create_proxy("call_function", unseen, (), {}))

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any) -> fx.Node:
        node: fx.Node = super().create_node(kind, target, args, kwargs, *rest, **named)
        if kind != "output":
            node.meta[META] = self._metadata(kind, target, args, kwargs)
        return node

    def _metadata(self, kind: str, target: Any, args: Any, kwargs: Any) -> CallMetadata:
        if kind == "placeholder":
            return CallMetadata(str(target), Site("", str(target)), kind=Kind.INPUT)
        if kind == "get_attr":
            what = Kind.PARAMETER if target in self._parameters else Kind.CONSTANT
            site, shape = Site("", str(target)), self._shapes.get(target)
            return CallMetadata(str(target), site, kind=what, shape=shape, requires_grad=self._parameters.get(target))
        path, layer = self._running.module, self._running.layer
        if target is unseen:
            return CallMetadata("unseen", Site(path, "unseen"), kind=Kind.OPAQUE)
        if kind == "call_module":
            name = "" if str(target) in self.opaque else layer_named(layer).function
            window = any(size > 1 for size in self._kernel(str(target))) or "Adaptive" in layer
            random = KINDS.get(name) is Kind.RANDOM
            shown = Kind.OPAQUE if not name else None
            trained = [each.requires_grad for each in self.root.get_submodule(str(target)).parameters()]
            return CallMetadata(
                name or layer,
                Site(path, name or layer),
                layer,
                shown,
                active=random,
                window=window,
                requires_grad=any(trained) if trained else None,
            )
        name = name_of(target) if not isinstance(target, str) else target.strip("_")
        rate: float | None = None
        active: bool | None = KINDS.get(name) is Kind.RANDOM
        if name in DROPPING:
            rate, active = arguments_of(target, name, args, kwargs)
        site = self._running.site(name) if is_placed(name) else Site(path, name)
        tracer = tracer_of(self._running.innermost, target, name) if active else ""
        return CallMetadata(name, site, layer, None, rate, active, traced_by=tracer)

    def _kernel(self, path: str) -> tuple[int, ...]:
        """The kernel size of a layer as a tuple; 1 for layers without a kernel."""
        kernel = getattr(self.root.get_submodule(path), "kernel_size", 1)
        return tuple(kernel) if isinstance(kernel, (tuple, list)) else (int(kernel),)


def _named_nodes(value: Any, name: str) -> list[tuple[str, fx.Node]]:
    if isinstance(value, fx.Node):
        return [(name, value)]
    if isinstance(value, dict):
        return [pair for key, each in value.items() for pair in _named_nodes(each, str(key))]
    if isinstance(value, (tuple, list)):
        return [pair for index, each in enumerate(value) for pair in _named_nodes(each, f"{name}[{index}]")]
    return []


def _matters(node: fx.Node) -> bool:
    """Whether rules care about a node: a layer, a learned operation, or a random op."""
    seen: CallMetadata | None = node.meta.get(META)
    kind = KINDS.get(seen.name) if seen else None
    return seen is not None and (seen.name in DROPPING or kind is Kind.RANDOM or kind in LEARNED)


def _proxies_in(value: Any, depth: int = 0) -> Iterator[fx.Proxy]:
    """The proxies in a nested structure of arguments or results."""
    if isinstance(value, fx.Proxy):
        yield value
    elif depth < 8:
        inside = value.values() if isinstance(value, Mapping) else value
        if not isinstance(value, (tuple, list, Mapping)):
            inside = vars(value).values() if hasattr(value, "__dict__") and not isinstance(value, nn.Module) else ()
        for each in inside:
            yield from _proxies_in(each, depth + 1)


def unseen() -> None:
    """The target of nodes that stand for unknown arguments."""


def required_arguments(module: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the required arguments of a module's forward, by position and by keyword; at least one."""
    parameters = _parameters_of(module.forward)
    needed = [each for each in parameters if each.default is each.empty and each.kind not in _VARIADIC]
    positional = [each.name for each in needed if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    keyword = [each.name for each in needed if each.kind is inspect.Parameter.KEYWORD_ONLY]
    if needed or not parameters:
        return positional, keyword
    first = parameters[0]
    if first.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
        return [], [first.name]
    return [first.name], []


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _parameters_of(function: Any) -> list[inspect.Parameter]:
    """The parameters of a function; for a decorator's `*args, **kwargs`, those of the function that it wraps."""
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return [inspect.Parameter("input", inspect.Parameter.POSITIONAL_ONLY)]
    if parameters and all(each.kind in _VARIADIC for each in parameters):
        for cell in getattr(getattr(function, "__func__", function), "__closure__", None) or ():
            wrapped = cell.cell_contents
            if isinstance(wrapped, FunctionType) and len(inspect.signature(wrapped).parameters) > 1:
                return _parameters_of(wrapped)[1:]
    return parameters
