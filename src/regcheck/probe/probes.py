"""The probes: each measures one kind of subject on one device, and turns measurements into evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

import torch

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Evidence, Severity, Verdict
from regcheck.core.graph import Graph, Mode
from regcheck.core.measurements import M, Measurement

from . import statistics
from .memoized_calls import Diverged
from .rank_agreement import Exchange
from .runner import Runner
from .work_plan import Budget

ALPHA = 1e-6

A = ParamSpec("A")

Statistics = tuple[torch.Tensor, torch.Tensor]
"""The running mean and variance of a norm."""


class BaseProbe:
    """A probe without a subject: it refuses every measurement. The other probes derive from it."""

    no_subject: ClassVar = "there is no model to run here"
    """Why other probes cannot make the measurements of this one."""

    def __init__(self, device: str, seed: int, alpha: float = ALPHA) -> None:
        self.device = device
        self.seed = seed
        self.alpha = alpha

    def measure(self, measurement: type[M], *about: Any) -> M:
        """Make a measurement, by the `measure` function of the module that its type names.

        Raises:
            CannotMeasure: this probe's subject does not allow it, or its budget.
        """
        result: M = procedure(measurement)(self, *about)
        return result

    def at_least(self, share: float, units: int, rate: float) -> float:
        return statistics.at_least(round(share * units), units, rate)

    def evidence(
        self,
        verdict: Verdict,
        because: str,
        measurement: Measurement,
        *,
        material_from: float = 0.0,
        lowers_to: Severity | None = None,
    ) -> Evidence:
        figures = measurement.figures
        return Evidence(
            verdict,
            measured=figures.measured,
            expected=figures.expected,
            statistic=figures.statistic,
            alpha=self.alpha,
            samples=figures.samples,
            device=self.device,
            seed=self.seed,
            because=because,
            effect=replace(measurement.effect, material_from=material_from),
            lowers_to=lowers_to,
        )


P = TypeVar("P", bound=BaseProbe)


class Procedure(Generic[P, A, M]):
    """A function that makes a measurement, the kind of probe that can run it, and the forwards that it typically runs.

    Raises:
        CannotMeasure: it is called with another kind of probe.
    """

    def __init__(self, function: Callable[Concatenate[P, A], M], kind: type[P], forwards: int) -> None:
        self._function, self._kind = function, kind
        self.forwards = forwards

    def __call__(self, probe: BaseProbe, *args: A.args, **kwargs: A.kwargs) -> M:
        if not isinstance(probe, self._kind):
            raise CannotMeasure(self._kind.no_subject)
        while True:
            try:
                return self._function(probe, *args, **kwargs)
            except Diverged:
                continue


def measures(kind: type[P], forwards: int = 0) -> Callable[[Callable[Concatenate[P, A], M]], Procedure[P, A, M]]:
    """Declare that a module's `measure` runs on one kind of probe, and how many forwards it typically runs."""
    return lambda function: Procedure(function, kind, forwards)


def procedure(measurement: type[M]) -> Procedure[Any, Any, M]:
    """The procedure that makes a measurement, from the module that its type names."""
    measure: Procedure[Any, Any, M] = import_module(measurement.measured_by).measure
    return measure


class OptimizerProbe(BaseProbe):
    """Measures a user's optimizer on copies of its parameters."""

    no_subject = "there is no optimizer to step here"

    def __init__(self, optimizer: torch.optim.Optimizer, device: str, seed: int, budget: Budget | None = None) -> None:
        super().__init__(device, seed)
        self.optimizer = optimizer
        self.budget = budget


class RunningProbe(BaseProbe):
    """A probe that runs a model; its evidence says what the model's budget left out."""

    def __init__(self, runner: Runner, seed: int) -> None:
        super().__init__(runner.device, seed)
        self.runner = runner

    def evidence(
        self,
        verdict: Verdict,
        because: str,
        measurement: Measurement,
        *,
        material_from: float = 0.0,
        lowers_to: Severity | None = None,
    ) -> Evidence:
        because = "; ".join(dict.fromkeys((because, *self.runner.notes)))
        return super().evidence(verdict, because, measurement, material_from=material_from, lowers_to=lowers_to)


class CallProbe(RunningProbe):
    """Measures one call that a program made, from its captured model state and inputs.

    `modes` are the training flags that the modules had in that call, by path, and `statistics` the running mean and
    variance of each norm that it moved.
    """

    no_subject = "the inputs of this call were not captured"

    def __init__(
        self, runner: Runner, modes: Mapping[str, bool], seed: int, statistics: Mapping[str, Statistics] | None = None
    ) -> None:
        super().__init__(runner, seed)
        self.modes = modes
        self.statistics = statistics or {}


class ModelProbe(RunningProbe):
    """Measures a model through runs with interventions.

    `squares` are the sums of the squared deviations of all outputs from their means, in the recorded run of a mode.
    """

    def __init__(self, runner: Runner, graph: Graph, seed: int, squares: Mapping[Mode, float] | None = None) -> None:
        super().__init__(runner, seed)
        self.graph = graph
        self.squares = squares or {}
        runner.expect(op.site for flow in (graph.train, graph.eval) for op in flow)

    def repeats(self) -> bool:
        """Whether eval runs with different seeds agree as closely as replays do.

        Where replays are equal to the bit, more runs are compared: a branch may seldom depend on a draw.
        """
        reference = self.runner.run(Mode.EVAL, self.seed)

        def away(turn: int) -> float:
            return statistics.deviation(self.runner.run(Mode.EVAL, self.seed + turn), reference)

        floor = max(away(0) for _ in range(2))
        return all(away(1 + turn) <= floor for turn in range(4 if floor else statistics.REPLAYS))


class RanksProbe(RunningProbe):
    """Compares the mask that this rank draws from its own stream, in the given `state`, with those of other `ranks`."""

    no_subject = "there are no ranks to compare"

    def __init__(self, runner: Runner, state: bytes, ranks: Iterable[int], exchange: Exchange, seed: int) -> None:
        super().__init__(runner, seed)
        self.state, self.ranks, self.exchange = state, tuple(ranks), exchange
