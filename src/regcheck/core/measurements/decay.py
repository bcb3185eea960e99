"""How one real optimizer step decays weights."""

from __future__ import annotations

from math import inf
from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement

BLURRED = 1e-2
"""The largest tolerance: beyond it the step says nothing about the decay."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of weights, one with large and one with small gradients, assigned at random.

    In `lighter` of the `counted` pairs the weight with large gradients decays by at most half of the other's share.
    """

    counted: int
    lighter: int


@dataclass(frozen=True)
class Decay(Measurement):
    """One real optimizer step on copies, against the reference steps in float64.

    `coupled` and `decoupled` are the largest relative distances of the real step to the two references. `p5` and `p95`
    are percentiles, over the parameters that decay, of the effective decay relative to the constant that the user
    `asked` for. Where no reference implements the optimizer's method, steps of the optimizer itself are the references,
    and `pairs` show whether it scales the decay as it scales the gradient. `share` is the size of the decay's effect
    relative to that of the step without decay (2-norms).
    """

    measured_by: ClassVar = "regcheck.probe.measurements.decay"

    coupled: float
    decoupled: float
    p5: float
    p95: float
    asked: float
    parameters: int
    tolerance: float
    pairs: Pairs | None = None
    share: float = inf

    @property
    def is_coupled(self) -> bool:
        """Whether the step equals the coupled reference and differs from the decoupled one."""
        return self.coupled <= self.tolerance < self.decoupled

    @property
    def is_spread(self) -> bool:
        """Whether some weights decay at least twice as much as others."""
        return self.p95 >= 2 * self.p5

    @property
    def is_near(self) -> bool:
        """Whether the step equals the coupled reference within the precision that it may compute in."""
        return self.coupled <= BLURRED

    @property
    def is_uniform(self) -> bool:
        """Whether all weights decay by the same share of themselves; a single weight shows nothing."""
        return self.parameters > 1 and self.p95 != 0 and abs(self.p95 - self.p5) <= self.tolerance * abs(self.p95)

    @property
    def is_nothing(self) -> bool:
        """Whether the decay changes nothing in the step."""
        return self.p5 == self.p95 == self.decoupled == 0

    @property
    def ratio(self) -> float:
        """How many times as much as the least decayed weights (p5) the most decayed ones (p95) decay."""
        return self.p95 / self.p5 if self.p5 > 0 else inf

    @property
    def effect(self) -> Effect:
        return Effect("decay of the most decayed weights (p95) over the least (p5)", self.ratio, "times")

    @property
    def figures(self) -> Figures:
        statistic = "spread (p5 to p95) of the effective decay relative to weight_decay; exact step comparison"
        return Figures(self.p95 - self.p5, 0.0, statistic, self.parameters)
