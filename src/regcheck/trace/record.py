"""Record one real forward as a `torch.fx.Graph`, from the identity of the tensors that pass through torch's calls."""

from __future__ import annotations

import dataclasses
import operator
import random
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn

from regcheck.core.errors import CannotTrace
from regcheck.core.graph import Kind, Reach, Site
from regcheck.core.vocabulary import KINDS, STACKED

from .place import raising_place, runs_the_model
from .running import Locate
from .sight import Sight, arguments_of, eager, is_placed, name_of, running_mean_of, stacked_arguments, tensors_in

META = "regcheck"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one call; kept in the fx node's `meta["regcheck"]`."""

    name: str
    site: Site
    layer: str = ""
    kind: Kind | None = None
    rate: float | None = None
    active: bool | None = False
    shape: tuple[int, ...] | None = None
    window: bool = False
    depth: int | None = None
    reach: Reach | None = None
    tracks: bool = True


@dataclass(frozen=True)
class Recording:
    """A recorded forward: the graph, and its outputs by name, in order.

    `drew_elsewhere` says that it drew from Python's or NumPy's random numbers, which no tensor tells.
    """

    graph: fx.Graph
    outputs: tuple[tuple[str, fx.Node], ...]
    drew_elsewhere: bool = False


class ForwardRaised(CannotTrace):
    """The model's own forward raised; `place` is the user's line."""

    def __init__(self, error: BaseException) -> None:
        said = next(iter(str(error).strip().splitlines()), "")
        super().__init__(f"forward raised {type(error).__name__}: {said}", raising_place(error.__traceback__))


@runs_the_model
def record(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, locate: Locate | None = None
) -> Recording:
    """Run `model(*args, **kwargs)` once, as it is, and return what it did.

    The model is run in the modes it is in, and what its forward changes stays changed: hand in a copy.

    Raises:
        ForwardRaised: forward raised; the error says where.
    """
    recorder = Recorder(model, locate)
    recorder.bind_inputs(args, kwargs)
    before = _states_elsewhere()
    with eager(), recorder.watching():
        try:
            result = model(*args, **kwargs)
        except (Exception, SystemExit) as error:
            raise ForwardRaised(error) from error
    return replace(recorder.finish(result), drew_elsewhere=_states_elsewhere() != before)


def _states_elsewhere() -> tuple[Any, ...]:
    """The states of Python's and NumPy's global random streams, to be compared."""
    numpy = sys.modules.get("numpy")
    return random.getstate(), str(numpy.random.get_state()) if numpy is not None else ""


class Recorder(Sight):
    """The function mode that writes the graph."""

    def __init__(self, model: nn.Module, locate: Locate | None = None) -> None:
        super().__init__(model, locate)
        self.graph = fx.Graph()
        self._nodes: dict[int, tuple[weakref.ref[torch.Tensor], fx.Node]] = {}
        self._owned = {id(t): (name, Kind.PARAMETER) for name, t in model.named_parameters()}
        self._owned |= {id(t): (name, Kind.CONSTANT) for name, t in model.named_buffers()}

    def bind_inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        named = {**{f"input_{i}": value for i, value in enumerate(args)}, **kwargs}
        for name, value in named.items():
            for tensor in tensors_in(value):
                if id(tensor) not in self._nodes:
                    self._bind(tensor, self._note(self.graph.placeholder(name), tensor, name, Kind.INPUT))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(tensors_in((args, kwargs)))
        if any(nn.parameter.is_lazy(tensor) for tensor in given):
            return func(*args, **kwargs)
        versions = [_version(tensor) for tensor in given]
        name = name_of(func)
        site = self.running.site(name) if is_placed(name) else None
        result = func(*args, **kwargs)
        made = list(tensors_in(result))
        changed = [t for t, version in zip(given, versions, strict=True) if _version(t) != version]
        if not made and not changed:
            return result
        if isinstance(result, torch.Tensor) and any(result is t for t in given) and not changed:
            if isinstance(result, nn.Parameter):
                return result
            result = _alias(result)
        inputs = fx.node.map_aggregate((tuple(args), dict(kwargs)), self._argument)
        node = self.graph.create_node("call_function", func, inputs[0], inputs[1], name=name or "call")
        self._describe(node, name, site, args, kwargs, result)
        for tensor in changed:
            self._bind(tensor, node)
            if tensor._base is not None:
                self._bind(tensor._base, node)
        self._bind_result(result, node)
        return result

    def left(self, module: nn.Module, args: Any, result: Any) -> None:
        """A module whose result no torch call was seen to make (it is scripted, say) becomes one opaque op."""
        made = [tensor for tensor in tensors_in(result) if not self._is_known(tensor)]
        if made:
            given = tuple(self._node_of(tensor) for tensor in tensors_in(args))
            node = self.graph.create_node("call_module", self.running.module, given, {}, name="opaque")
            node.meta[META] = Seen(
                "opaque", Site(self.running.module, "opaque"), kind=Kind.OPAQUE, shape=tuple(made[0].shape)
            )
            for tensor in made:
                self._bind(tensor, node)

    def _is_known(self, tensor: torch.Tensor) -> bool:
        known = self._nodes.get(id(tensor))
        return (known is not None and known[0]() is tensor) or id(tensor) in self._owned

    def _describe(self, node: fx.Node, name: str, site: Site | None, args: Any, kwargs: Any, result: Any) -> None:
        rate, active = arguments_of(name, args, kwargs)
        depth = stacked_arguments(args)[0] if name in STACKED else None
        shape = tuple(result.shape) if isinstance(result, torch.Tensor) else None
        where = site or Site(self.running.module, name)
        window, reach = _window(name, args, kwargs), self.running.reach if site else None
        tracks = name != "batch_norm" or running_mean_of(args, kwargs) is not None
        layer = self.running.layer
        node.meta[META] = Seen(name, where, layer, None, rate, active, shape, window, depth, reach, tracks)

    def _bind_result(self, result: Any, node: fx.Node) -> None:
        if isinstance(result, torch.Tensor):
            self._bind(result, node)
        elif isinstance(result, (tuple, list)):
            for index, each in enumerate(result):
                if next(tensors_in(each), None) is not None:
                    item = self.graph.call_function(operator.getitem, (node, index))
                    seen: Seen = node.meta[META]
                    shape = tuple(each.shape) if isinstance(each, torch.Tensor) else None
                    item.meta[META] = Seen("getitem", Site(seen.site.module, "getitem"), shape=shape)
                    self._bind_result(each, item)

    def _bind(self, tensor: torch.Tensor, node: fx.Node) -> None:
        self._nodes[id(tensor)] = (weakref.ref(tensor), node)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._node_of(value)
        return value if isinstance(value, fx.node.base_types) or value is None else repr(type(value))

    def _node_of(self, tensor: torch.Tensor) -> fx.Node:
        known = self._nodes.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        name, kind = self._owned.get(id(tensor), ("unknown", Kind.CONSTANT))
        node = self._note(self.graph.create_node("get_attr", name), tensor, name, kind)
        self._bind(tensor, node)
        return node

    def _note(self, node: fx.Node, tensor: torch.Tensor, name: str, kind: Kind) -> fx.Node:
        node.meta[META] = Seen(name, Site("", name), kind=kind, shape=tuple(tensor.shape))
        return node

    def finish(self, result: Any) -> Recording:
        outputs = tuple((name, self._node_of(tensor)) for name, tensor in named_tensors(result, "output"))
        self.graph.output(tuple(node for _, node in outputs))
        return Recording(self.graph, outputs)


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _alias(tensor: torch.Tensor) -> torch.Tensor:
    """A new tensor object over the same values, so that an op that returns its input is told from that input."""
    try:
        return tensor.view_as(tensor)
    except RuntimeError:
        return tensor


def _window(name: str, args: Any, kwargs: Any) -> bool:
    """Whether a convolution or pooling looks at more than one position at a time."""
    if name.startswith("conv"):
        weight = kwargs.get("weight", args[1] if len(args) > 1 else None)
        return isinstance(weight, torch.Tensor) and any(size > 1 for size in weight.shape[2:])
    return KINDS.get(name) is Kind.POOL


def named_tensors(value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of an output structure with names: `output`, `output[0]`, `logits`."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif depth > 8:
        return
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from named_tensors(each, str(key) if depth == 0 else f"{name}[{key!r}]", depth + 1)
    elif isinstance(value, (tuple, list)):
        fields = getattr(value, "_fields", None)
        for index, each in enumerate(value):
            yield from named_tensors(each, fields[index] if fields else f"{name}[{index}]", depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from named_tensors(getattr(value, field.name, None), field.name, depth + 1)
    else:
        names = [slot for kind in type(value).__mro__ for slot in getattr(kind, "__slots__", ())]
        for attribute in (*vars(value), *names) if hasattr(value, "__dict__") else names:
            each = getattr(value, attribute, None)
            if isinstance(each, (torch.Tensor, tuple, list, dict)):
                yield from named_tensors(each, attribute, depth + 1)
