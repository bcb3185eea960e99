"""Run an ONNX file with onnxruntime, with its dropouts, draws and batch norms under control, and measure suspicions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from onnx import helper

from regcheck.core.errors import CannotMeasure, format_error
from regcheck.core.finding import Evidence, Severity, Verdict
from regcheck.core.graph import Kind, Mode, Op
from regcheck.core.measurements import M, Measurement
from regcheck.core.measurements.batch_dependence import BatchDependence
from regcheck.core.measurements.running_statistics import RunningStatistics
from regcheck.core.measurements.spread import Spread
from regcheck.lazy_dataclass import dataclass
from regcheck.tracing.onnx_graph import DROPPING, MODE_AS_INPUT, OnnxGraph, OnnxNode

from . import statistics
from .measurements.batch_dependence import batch_size, other_samples, rows_of
from .measurements.spread import relative_spread, spread_over
from .probes import BaseProbe
from .reductions import relative_change
from .work_plan import Budget

STREAMS = 1 << 10
"""Streams of one seed: one for each node that draws."""

LARGEST_SEED = 1 << 23
"""Seeds below it are exact as the floating-point attributes that draws have."""


class OnnxRunner:
    """Runs a file's graph on the CPU, each time in a session of its own, so that every stream begins at its seed.

    Args:
        file: the graph; its nodes are changed for each run and then restored.
        inputs: the values of its inputs, by name.
        budget: bounds the CPU time of all runs.
    """

    def __init__(self, file: OnnxGraph, inputs: Mapping[str, torch.Tensor], budget: Budget) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise CannotMeasure("proof needs onnxruntime: `pip install 'regcheck[onnx]'`") from None
        self._runtime: Any = onnxruntime
        self._file, self._budget = file, budget
        self.inputs = dict(inputs)

    def run(
        self,
        seed: int,
        *,
        vary: Mapping[str, int] | None = None,
        off: Sequence[str] = (),
        change: Callable[[torch.Tensor], torch.Tensor] = lambda values: values,
        literal: bool = False,
    ) -> list[torch.Tensor]:
        """The outputs of one run.

        Args:
            seed: the seed of all nodes that draw.
            vary: the seeds of some of them, by op id.
            off: the ids of dropouts that do not drop, and of batch norms that use their running statistics.
            change: what to do to each input.
            literal: whether dropouts run as the standard says, though onnxruntime's optimizer would remove them.

        Raises:
            CannotMeasure: onnxruntime refuses the graph or the inputs, a node cannot be switched off, or the budget is
                exceeded.
        """
        before = [(each.proto, each.proto.SerializeToString()) for each in self._file.nodes.values()]
        try:
            for stream, (name, node) in enumerate(self._file.nodes.items()):
                if name in off:
                    switch_off(node)
                elif node.op.kind is not Kind.BATCH_NORM:
                    set_seed(node, ((vary or {}).get(name, seed) * STREAMS + stream % STREAMS) % LARGEST_SEED)
            content = self._file.model.SerializeToString()
        except ValueError as error:  # protobuf's limit
            raise CannotMeasure("it holds 2 GB or more of weights in the file itself") from error
        finally:
            for proto, original in before:
                proto.ParseFromString(original)
        with self._budget.watch_over():
            inputs = {name: change(each).numpy() for name, each in self.inputs.items()}
            return self._outputs(content, inputs, ["EliminateDropout"] if literal else [])

    def _outputs(self, content: bytes, inputs: Mapping[str, Any], without: list[str]) -> list[torch.Tensor]:
        options = self._runtime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self._file.folder))
        try:
            providers = ["CPUExecutionProvider"]
            session = self._runtime.InferenceSession(content, options, providers=providers, disabled_optimizers=without)
            results = session.run(None, dict(inputs))
        except Exception as error:
            raise CannotMeasure(f"onnxruntime cannot run it: {format_error(error)}") from error
        arrays = [each for each in results if getattr(each, "dtype", None) is not None and each.dtype.kind in "fiub"]
        return [torch.from_numpy(each) for each in arrays]


def set_seed(node: OnnxNode, seed: int) -> None:
    """Give a node that draws a stream of its own."""
    remove(node.proto, "seed")
    node.proto.attribute.append(helper.make_attribute("seed", seed if node.is_dropout else float(seed)))


def switch_off(node: OnnxNode) -> None:
    """Put one node in eval mode.

    Raises:
        CannotMeasure: the graph uses what a batch norm computes in train mode alone.
    """
    proto = node.proto
    if node.is_dropout and (proto.op_type != "Dropout" or node.version >= MODE_AS_INPUT):
        proto.input[DROPPING[proto.op_type][1]] = ""
        return
    remove(proto, "is_test")
    remove(proto, "training_mode")
    if node.is_dropout or node.version < 7:
        proto.attribute.append(helper.make_attribute("is_test", 1))
    if not node.is_dropout:
        del proto.output[1:]


def remove(proto: Any, name: str) -> None:
    """Delete an attribute of a node, if it is there."""
    others = [each for each in proto.attribute if each.name != name]
    del proto.attribute[:]
    proto.attribute.extend(others)


class OnnxProbe(BaseProbe):
    """Measures an ONNX file through runs with changed nodes."""

    no_subject = "there is no ONNX file to run here"

    def __init__(self, file: OnnxGraph, runner: OnnxRunner, seed: int) -> None:
        super().__init__("cpu", seed)
        self.file, self.runner = file, runner
        self.removes_suspect = False

    def measure(self, measurement: type[M], *about: Any) -> M:
        self.removes_suspect = False
        if measurement not in MEASURES:
            raise CannotMeasure("this measurement needs a model of torch, not a file")
        result: M = MEASURES[measurement](self, *about)
        return result

    def evidence(
        self,
        verdict: Verdict,
        because: str,
        measurement: Measurement,
        *,
        material_from: float = 0.0,
        lowers_to: Severity | None = None,
    ) -> Evidence:
        if self.removes_suspect:
            lowers_to = Severity.INFO
            because += "; onnxruntime's optimizer removes it by default, and then predictions are the same"
        return super().evidence(verdict, because, measurement, material_from=material_from, lowers_to=lowers_to)


@dataclass(frozen=True)
class FileRuns:
    """Runs of a file in which the streams of `ops` vary, and the dropouts `without` do not drop."""

    runner: OnnxRunner
    ops: Sequence[Op]
    without: Sequence[Op]
    seed: int
    literal: bool
    few: int = 0

    def plan(self, runs: int) -> None:
        """Runs are bounded by their number alone."""

    def on_fewer_samples(self) -> None:
        """A file may have been exported for this number of samples only."""

    def relative(self, runs: Sequence[Sequence[torch.Tensor]]) -> float:
        return relative_spread(runs)

    def run(self, seed: int, *, silent: bool = False) -> list[torch.Tensor]:
        off = [op.id for op in (*self.without, *(self.ops if silent else ())) if op.drops is not None]
        vary = dict.fromkeys((op.id for op in self.ops), seed)
        return self.runner.run(self.seed, vary=vary, off=off, literal=self.literal)


def spread(probe: OnnxProbe, ops: Sequence[Op], mode: Mode) -> Spread:
    """Vary the streams of some nodes, as onnxruntime runs them by default, and else as the standard says."""

    def measured(literal: bool) -> Spread:
        def runs(without: Sequence[Op]) -> FileRuns:
            return FileRuns(probe.runner, ops, without, probe.seed, literal)

        return spread_over(runs, probe.file.graph, ops, mode, probe.seed)

    by_default = measured(literal=False)
    if by_default.verdict is not Verdict.REFUTED or not any(op.drops for op in ops):
        return by_default
    literal = measured(literal=True)
    probe.removes_suspect = literal.verdict is Verdict.CONFIRMED
    return literal


def batch_dependence(probe: OnnxProbe, op: Op) -> BatchDependence:
    """Repeat the first sample with other samples around it; all other batch norms use their running statistics.

    Those of `op` are in use where its batch statistics are to be fixed.
    """
    if op.kind is not Kind.BATCH_NORM:
        raise CannotMeasure("only a batch norm of a file can be fixed, not a reduction")
    runner, seed = probe.runner, probe.seed
    size = batch_size(runner.inputs.values())
    norms = batch_norms(probe.file)

    def outputs(turn: int, *, fixed: bool = False) -> list[torch.Tensor]:
        off = [each for each in norms if fixed or each != op.id]
        change = other_samples(size, seed + turn) if turn else lambda values: values
        return rows_of(runner.run(seed, off=off, change=change), size)

    def changes(fixed: bool) -> tuple[list[list[torch.Tensor]], list[torch.Tensor]]:
        whole = outputs(0, fixed=fixed)
        if not whole:
            raise CannotMeasure("no output has a row for each sample")
        others = [outputs(turn, fixed=fixed) for turn in range(1, statistics.REPLAYS + 1)]
        return [[each[:1] for each in batch] for batch in others], whole

    moved, whole = changes(fixed=False)
    calm, steady = changes(fixed=True)
    first, still = ([each[:1] for each in batch] for batch in (whole, steady))
    changed = tuple(statistics.deviation(each, first) for each in moved)
    noise = tuple(statistics.deviation(each, still) for each in calm)
    relative = max(relative_change(each, first, whole) for each in moved)
    return BatchDependence(changed, noise, relative, statistics.rank_test(len(changed), len(noise)))


def running_statistics(probe: OnnxProbe, op: Op) -> RunningStatistics:
    """Compare runs with the running statistics in one batch norm with runs as they are."""

    def run(off: Sequence[str] = ()) -> list[torch.Tensor]:
        return [each for each in probe.runner.run(probe.seed, off=off) if each.is_floating_point()]

    reference = run()
    others = [run([op.id]) for _ in range(statistics.REPLAYS)]
    replays = tuple(statistics.deviation(run(), reference) for _ in range(statistics.REPLAYS))
    changed = tuple(statistics.deviation(each, reference) for each in others)
    p_value = statistics.rank_test(len(changed), len(replays))
    return RunningStatistics(changed, replays, relative_change(others[0], reference), p_value)


def batch_norms(file: OnnxGraph) -> list[str]:
    """The ids of the batch norms that use the statistics of their batch."""
    return [name for name, node in file.nodes.items() if node.op.kind is Kind.BATCH_NORM]


MEASURES: Mapping[type[Measurement], Callable[..., Any]] = {
    Spread: spread,
    BatchDependence: batch_dependence,
    RunningStatistics: running_statistics,
}
