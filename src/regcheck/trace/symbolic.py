"""Trace without inputs: torch.fx, with every submodule that cannot be traced turned into a leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from regcheck.core.errors import CannotTrace
from regcheck.core.graph import Kind, Site
from regcheck.core.vocabulary import DROPPING, KINDS, LAYERS

from .place import raising_place, runs_the_model
from .record import META, Recording, Seen
from .running import Locate, Running, layer_of
from .sight import arguments_of, is_placed, name_of


class CannotFollow(CannotTrace):
    """The root's own forward cannot be traced symbolically; `place` is the line that stopped it."""

    def __init__(self, error: BaseException) -> None:
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        super().__init__(f"without inputs, symbolic tracing stopped: {said}", raising_place(error.__traceback__))


@runs_the_model
def trace(model: nn.Module, locate: Locate | None = None) -> tuple[Recording, tuple[str, ...]]:
    """Trace `model` in the mode it is in; also the paths of the submodules that had to stay opaque.

    torch.fx writes onto the model it traces: hand in a copy.

    Raises:
        CannotFollow: the root's own forward cannot be followed.
    """
    tracer = LeafyTracer(model, locate)
    try:
        graph = tracer.trace(model)
    except Exception as error:
        raise CannotFollow(error) from error
    output = next(node for node in graph.nodes if node.op == "output")
    outputs = tuple(_named_nodes(output.args[0], "output"))
    return Recording(graph, outputs, ran=frozenset(tracer.ran)), tuple(tracer.opaque)


class LeafyTracer(fx.Tracer):
    """A tracer that notes what was seen at each node, looks into dropouts, and survives submodules it cannot trace."""

    def __init__(self, model: nn.Module, locate: Locate | None = None) -> None:
        super().__init__()
        self.opaque: list[str] = []
        self._shapes = {name: tuple(each.shape) for name, each in (*model.named_parameters(), *model.named_buffers())}
        self._parameters = {name for name, _ in model.named_parameters()}
        self._running = Running(model, locate)
        self._running.enter(model)

    @property
    def ran(self) -> set[str]:
        """Paths of the modules that were reached."""
        return self._running.ran

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if LAYERS.get(layer_of(m)) in DROPPING and not isinstance(m, nn.MultiheadAttention):
            return False
        return bool(super().is_leaf_module(m, module_qualified_name))

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        path = self.path_of_module(m)
        self._running.enter(m)
        before = len(self.graph.nodes)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            for node in reversed(list(self.graph.nodes)[before:]):
                self.graph.erase_node(node)
            self.opaque.append(path)
            return self.create_proxy("call_module", path, args, kwargs)
        finally:
            self._running.leave(m)

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any) -> fx.Node:
        node: fx.Node = super().create_node(kind, target, args, kwargs, *rest, **named)
        if kind != "output":
            node.meta[META] = self._seen(kind, target, args, kwargs)
        return node

    def _seen(self, kind: str, target: Any, args: Any, kwargs: Any) -> Seen:
        if kind == "placeholder":
            return Seen(str(target), Site("", str(target)), kind=Kind.INPUT)
        if kind == "get_attr":
            what = Kind.PARAMETER if target in self._parameters else Kind.CONSTANT
            return Seen(str(target), Site("", str(target)), kind=what, shape=self._shapes.get(target))
        path, layer = self._running.module, self._running.layer
        if kind == "call_module":
            name = "" if str(target) in self.opaque else LAYERS.get(layer, "")
            window = any(size > 1 for size in self._kernel(str(target))) or "Adaptive" in layer
            random = KINDS.get(name) is Kind.RANDOM
            shown = Kind.OPAQUE if not name else None
            return Seen(name or layer, Site(path, name or layer), layer, shown, active=random, window=window)
        name = name_of(target) if not isinstance(target, str) else target.strip("_")
        rate: float | None = None
        active: bool | None = KINDS.get(name) is Kind.RANDOM
        if name in DROPPING:
            rate, active = arguments_of(name, args, kwargs)
        site = self._running.site(name) if is_placed(name) else Site(path, name)
        return Seen(name, site, layer, None, rate, active)

    def _kernel(self, path: str) -> tuple[int, ...]:
        """The kernel of a layer, as a tuple; a single position for layers that have none."""
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
