"""Check an ONNX file: read its graph, ask the rules, prove what they suspect with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from regcheck.config.options import Options
from regcheck.core.coverage import Coverage
from regcheck.core.errors import CannotBuild, CannotMeasure, CannotTrace, UsageError
from regcheck.core.finding import Suspicion
from regcheck.core.graph import Kind
from regcheck.core.report import Report
from regcheck.core.rule import Probe
from regcheck.engine.check import Check
from regcheck.probe.factory import NO_RUN, budget_of
from regcheck.probe.process_state import world_untouched
from regcheck.tracing.example_inputs.drawing import ids, smooth

if TYPE_CHECKING:
    from regcheck.tracing.onnx_graph import OnnxGraph

SAMPLES, LENGTH, EXTENT = 8, 16, 64
"""The sizes of axes that a file leaves open: the first one, that of a sequence, and those of an image."""


def is_onnx(target: str) -> bool:
    """Whether a target of `regcheck audit` is written as the path of an ONNX file."""
    return Path(target).suffix.lower() == ".onnx"


def onnx_model(value: Any) -> Any:
    """The `onnx.ModelProto` that a value is, or that an `ONNXProgram` of torch holds; None for other values."""
    package, name = type(value).__module__.partition(".")[0], type(value).__name__
    if (package, name) == ("torch", "ONNXProgram"):
        value = value.model_proto
        package, name = "onnx", type(value).__name__
    return value if (package, name) == ("onnx", "ModelProto") else None


def audit_onnx(path: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options) -> Report:
    """Check an ONNX file with the rules about graphs.

    Args:
        path: the file.
        args: values of its first inputs; drawn where there are none.
        kwargs: values of inputs by name.
        options: the options of the run; whatever the devices, onnxruntime runs on the CPU.

    Raises:
        UsageError: there is no such file, or it has no such inputs.
        CannotBuild: the package onnx is not installed, or the file cannot be read.
    """
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path!r}")
    try:
        from regcheck.tracing.onnx_graph import read
    except ImportError:
        raise CannotBuild("reading an ONNX file needs the package onnx", "`pip install 'regcheck[onnx]'`") from None
    try:
        file = read(path)
    except CannotTrace as error:
        raise CannotBuild(str(error), "audit the model that it was exported from") from error
    return _audit_graph(file, path, args, kwargs, options)


def audit_onnx_model(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options) -> Report:
    """Check an `onnx.ModelProto` as `audit_onnx` checks a file; external data is looked up in the working directory.

    Raises:
        UsageError: it has no output, or no such inputs.
    """
    from regcheck.tracing.onnx_graph import graph_of

    twin = type(model)()
    twin.CopyFrom(model)
    name = Path(model.graph.name).name or type(model).__name__
    try:
        file = graph_of(twin, name)
    except CannotTrace as error:
        raise UsageError(f"the model {name!r} {error}") from error
    return _audit_graph(file, name, args, kwargs, options)


def _audit_graph(
    file: OnnxGraph, path: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options
) -> Report:
    names = [each.name for each in file.inputs]
    values = dict(zip(names, args, strict=False)) | dict(kwargs)
    if len(args) > len(names) or not values.keys() <= set(names):
        raise UsageError(f"the inputs of {path} are {', '.join(names) or 'none'}, and not {', '.join(values)}")
    check = replace(Check.of(options), devices=("cpu",))
    return check.guarded(path, lambda: _check_file(check, file, values))


@world_untouched()
def _check_file(check: Check, file: OnnxGraph, values: Mapping[str, Any]) -> Report:
    from regcheck.probe.onnx_probe import OnnxProbe, OnnxRunner

    @cache
    def probe() -> Probe:
        if not check.options.run:
            raise CannotMeasure(NO_RUN)
        inputs = {each.name: values[each.name] if each.name in values else drawn(each) for each in file.inputs}
        return OnnxProbe(file, OnnxRunner(file, inputs, budget_of(check.options)), check.options.seed)

    def probe_on(suspicion: Suspicion, device: str) -> Probe:
        return probe()

    suspicions = check.suspect("graph", file.graph)
    findings = check.prove(file.graph.subject, suspicions.pairs, probe_on)
    report = check.report(
        file.graph.subject,
        findings,
        (*file.not_checked, *suspicions.failed),
        suppressed_by=suspicions.suppressed_by,
    )
    opaque = tuple(op.site.module for op in file.graph.eval if op.kind is Kind.OPAQUE)
    coverage = Coverage(file.graph.subject, "graph", modules=file.count, traced=file.count - len(opaque), opaque=opaque)
    return replace(report, coverage=(coverage,))


def drawn(declared: Any) -> torch.Tensor:
    """A value for an input of a graph, of the sizes that the file declares.

    Raises:
        CannotMeasure: it is no tensor, or of a type that torch does not have.
    """
    from onnx import helper

    kind = declared.type.tensor_type
    if not declared.type.HasField("tensor_type"):
        raise CannotMeasure(f"the input `{declared.name}` is no tensor")
    dims = kind.shape.dim
    open_sizes = [SAMPLES, *[EXTENT if len(dims) > 3 else LENGTH] * len(dims)]
    shape = tuple(each.dim_value or size for each, size in zip(dims, open_sizes, strict=False))
    dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise CannotMeasure(f"the input `{declared.name}` is of type {dtype}: pass one by `--input`")
    return drawn_as(declared.name, shape, dtype)


def drawn_as(argument: str | int, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
    """A tensor for an input whatever its place: smooth numbers, ids of 0 and 1, or flags that are set."""
    kind = getattr(torch, dtype)
    if kind is torch.bool:
        return torch.ones(shape, dtype=kind)
    return (smooth(shape) if kind.is_floating_point or kind.is_complex else ids(shape, 2)).to(kind)
