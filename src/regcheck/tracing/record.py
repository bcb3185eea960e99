"""Record one real forward as a `torch.fx.Graph`, by the identity of the tensors in torch's calls."""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import torch
from torch import fx, nn

from regcheck.core.errors import CannotTrace, message_of, stops
from regcheck.core.graph import Kind, Mode, Reach, Site
from regcheck.core.suppressions import BLOCKS, CodeSuppression
from regcheck.files.discarded_results import discards_at
from regcheck.files.text import text_of
from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.functions import DROPPING, KINDS, STACKED
from regcheck.torch_api.keep_probabilities import keep_name_at
from regcheck.torch_api.reused_masks import PRODUCTS, Products, products_in

from .call_interceptor import (
    TorchCallInterceptor,
    arguments_by_name,
    arguments_of,
    draws,
    eager,
    is_placed,
    name_of,
    script_name,
    stacked_arguments,
)
from .copies.lazy import is_lazy
from .cost import Meter, TooMuchWork
from .forward_call import run
from .identity import NewTensors, TensorIdentity, storage_of
from .mode_switch import switch_mode
from .nested_values import named_tensors, tensors_in
from .outputs import ExtractedNumbers, Output, Outputs, outputs_of
from .running import Locate
from .script_interpreter import is_opaque_script
from .streams import NumberStreams, TorchStream
from .traced_code import tracer_of
from .user_line import calling_place, functions_around, raising_place, runs_the_model
from .writes import versions_of, written

META = "regcheck"

ARGUMENTS, READ = "regcheck_arguments", "regcheck_read"
"""Keys of a node's `meta`: the arguments of a scripted module that runs as it is; whether numbers are read from it."""

SILENT = frozenset(
    "shape dtype device layout requires_grad is_leaf ndim dim size stride numel nelement len storage_offset grad_fn"
    " is_contiguous is_floating_point is_complex is_cuda is_cpu is_meta is_sparse is_quantized is_nested is_mkldnn"
    " is_inference is_signed is_same_size is_pinned element_size itemsize nbytes data_ptr storage untyped_storage"
    " output_nr version names get_device sparse_dim dense_dim hash set_grad_enabled is_conj is_neg".split()
)
"""Functions that return no tensor and change none."""

_ESCAPES = frozenset("numpy array tolist item float int complex index dlpack".split())
"""Functions that return the values of tensors as Python or NumPy objects."""

_FROM_DATA = frozenset("tensor as_tensor asarray new_tensor from_dlpack frombuffer".split())
"""Functions that make tensors from other objects."""

_WRITES = {"copy": Kind.IDENTITY, "set_data": Kind.IDENTITY, "setitem": Kind.CONCAT, "index_put": Kind.CONCAT}
"""The kinds of functions that copy values unchanged into a tensor: into all of it, or a part."""

NO_OUTPUT = "forward returns no tensor, array or number that could be followed"


@dataclass(slots=True)
class CallMetadata:
    """Facts about one call, with the `blocks` of declarations around it, in the node's `meta["regcheck"]`."""

    name: str
    site: Site
    layer: str = ""
    kind: Kind | None = None
    rate: float | None = None
    active: bool | None = False
    shape: tuple[int, ...] | None = None
    integral: bool = False
    requires_grad: bool | None = None
    window: bool = False
    depth: int | None = None
    reach: Reach | None = None
    has_running_stats: bool = True
    within: tuple[str, ...] = ()
    traced_by: str = ""
    discarded: bool = False
    reused_mask: str = ""
    keep_name: str = ""
    blocks: tuple[CodeSuppression, ...] = field(default_factory=BLOCKS.get)


@dataclass(frozen=True)
class Recording:
    """A recorded forward.

    Attributes:
        outputs: the output nodes by name, in order.
        drew_elsewhere: random numbers were drawn by no op of the graph: Python's, NumPy's, or unrecorded ones.
        ran: the paths of the modules that ran.
        returns_input: a dropout returned its input, which is a parameter (and has no op) or is written to later.
        read: the nodes of tensors that the forward read values of.
        covers_both_modes: the other mode would differ only in what dropout layers drop and batch norms normalize by.
        operations: the cost of the forward, see `cost`.
        unfollowed: the reason for each part of the result that could not be followed.
        squares: the sum of the squared deviations of all outputs from their means.
    """

    graph: fx.Graph
    outputs: tuple[tuple[str, fx.Node], ...]
    drew_elsewhere: bool = False
    ran: frozenset[str] = frozenset()
    returns_input: bool = False
    read: tuple[fx.Node, ...] = ()
    covers_both_modes: bool = False
    operations: int = 0
    unfollowed: tuple[str, ...] = ()
    squares: float = 0.0


class ForwardRaised(CannotTrace):
    """The model's forward (or another `method`) raised, after so many `operations`; `place` is the user's line."""

    def __init__(self, error: BaseException, operations: int = 0, method: str = "forward") -> None:
        self.operations = operations
        message = next(iter(message_of(error).strip().splitlines()), "")
        name = type(error).__name__
        super().__init__(
            f"{method} raised {name}: {message}" if message else f"{method} raised {name}",
            raising_place(error.__traceback__),
        )


def set_mode(model: nn.Module, mode: Mode) -> None:
    """Set the mode of a copy of a model.

    Raises:
        ForwardRaised: its `train()` or `eval()` raised; the error holds the line.
    """
    try:
        switch_mode(model, mode)
    except BaseException as error:
        if stops(error):
            raise
        raise ForwardRaised(error, method="train()" if mode is Mode.TRAIN else "eval()") from error


@runs_the_model
def record(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    locate: Locate | None = None,
    limit: float = math.inf,
) -> Recording:
    """Run `model(*args, **kwargs)` once in its current modes, and record it.

    Changes that the forward makes to the model stay: pass a copy. A lazy model runs once before, so that the recording
    does not include the initialization of its weights.

    Raises:
        ForwardRaised: forward raised; the error holds the line.
        TooMuchWork: forward takes more operations than the `limit`.
    """
    if is_lazy(model):
        torch.default_generator.manual_seed(0)
        _record(model, args, kwargs, locate, limit)
    return _record(model, args, kwargs, locate, limit)


def _record(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], locate: Locate | None, limit: float
) -> Recording:
    streams = NumberStreams(model)
    before = streams.states()
    recorder = Recorder(model, locate, Meter(limit))
    recorder.bind_inputs(args, kwargs)
    with eager(), recorder.newborns:
        try:
            with recorder.watching():
                result = outputs_of(run(model, args, kwargs))
        except BaseException as error:
            if stops(error):
                raise
            if recorder.meter.exceeded:
                raise TooMuchWork(limit) from error
            raise ForwardRaised(error, recorder.meter.operations) from error
        return recorder.finish(result, streams.states() != before)


class Recorder(TorchCallInterceptor):
    """The function mode that builds the graph."""

    def __init__(self, model: nn.Module, locate: Locate | None = None, meter: Meter | None = None) -> None:
        super().__init__(model, locate)
        self.meter = meter or Meter()
        self.graph = fx.Graph()
        self.newborns = NewTensors()
        self._identity = TensorIdentity()
        self._owned = {id(t): (name, Kind.PARAMETER) for name, t in model.named_parameters()}
        self._owned |= {id(t): (name, Kind.CONSTANT) for name, t in model.named_buffers()}
        self._lazy = is_lazy(model)
        self._sites: dict[tuple[str, str], Site] = {}
        self._escaped: dict[fx.Node, None] = {}
        self._left = ExtractedNumbers()
        self._differentiated: list[fx.Node] = []
        self._generators: list[tuple[fx.Node, weakref.ref[torch.Generator]]] = []
        self._opaque_scripts: list[Site] = []
        self._stream = TorchStream()
        self._drew_unseen = False
        self._returned_storages: set[int] = set()
        self._returns_input = False
        self._dropped: list[fx.Node] = []
        self._products: dict[str, Products] = {}

    def bind_inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        named = {**{f"input_{i}": value for i, value in enumerate(args)}, **kwargs}
        for name, value in named.items():
            for _, tensor in named_tensors(value, name):
                if not self._identity.knows(tensor) and id(tensor) not in self._owned:
                    node = self.graph.placeholder(name)
                    self._identity.bind(tensor, self._note(node, tensor, name, Kind.INPUT))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = name_of(func)
        if name in SILENT:
            return func(*args, **kwargs)
        tensors = tensors_in((args, kwargs))
        if self._lazy and any(nn.parameter.is_lazy(tensor) for tensor in tensors):
            return func(*args, **kwargs)
        if func is torch.Tensor.add_ and self._counts_batches(args[0]):
            return func(*args, **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            versions = versions_of(tensors)
            inputs = self._inputs(name, args, kwargs)
            site, drawing = self.running.site(name) if is_placed(name) else None, draws(name)
            if drawing:
                self._drew_unseen |= self._stream.moved()
        result = func(*args, **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            self.meter.count(name, args, kwargs, result)
            drew = drawing and self._stream.moved()
            new_tensors = tensors_in(result)
            changed = written(func, name, kwargs, tensors, versions)
            if not new_tensors and not changed and name != "backward":
                nodes = [self._node_of(each) for each in tensors]
                self._left.note(result, nodes)
                if name in _ESCAPES:
                    self._escaped |= dict.fromkeys(nodes)
                return result
            if isinstance(result, torch.Tensor) and not changed and any(result is each for each in tensors):
                if name not in DROPPING or isinstance(result, nn.Parameter):
                    self._returns_input |= name in DROPPING
                    return result
                result = _alias(result)
                self._returned_storages.add(storage_of(result))
            node = self._node("call_function", func, name or "call", *inputs)
            self._describe(node, func, name, site, args, kwargs, result)
            if name in DROPPING:
                node.meta[META].keep_name = self._keep_name(node.meta[META])
            if name in DROPPING and self.running.returns_to_code:
                if not arguments_by_name(func, name, args, kwargs).get("inplace") and not changed:
                    self._dropped.append(node)
            elif name in PRODUCTS and len(tensors) > 1:
                self._note_product(node, name)
            if site is not None and node.meta[META].active:
                node.meta[META].traced_by = tracer_of(self.running.innermost, func, name)
            if drawing:
                node.meta[META].within = functions_around()
                generators = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Generator)]
                self._generators += [(node, weakref.ref(each)) for each in generators]
            if drew and "::" in name:
                node.meta[META].active = True
            for tensor in changed:
                self._identity.write(tensor, node)
                self._returns_input |= storage_of(tensor) in self._returned_storages
            self._bind_result(result, node)
            if name == "backward":
                self._differentiated.append(node)
            elif name == "data":
                self._identity.counters_differ = True
        return result

    def _inputs(self, name: str, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call as nodes, without those that it only writes to."""
        inputs = tuple([self._argument(each) for each in (args[1:] if name in ("copy", "set_data") else args)])
        if name == "grad":
            inputs += tuple(self._differentiated)
        elif name in _FROM_DATA:
            inputs += tuple(self._escaped)
        return inputs, {key: self._argument(each) for key, each in kwargs.items() if key != "out"}

    def _node(self, kind: str, target: Any, name: str, positional: tuple[Any, ...], named: dict[str, Any]) -> fx.Node:
        node = self.graph.create_node(kind, target, name=name)
        node.args = (
            positional  # as an argument of create_node they would be searched for symbolic numbers, which is slow
        )
        if named:
            node.kwargs = named
        return node

    def _counts_batches(self, tensor: Any) -> bool:
        """Whether a tensor is the count of batches of the running norm, which is read only without a momentum."""
        norm = self.running.innermost
        return getattr(norm, "momentum", None) is not None and tensor is getattr(norm, "num_batches_tracked", None)

    def script_begins(self, module: nn.Module) -> None:
        self._opaque_scripts.append(self.running.site(script_name(module)))
        self._drew_unseen |= self._stream.moved()

    def left(self, module: nn.Module, args: Any, result: Any) -> None:
        """A scripted module that runs as it is becomes one op: random if a generator advanced, else opaque."""
        with torch._C.DisableTorchFunction():
            unknown = [tensor for tensor in tensors_in(result) if not self._is_known(tensor)]
            if is_opaque_script(module):
                site, drew = self._opaque_scripts.pop(), self._stream.moved()
                inputs = self._anything(*map(self._node_of, tensors_in(args)))  # torch reports no keyword arguments
                node = self._node("call_module", site.module, site.function, inputs, {})
                kind, shape = Kind.RANDOM if drew else Kind.OPAQUE, shape_of(unknown[0]) if unknown else None
                node.meta[META] = CallMetadata(site.function, site, kind=kind, active=drew, shape=shape)
                if len(unknown) == 1 and unknown[0] is result:
                    node.meta[ARGUMENTS] = self._argument(args)
                for tensor in unknown:
                    self._identity.bind(tensor, node)
            else:
                for tensor in unknown:
                    self._node_of(tensor)

    def _is_known(self, tensor: torch.Tensor) -> bool:
        return self._identity.knows(tensor) or id(tensor) in self._owned

    def _describe(
        self, node: fx.Node, func: Any, name: str, site: Site | None, args: Any, kwargs: Any, result: Any
    ) -> None:
        kind: Kind | None = _WRITES.get(name)
        if name in _FROM_DATA and self._escaped:
            kind, site = Kind.OPAQUE, self.running.site(name)
        rate, active = arguments_of(func, name, args, kwargs)
        depth = stacked_arguments(args)[0] if name in STACKED else None
        shape = shape_of(result) if isinstance(result, torch.Tensor) else None
        window, reach = _window(name, args, kwargs), self.running.reach if site else None
        tracks = name != "batch_norm" or arguments_by_name(func, name, args, kwargs).get("running_mean") is not None
        layer, where = self.running.layer, site or self._site(name)
        node.meta[META] = CallMetadata(
            name,
            where,
            layer,
            kind,
            rate,
            active,
            shape,
            window=window,
            depth=depth,
            reach=reach,
            has_running_stats=tracks,
        )

    def _site(self, name: str) -> Site:
        """The site of a call without a place."""
        key = self.running.module, name
        if key not in self._sites:
            self._sites[key] = Site(*key)
        return self._sites[key]

    def _note_product(self, node: fx.Node, name: str) -> None:
        """Give a product its place, if its source says that one of its factors is a mask that is drawn once."""
        place = calling_place()
        if place is None:
            return
        if place.path not in self._products:
            self._products[place.path] = products_in(text_of(place.path))
        words = self._products[place.path].get((place.line, place.column), "")
        if words:
            node.meta[META].site = Site(self.running.module, name, place)
            node.meta[META].reused_mask = words

    def _bind_result(self, result: Any, node: fx.Node) -> None:
        if isinstance(result, torch.Tensor):
            self._identity.bind(result, node)
        elif isinstance(result, (tuple, list)):
            for index, each in enumerate(result):
                if tensors_in(each):
                    item = self._node("call_function", operator.getitem, "getitem", (node, index), {})
                    shape = shape_of(each) if isinstance(each, torch.Tensor) else None
                    item.meta[META] = CallMetadata("getitem", self._site("getitem"), shape=shape)
                    self._bind_result(each, item)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._node_of(value)
        if value is None or value is ... or isinstance(value, (int, float, str)):
            return value
        if isinstance(value, (tuple, list)):
            parts = [self._argument(each) for each in value]
            return tuple(parts) if isinstance(value, tuple) else parts  # as an index they differ
        if isinstance(value, dict):
            return {str(key): self._argument(each) for key, each in value.items()}
        if isinstance(value, slice):
            return slice(*(self._argument(each) for each in (value.start, value.stop, value.step)))
        return value if isinstance(value, fx.node.base_types) else repr(type(value))

    def _node_of(self, tensor: torch.Tensor) -> fx.Node:
        """The node that holds a tensor's current value."""
        if not self._identity.knows(tensor):
            self._meet(tensor)
        node, writers, unseen = self._identity.node_of(tensor)
        if not writers and not unseen:
            return node
        if unseen:
            node = self._opaque(tensor, node)
        for writer in writers:
            node = self._derived("written", Kind.CONCAT, tensor, (node, writer))
        self._identity.bind(tensor, node)
        return node

    def _meet(self, tensor: torch.Tensor) -> None:
        """Bind a tensor that no recorded call made."""
        if id(tensor) not in self._owned:
            origin = self._identity.origin_of(tensor)
            if origin is not None:
                self._identity.bind_old(tensor, self._derived("alias", Kind.IDENTITY, tensor, (origin,)))
                return
            if tensor in self.newborns:
                self._identity.bind(tensor, self._opaque(tensor))
                return
        name, kind = self._owned.get(id(tensor), ("constant", Kind.CONSTANT))
        node = self.graph.create_node("get_attr", name, name=name)
        self._identity.bind_old(tensor, self._note(node, tensor, name, kind))

    def _opaque(self, tensor: torch.Tensor, *nodes: fx.Node) -> fx.Node:
        """An unrecorded op: of another thread, a scripted function, or NumPy."""
        drew = self._stream.moved()
        node = self._derived("opaque", Kind.OPAQUE, tensor, self._anything(*nodes))
        node.meta[META].site = self.running.site("opaque")
        node.meta[META].active = drew
        self._drew_unseen |= drew
        return node

    def _anything(self, *nodes: fx.Node) -> tuple[fx.Node, ...]:
        """The possible inputs of an unrecorded op: the known ones, and the results so far that no op uses."""
        ends = [each for each in self.graph.nodes if not each.users and each.op != "get_attr"]
        return tuple(dict.fromkeys((*nodes, *self._escaped, *ends)))

    def _derived(self, name: str, kind: Kind, tensor: torch.Tensor, inputs: tuple[fx.Node, ...]) -> fx.Node:
        node = self._node("call_function", unrecorded, name, inputs, {})
        node.meta[META] = CallMetadata(name, self._site(name), kind=kind, shape=shape_of(tensor))
        return node

    def _note(self, node: fx.Node, tensor: torch.Tensor, name: str, kind: Kind) -> fx.Node:
        integral = not (tensor.is_floating_point() or tensor.is_complex())
        trained = tensor.requires_grad if kind is Kind.PARAMETER else None
        node.meta[META] = CallMetadata(
            name, Site("", name), kind=kind, shape=shape_of(tensor), integral=integral, requires_grad=trained
        )
        return node

    def _keep_name(self, seen: CallMetadata) -> str:
        """The name of a keep probability that a dropout takes as its rate, where its source shows one."""
        place = self.running.constructed_at if seen.layer else seen.site.place
        if not seen.rate or place is None:
            return ""
        return keep_name_at(text_of(place.path), place.line, place.column)

    def finish(self, result: Outputs, drew_elsewhere: bool) -> Recording:
        pairs = [(each.name, self._node_of_output(each)) for each in result.values]
        outputs = tuple((name, node) for name, node in pairs if node is not None)
        drew_elsewhere |= self._drew_unseen | self._stream.moved()
        self.graph.output(tuple(node for _, node in outputs))
        for node in self._left.nodes:
            node.meta[READ] = True
        for node, generator in self._generators:
            if generator() is None:  # forward made it, from a seed: it draws the same numbers at each call
                node.meta[META].active = None
        for node in self._dropped:
            place = node.meta[META].site.place
            if not node.users and place is not None:
                node.meta[META].discarded = discards_at(text_of(place.path), place.line, place.column)
        unfollowed = result.unfollowed if outputs else (*result.unfollowed, NO_OUTPUT)
        ran, operations = frozenset(self.running.ran), self.meter.operations
        return Recording(
            self.graph,
            outputs,
            drew_elsewhere,
            ran,
            self._returns_input,
            self._left.nodes,
            operations=operations,
            unfollowed=unfollowed,
            squares=sum(squares(each.tensor) for each in result.values),
        )

    def _node_of_output(self, output: Output) -> fx.Node | None:
        """The node that holds an output; None for numbers that depend on no tensor."""
        if output.source is None:
            return self._node_of(output.tensor)
        base = output.source
        while not isinstance(base, torch.Tensor) and getattr(base, "base", None) is not None:
            base = base.base  # an array over a tensor's memory refers to the tensor
        origins = (self._node_of(base),) if isinstance(base, torch.Tensor) else self._left.origins_of(output.source)
        nodes = tuple(each for each in origins if each is not None)
        kind = Kind.IDENTITY if len(nodes) == 1 else Kind.CONCAT
        if nodes != origins:
            nodes, kind = self._left.nodes, Kind.OTHER
        return self._derived("left", kind, output.tensor, nodes) if nodes else None


def unrecorded(*tensors: Any) -> Any:
    """The target of nodes that stand for unrecorded work between recorded calls."""
    raise NotImplementedError("no recorded call computes this: run the graph by `regcheck.graph_module`")


def squares(values: torch.Tensor) -> float:
    """The sum of the squared deviations of an output's values from their mean; zero for one that has no such values."""
    plain = type(values) in (torch.Tensor, nn.Parameter) and values.layout is torch.strided and not values.is_nested
    if not plain or not values.is_floating_point() or values.is_meta or not values.numel():
        return 0.0
    values = values.detach()
    single = values if values.dtype in (torch.float32, torch.float64) else values.float()
    return float(single.var(correction=0)) * values.numel()


def shape_of(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """The shape of a tensor; None where it has symbolic or unreadable sizes."""
    try:
        shape = tuple(tensor.shape)
    except RuntimeError:
        return None
    return shape if {*map(type, shape)} <= {int} else None


def _alias(tensor: torch.Tensor) -> torch.Tensor:
    """A new tensor object over the same memory, which distinguishes an op's result from its input."""
    try:
        with torch.enable_grad():  # a view made without gradients could not be written to with them
            return tensor.view_as(tensor)
    except RuntimeError:
        return tensor


def _window(name: str, args: Any, kwargs: Any) -> bool:
    """Whether a convolution or pooling reads more than one position at a time."""
    if name.startswith("conv"):
        weight = kwargs.get("weight", args[1] if len(args) > 1 else None)
        return isinstance(weight, torch.Tensor) and any(size > 1 for size in weight.shape[2:])
    return KINDS.get(name) is Kind.POOL
