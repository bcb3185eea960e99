"""The graph of an ONNX file as a `core.graph.Graph`: its nodes in terms of torch's functions, in a file's only mode.

Reading needs the structure alone: weights in other files stay there. A file is data, and reading it runs no code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy
import onnx
from onnx import helper, inliner, numpy_helper, shape_inference

from regcheck.core.errors import CannotTrace, format_error
from regcheck.core.finding import NotChecked
from regcheck.core.graph import Drops, Flow, Graph, Kind, Mode, Op, Site
from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.functions import LEARNED, kind_of

from .traced_code import frames_of
from .user_line import functions_in, place_in

FUNCTIONS = {
    "AveragePool": "avg_pool2d",
    "BatchNormalization": "batch_norm",
    "Cast": "to",
    "Clip": "clamp",
    "Conv": "conv2d",
    "ConvTranspose": "conv_transpose2d",
    "Gemm": "addmm",
    "GlobalAveragePool": "adaptive_avg_pool2d",
    "GlobalMaxPool": "adaptive_max_pool2d",
    "GroupNormalization": "group_norm",
    "InstanceNormalization": "instance_norm",
    "LSTM": "lstm",
    "GRU": "gru",
    "LayerNormalization": "layer_norm",
    "MatMul": "matmul",
    "MaxPool": "max_pool2d",
    "PRelu": "prelu",
    "RMSNormalization": "rms_norm",
    "RNN": "rnn_tanh",
    "RandomNormal": "randn",
    "RandomNormalLike": "randn_like",
    "RandomUniform": "rand",
    "RandomUniformLike": "rand_like",
    "ReduceMax": "amax",
    "ReduceMean": "mean",
    "ReduceSum": "sum",
    "Slice": "getitem",
    "Tile": "repeat",
}
"""The function of torch that does what a type of node does; others have the same name in torch's spelling, or none."""

DRAWING = frozenset(
    "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial Sampling".split()
)
"""The types of nodes that draw whenever they run."""

DROPPING = {"Dropout": (1, 2), "BitmaskDropout": (1, 2), "BiasDropout": (3, 4), "BitmaskBiasDropout": (3, 4)}
"""The positions of a dropout's inputs for its rate and its mode; the standard has the first, onnxruntime the others."""

DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"))
"""The sets of nodes that are documented: the standard's, and onnxruntime's own."""

MODE_AS_INPUT = 12
"""From this version of the standard on the mode of a dropout is an input; before, from 7 on, it never drops."""


@dataclass
class OnnxNode:
    """A node that random numbers or the batch decide, as it stands in the file, with the op that it becomes."""

    proto: Any
    op: Op
    version: int

    @property
    def is_dropout(self) -> bool:
        return self.op.kind is Kind.DROPOUT


@dataclass
class OnnxGraph:
    """A file's model with its functions inlined, its graph, and the nodes that matter, by op id.

    `folder` is where files with its weights are. `not_checked` names what the file does not decide or the standard does
    not define.
    """

    model: Any
    folder: Path
    graph: Graph
    nodes: Mapping[str, OnnxNode]
    count: int
    not_checked: tuple[NotChecked, ...] = ()

    @property
    def inputs(self) -> list[Any]:
        """The inputs that a caller passes: those without a default."""
        defaults = {each.name for each in self.model.graph.initializer}
        return [each for each in self.model.graph.input if each.name not in defaults]


def read(path: str) -> OnnxGraph:
    """Returns the graph of an ONNX file.

    Raises:
        CannotTrace: the file is damaged, or is no ONNX file.
    """
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except Exception as error:
        raise CannotTrace(f"cannot be read as an ONNX file: {format_error(error)}") from error
    return graph_of(model, path)


def graph_of(model: Any, path: str) -> OnnxGraph:
    """Returns the graph of an `onnx.ModelProto`, whose external data is in the folder of `path`.

    Raises:
        CannotTrace: it has no output, or functions that cannot be inlined.
    """
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
    except Exception as error:
        raise CannotTrace(f"cannot be read as an ONNX file: {format_error(error)}") from error
    if not model.graph.output:
        raise CannotTrace("is no ONNX file: it holds no graph with an output")
    return _NodeReader(model, path).result()


def torch_name(op_type: str) -> str:
    """`leaky_relu` for `LeakyRelu`: the function of torch that does what a type of node does, if there is one."""
    return FUNCTIONS.get(op_type) or re.sub(r"(?<!^)(?=[A-Z])", "_", op_type).lower()


@dataclass
class _VisibleNames:
    """The names that are visible in one graph or subgraph: the op that computes each, and the constants."""

    ops: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)

    def inner(self) -> _VisibleNames:
        return _VisibleNames(dict(self.ops), dict(self.constants))


class _NodeReader:
    def __init__(self, model: Any, path: str) -> None:
        self._model, self._path = model, path
        self._folder = Path(path).resolve().parent
        self._versions = {each.domain: each.version for each in model.opset_import}
        self._writer = {"pytorch": "torch.onnx", "": "the exporter"}.get(model.producer_name, model.producer_name)
        self._ops: dict[str, Op] = {}
        self._weights: set[str] = set()
        self._nodes: dict[str, OnnxNode] = {}
        self._shapes = _shapes(model)
        self._missed: dict[str, NotChecked] = {}
        self._count = 0

    def result(self) -> OnnxGraph:
        scope = _VisibleNames()
        outputs = self._read(self._model.graph, scope)
        names = [each.name for each in self._model.graph.output]
        flow = Flow(Mode.EVAL, self._ops, tuple(zip(names, outputs, strict=True)))
        graph = Graph(Path(self._path).name, Flow(Mode.TRAIN, {}), flow)
        return OnnxGraph(self._model, self._folder, graph, self._nodes, self._count, tuple(self._missed.values()))

    def _read(self, graph: Any, scope: _VisibleNames, names: tuple[str, ...] = ()) -> list[str]:
        """Read a graph, or a subgraph with these ops as inputs; returns the ids of the ops that are its outputs."""
        for tensor in graph.initializer:
            self._hold(scope, tensor.name, tensor, list(tensor.dims))
        for sparse in graph.sparse_initializer:
            self._add(scope, sparse.values.name, Op(self._id("weights"), Kind.PARAMETER, Site("", "parameter")), True)
        for each in graph.input:
            if each.name not in {tensor.name for tensor in graph.initializer}:
                kind = Kind.OTHER if names else Kind.INPUT
                shape = self._shapes.get(each.name)
                op = Op(self._id("input"), kind, Site("", "input"), inputs=names, shape=shape, mode=Mode.EVAL)
                self._add(scope, each.name, op)
        for node in graph.node:
            self._count += 1
            self._node(node, scope)
        return [scope.ops.get(each.name, "") for each in graph.output]

    def _id(self, name: str) -> str:
        return f"{name}_{len(self._ops)}"

    def _add(self, scope: _VisibleNames, name: str, op: Op, weight: bool = False) -> None:
        self._ops[op.id] = op
        scope.ops[name] = op.id
        if weight:
            self._weights.add(op.id)

    def _hold(self, scope: _VisibleNames, name: str, tensor: Any, dims: list[int]) -> None:
        """A constant of one element is a number; a larger one is a weight."""
        single = all(size == 1 for size in dims)
        if single:
            scope.constants[name] = numpy_helper.to_array(tensor, base_dir=str(self._folder)).reshape(-1)[0]
        kind = Kind.CONSTANT if single else Kind.PARAMETER
        op = Op(self._id("constant"), kind, Site("", "constant"), shape=tuple(dims), mode=Mode.EVAL)
        self._add(scope, name, op, not single)

    def _node(self, node: Any, scope: _VisibleNames) -> None:
        attributes = {each.name: each for each in node.attribute}
        if node.op_type == "Constant" and not {"value", "value_int", "value_float"}.isdisjoint(attributes):
            value = helper.get_attribute_value(node.attribute[0])
            tensor = value if "value" in attributes else numpy_helper.from_array(numpy.asarray(value))
            self._hold(scope, node.output[0], tensor, list(tensor.dims))
            return
        if node.op_type in ("Identity", "Cast", "Not") and node.input[0] in scope.constants:
            value = scope.constants[node.input[0]]
            scope.constants[node.output[0]] = not value if node.op_type == "Not" else value
        inputs = [scope.ops[name] for name in node.input if name in scope.ops]
        for body in self._bodies(node, attributes, scope):
            inputs += [each for each in self._read(body, scope.inner(), tuple(inputs)) if each]
        op = self._op(node, attributes, scope, inputs)
        self._ops[op.id] = op
        for name in node.output:
            scope.ops[name] = op.id
        if op.kind is not Kind.RANDOM and inputs and self._weights.issuperset(inputs):
            self._weights.add(op.id)
        if op.active:
            self._nodes[op.id] = OnnxNode(node, op, self._version(node))

    def _version(self, node: Any) -> int:
        return int(self._versions.get(node.domain, self._versions.get("ai.onnx" if not node.domain else "", 1)))

    @staticmethod
    def _bodies(node: Any, attributes: Mapping[str, Any], scope: _VisibleNames) -> Iterator[Any]:
        """The subgraphs that a node may run: of an `If` with a constant condition only that branch."""
        skipped = ""
        if node.op_type == "If" and node.input[0] in scope.constants:
            skipped = "else_branch" if scope.constants[node.input[0]] else "then_branch"
        for name, attribute in attributes.items():
            if name != skipped:
                yield from ([attribute.g] if attribute.HasField("g") else [])
                yield from attribute.graphs

    def _op(self, node: Any, attributes: Mapping[str, Any], scope: _VisibleNames, inputs: list[str]) -> Op:
        function = torch_name(node.op_type)
        trace = next((each.value for each in node.metadata_props if each.key.endswith("stack_trace")), node.doc_string)
        frames = [*frames_of(trace)][::-1]
        learned = not self._weights.isdisjoint(inputs) and not self._weights.issuperset(inputs)
        tensors = [each for each in inputs if self._ops[each].kind is not Kind.CONSTANT]
        kind = kind_of(function, scalar=len(tensors) == 1)
        active, rate, call = False, None, node.op_type
        within = functions_in(frames)
        if node.domain in DOMAINS:
            if node.op_type in DROPPING:
                kind, function = Kind.DROPOUT, "dropout"
                rate, active = self._ratio(node, attributes, scope), self._drops(node, attributes, scope)
                call += f"(ratio={rate:g})" if rate is not None else ""
            elif node.op_type == "BatchNormalization":
                active = self._trains(node, attributes)
            elif node.op_type in DRAWING:
                kind, active, within = Kind.RANDOM, True, (*within, node.op_type)
        else:
            kind = Kind.OPAQUE
            self._miss(
                f"a node of type {node.domain}.{node.op_type}, which the ONNX standard does not define: "
                "it may drop or draw",
                "audit the model that it was exported from",
            )
        if kind is Kind.MATMUL and learned:
            kind = Kind.LINEAR
        return Op(
            id=self._id(node.op_type),
            kind=kind,
            site=Site(node.name or node.output[0], function, place_in(frames), len(self._ops)),
            call=call,
            inputs=tuple(inputs),
            rate=rate,
            drops=Drops.ELEMENTS if kind is Kind.DROPOUT else None,
            active=active,
            learned=kind in LEARNED or learned,
            shape=self._shapes.get(node.output[0]) if node.output else None,
            mode=Mode.EVAL,
            within=within,
            traced_by=self._writer if active else "",
        )

    @staticmethod
    def _input(node: Any, position: int) -> str:
        """The name of an input, empty for an optional one that is left out."""
        return node.input[position] if len(node.input) > position else ""

    def _miss(self, reason: str, what_to_do: str) -> None:
        self._missed.setdefault(reason, NotChecked(Path(self._path).name, reason, what_to_do))

    def _ratio(self, node: Any, attributes: Mapping[str, Any], scope: _VisibleNames) -> float | None:
        if "ratio" in attributes:
            return round(float(attributes["ratio"].f), 6)
        name = self._input(node, DROPPING[node.op_type][0])
        if not name:
            return 0.5
        value = scope.constants.get(name)
        return None if value is None else round(float(value), 6)

    def _drops(self, node: Any, attributes: Mapping[str, Any], scope: _VisibleNames) -> bool:
        """Whether a dropout is in train mode: the standard has had three ways to say so."""
        version = self._version(node)
        if node.op_type == "Dropout" and version < MODE_AS_INPUT:
            return version < 7 and not ("is_test" in attributes and attributes["is_test"].i)
        name = self._input(node, DROPPING[node.op_type][1])
        value = scope.constants.get(name) if name else False
        if value is None:
            label = node.name or node.output[0]
            self._miss(
                f"whether the {node.op_type} node `{label}` drops: `{name}` decides it at run time",
                "export the model after `eval()`, with the constant False in its place",
            )
        return bool(value)

    def _trains(self, node: Any, attributes: Mapping[str, Any]) -> bool:
        """Whether a batch norm uses the statistics of its batch: by its attribute, or the outputs that it computes."""
        version = self._version(node)
        if version >= 14:
            return "training_mode" in attributes and bool(attributes["training_mode"].i)
        if version >= 7:
            return sum(map(bool, node.output)) > 1
        return not ("is_test" in attributes and attributes["is_test"].i)


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of values that the file states or implies; without those of unknown sizes."""
    try:
        graph = shape_inference.infer_shapes(model).graph
    except Exception:  # a damaged or too large model: its nodes can be read all the same
        graph = model.graph
    shapes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(each.HasField("dim_value") for each in kind.shape.dim):
            shapes[value.name] = tuple(each.dim_value for each in kind.shape.dim)
    return shapes
