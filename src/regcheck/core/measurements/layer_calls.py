"""How many train-mode runs call a layer."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class LayerCalls(Measurement):
    """The number of train-mode `runs` with different random numbers, and of those `calling` the layer."""

    measured_by: ClassVar = "regcheck.probe.measurements.layer_calls"

    calling: int
    runs: int

    @property
    def effect(self) -> Effect:
        return Effect("train runs that never call the layer", 1 - self.calling / self.runs, "of the runs")

    @property
    def figures(self) -> Figures:
        return Figures(self.calling / self.runs, 0.0, "share of train runs that call the layer", self.runs)
