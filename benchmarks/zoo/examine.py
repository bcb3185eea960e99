"""Examine one model: trace it, time it, audit it, and compare its state before and after."""

from __future__ import annotations

import resource
import statistics
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from regcheck import audit
from regcheck.core.errors import CannotTrace
from regcheck.core.finding import Finding
from regcheck.core.graph import Flow, Graph, Kind, Mode
from regcheck.plugins import example_inputs
from regcheck.probe.audit_copy import workspace
from regcheck.probe.factory import locate
from regcheck.probe.process_state import world_untouched
from regcheck.tracing.example_inputs import Inputs, moved
from regcheck.tracing.record import record
from regcheck.tracing.strategies import TraceResult, trace_model

from .entry import Entry, Unbuildable
from .fingerprint import changes, fingerprint

Row = dict[str, Any]
PAIRS, SECONDS_TIMED = 3, 1.5
"""The number of alternating timings of a forward and its recording, and the time limit for them."""


def examine(entry: Entry, tell: Callable[[Row], None], timed: bool = True) -> None:
    """Examine a model step by step; calls `tell` with the additions of each step to the model's row."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    model = _built(entry, tell)
    if model is None:
        return
    by_hand = _arguments(entry, model, tell)
    before = fingerprint(model)
    found, inferred = _looked(model, None)
    tell({"inferred": found})
    inputs = inferred if found["complete"] else None
    if inputs is None and by_hand is not None:
        inputs = _given(model, by_hand, tell)
    if inputs is not None and timed:
        tell({"recording": _timed(model, inputs)})
    tell({"looking_changed": changes(before, fingerprint(model))})
    tell({"audit": _audited(model, Inputs())})
    if inputs is not None and inputs is not inferred:
        tell({"audit_given": _audited(model, inputs)})
    tell({"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "finished": True})


def _built(entry: Entry, tell: Callable[[Row], None]) -> nn.Module | None:
    start = time.perf_counter()
    try:
        model = entry.build()
    except (Unbuildable, ImportError) as reason:
        tell({"left_out": str(reason).strip().splitlines()[0]})
        return None
    except Exception as error:
        tell({"unbuilt": _said(error)})
        return None
    tell({"build_seconds": _since(start), "parameters": sum(each.numel() for each in model.parameters())})
    return model


def _arguments(entry: Entry, model: nn.Module, tell: Callable[[Row], None]) -> Inputs | None:
    """Returns the entry's own arguments; may run the model, so call it before taking the fingerprint."""
    if entry.arguments is None:
        return None
    try:
        args, kwargs = entry.arguments(model)
    except Exception as error:
        tell({"given": {"error": _said(error)}})
        return None
    return Inputs(args, kwargs)


def _given(model: nn.Module, given: Inputs, tell: Callable[[Row], None]) -> Inputs | None:
    """Returns whether the forward runs on these inputs, and the trace; None if it runs in neither mode."""
    forward = _forwards(model, given)
    found: Row = {}
    if "ran" in forward.values():
        found, _ = _looked(model, given)
    tell({"given": {"forward": forward, **found}})
    return given if "ran" in forward.values() else None


def _looked(model: nn.Module, given: Inputs | None) -> tuple[Row, Inputs | None]:
    """Returns the trace of a model on the given or on inferred inputs, and those inputs."""
    start = time.perf_counter()
    row: Row = {"complete": False, "how": None, "origin": None}
    try:
        with world_untouched(), workspace(model) as fresh:
            traced = trace_model(fresh(), type(model).__name__, given, locate, sources=example_inputs)
    except CannotTrace as error:
        place = f" at {error.place}" if error.place else ""
        return {**row, "error": str(error) + place, "seconds": _since(start)}, None
    except Exception:
        return {**row, "crash": traceback.format_exc()[-2000:], "seconds": _since(start)}, None
    row |= {"how": _way(traced), "seconds": _since(start), "assumed": traced.graph.assumed, **_counts(traced.graph)}
    row["not_checked"] = [f"{each.subject}: {each.reason}" for each in traced.not_checked]
    if traced.inputs is None:
        return row, None
    row |= {"origin": traced.inputs.origin, "shapes": _shapes([*traced.inputs.args, dict(traced.inputs.kwargs)])}
    row["complete"] = all(_connected(flow) for flow in (traced.graph.train, traced.graph.eval))
    return row, traced.inputs


def _way(traced: TraceResult) -> str:
    return str(getattr(traced, "how", "symbolic" if traced.inputs is None else "recorded"))


def _counts(graph: Graph) -> Row:
    """Returns the numbers of ops, opaque ops and unknown producers of each mode."""
    flows = (graph.train, graph.eval)
    return {
        "modes": [flow.mode.value for flow in flows if flow.ops],
        "connected": [flow.mode.value for flow in flows if _connected(flow)],
        "ops": {flow.mode.value: len(flow.ops) for flow in flows},
        "opaque": {flow.mode.value: sum(op.kind is Kind.OPAQUE for op in flow) for flow in flows},
        "unknown": {flow.mode.value: sum(op.site.function == "unknown" for op in flow) for flow in flows},
    }


def _connected(flow: Flow) -> bool:
    """Whether an input reaches an output."""
    return any(flow.outputs_reached(op) for op in flow if op.kind is Kind.INPUT)


def _forwards(model: nn.Module, inputs: Inputs) -> dict[str, str]:
    """Returns for each mode `ran` or the exception of a plain forward."""
    said = {}
    with world_untouched(), workspace(model) as fresh:
        twin = fresh()
        for mode in Mode:
            twin.train(mode is Mode.TRAIN)
            try:
                twin(*moved(inputs.args), **moved(inputs.kwargs))
                said[mode.value] = "ran"
            except Exception as error:
                said[mode.value] = _said(error)
    return said


def _timed(model: nn.Module, inputs: Inputs) -> Row:
    """Returns for each mode the CPU seconds of an eager forward, and of a recorded one; medians of paired runs."""
    rows: Row = {}
    with world_untouched(), workspace(model) as fresh:
        twin = fresh()
        for mode in Mode:
            twin.train(mode is Mode.TRAIN)
            pairs: list[tuple[float, float]] = []
            start = time.perf_counter()
            try:
                _cpu_seconds(lambda *args, **kwargs: twin(*args, **kwargs), inputs)
                while not pairs or (len(pairs) < PAIRS and time.perf_counter() - start < SECONDS_TIMED):
                    eager = _cpu_seconds(lambda *args, **kwargs: twin(*args, **kwargs), inputs)
                    recorded = _cpu_seconds(lambda *args, **kwargs: record(twin, args, kwargs, locate=locate), inputs)
                    pairs.append((eager, recorded))
            except (Exception, SystemExit) as error:
                rows[mode.value] = {"error": _said(error)}
                continue
            forward, recording = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(recorded / max(eager, 1e-6) for eager, recorded in pairs)
            rows[mode.value] = {"forward": forward, "recording": recording, "ratio": ratio, "pairs": len(pairs)}
    return rows


def _cpu_seconds(run: Callable[..., Any], inputs: Inputs) -> float:
    args, kwargs = moved(inputs.args), moved(inputs.kwargs)
    start = time.process_time()
    run(*args, **kwargs)
    return time.process_time() - start


def _audited(model: nn.Module, inputs: Inputs) -> Row:
    """Returns the report of an audit, and the changes that it left."""
    before, start = fingerprint(model), time.perf_counter()
    try:
        options = {"devices": ["cpu"], "extend_select": ["REG"]}
        report = audit(model, *inputs.args, options=options, **inputs.kwargs)
    except Exception:
        return {"crash": traceback.format_exc()[-2000:], "changed": changes(before, fingerprint(model))}
    return {
        "seconds": _since(start),
        "changed": changes(before, fingerprint(model)),
        "findings": [_told(each) for each in report.findings],
        "refuted": [_told(each) for each in report.refuted],
        "not_checked": [{"subject": each.subject, "reason": each.reason} for each in report.not_checked],
    }


def _told(finding: Finding) -> Row:
    told = finding.to_dict()
    return {key: told[key] for key in ("code", "severity", "message", "module", "path", "line", "evidence")}


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {lines[0][:300]} ({frame.filename}:{frame.lineno})"


def _shapes(value: Any) -> Any:
    """Returns the shapes of inputs as text."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, Mapping):
        return {str(key): _shapes(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shapes(each) for each in value[:4]]
    return type(value).__name__


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 3)
