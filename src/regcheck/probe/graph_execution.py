"""Make a recorded graph executable, and verify it against the model that it was recorded from."""

from __future__ import annotations

from collections.abc import Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn

from regcheck.core.errors import CannotTrace, format_error, stops
from regcheck.core.graph import Mode
from regcheck.keras_api.forward import run
from regcheck.tracing.call_interceptor import eager
from regcheck.tracing.example_inputs import moved
from regcheck.tracing.mode_switch import switch_mode
from regcheck.tracing.nested_values import named_tensors
from regcheck.tracing.outputs import outputs_of
from regcheck.tracing.record import ARGUMENTS, META, READ, CallMetadata, unrecorded

from .audit_copy import copied
from .process_state import world_untouched
from .seeds import seed_everything
from .statistics import are_identical

_UNFINISHED = frozenset(("copy", "set_data", "backward", "grad"))
"""Calls that the graph does not hold whole: they write to an argument that is left out, or read another graph."""


def graph_module(graph: fx.Graph, model: nn.Module, *args: Any, **kwargs: Any) -> fx.GraphModule:
    """Return `report.fx_graph`, the recorded graph of a model, as a module that shares the model's parameters.

    It takes the tensors among the model's inputs, in the order of the graph's placeholders, and returns a tuple of the
    tensors among its outputs. On inputs of the same shapes they are to the bit those of the model in train mode, from
    the same random streams. Copies of both run once on the inputs given, as `model(*args, **kwargs)`, to verify this.
    A scripted module that runs as it is becomes one call.

    Raises:
        CannotTrace: a part of the graph cannot run alone, or the results differ; the message names the part.
    """
    executable = fx.Graph()
    returned = executable.graph_copy(graph, {})
    executable.output(returned)
    for node, recorded in zip(executable.nodes, graph.nodes, strict=True):
        reason = _obstacle(node, model)
        if reason:
            raise CannotTrace(f"the recorded graph cannot run: {_name(recorded)} {reason}")
        if node.target is unrecorded:
            node.target = _first
        if node.op == "call_module":
            node.args = tuple(fx.map_arg(each, _by_name(executable)) for each in node.meta[ARGUMENTS])
    for node in list(executable.nodes):
        if node.op == "call_function" and _is_written_method(node.target):
            _call_as_method(node)
    with world_untouched():
        _verify(executable, model, args, kwargs)
    return fx.GraphModule(model, executable)


def _by_name(graph: fx.Graph) -> Any:
    nodes = {each.name: each for each in graph.nodes}
    return lambda node: nodes[node.name]


def _first(tensor: Tensor, *writers: Tensor) -> Tensor:
    """A tensor that others have written to, through its memory."""
    return tensor


def _is_written_method(target: Any) -> bool:
    """Whether a function is a method that `Tensor` defines in Python: generated code cannot name it."""
    name = getattr(target, "__name__", "")
    return isinstance(target, FunctionType) and vars(Tensor).get(name) is target


def _call_as_method(node: fx.Node) -> None:
    with node.graph.inserting_before(node):
        call = node.graph.call_method(node.target.__name__, node.args, node.kwargs)  # type: ignore[union-attr]
    call.meta = node.meta
    node.replace_all_uses_with(call)
    node.graph.erase_node(node)


def _obstacle(node: fx.Node, model: nn.Module) -> str:
    """Why a node cannot run; empty where it can."""
    seen: CallMetadata | None = node.meta.get(META)
    if READ in node.meta:
        return "is read as a number, so that other inputs may take another path"
    if node.op == "get_attr" and not _has_tensor(model, str(node.target)):
        return "is a tensor that the model does not own"
    if node.op == "call_module" and ARGUMENTS not in node.meta:
        return "is a module that is called whole, and the arguments or the parts of its result are not recorded"
    if seen is not None and seen.name in _UNFINISHED:
        return "writes to a tensor, or differentiates"
    if node.target is unrecorded and (seen is None or seen.name != "written"):
        return "is work that no recorded call does"
    return ""


def _has_tensor(model: nn.Module, path: str) -> bool:
    owner, _, name = path.rpartition(".")
    try:
        return isinstance(getattr(model.get_submodule(owner), name, None), Tensor)
    except AttributeError:
        return False


def _name(node: fx.Node) -> str:
    """A node by its call and its place, as messages name it."""
    seen: CallMetadata | None = node.meta.get(META)
    site = None if seen is None else seen.site
    where = "" if site is None else f" in {site.module}" * bool(site.module)
    place = None if site is None else site.place
    return f"`{node.name}`{where}" + (f" ({place.path}:{place.line})" if place is not None else "")


class _Verifying(fx.Interpreter):
    """Runs a graph node by node, and names the one that raises."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(model, graph=graph)
        self.extra_traceback = False  # torch appends its own advice to the message

    def run_node(self, n: fx.Node) -> Any:
        try:
            return super().run_node(n)
        except Exception as error:
            if stops(error):
                raise
            raise CannotTrace(f"the recorded graph cannot run: {_name(n)} raised {format_error(error)}") from error


def _verify(graph: fx.Graph, model: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Hold the graph against the model, on copies.

    Raises:
        CannotTrace: the graph raises, or returns something else.
    """
    results: list[list[Tensor]] = []
    for twin in (copied(model), copied(model)):
        switch_mode(twin, Mode.TRAIN)
        positional, named = moved(tuple(args)), moved(dict(kwargs))
        seed_everything(0)
        with eager(), torch.no_grad():
            if not results:
                outputs = outputs_of(run(twin, positional, named)).values
                results.append([each.tensor for each in outputs if each.source is None])
                continue
            inputs = {f"input_{index}": each for index, each in enumerate(positional)} | named
            owned = {id(each) for each in (*twin.parameters(), *twin.buffers())}
            tensors = {id(each): each for key, value in inputs.items() for _, each in named_tensors(value, key)}
            placed = [each for key, each in tensors.items() if key not in owned]
            results.append([*_Verifying(twin, graph).run(*placed)])
    if not are_identical(*results):
        raise CannotTrace("the recorded graph computes something else than the model: code between its calls matters")
