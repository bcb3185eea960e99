"""What measurements of an optimizer's step find, as the figures that reports show."""

from __future__ import annotations

from dataclasses import dataclass

from .measured import Figures


@dataclass(frozen=True)
class Decay:
    """One real optimizer step on copies, against the reference steps in float64.

    `coupled` and `decoupled` are the largest relative distances of the real step to the two references (None where
    there is no reference for this optimizer); `p5` and `p95` are percentiles, over parameters, of the effective decay
    relative to the constant asked for.
    """

    coupled: float | None
    decoupled: float | None
    p5: float
    p95: float
    asked: float
    parameters: int
    tolerance: float

    @property
    def is_coupled(self) -> bool:
        """Whether the step equals the coupled reference and differs from the decoupled one."""
        return _within(self.coupled, self.tolerance) and not _within(self.decoupled, self.tolerance)

    @property
    def is_uniform(self) -> bool:
        """Whether every weight is decayed by the same share of itself; a single one tells nothing."""
        return self.parameters > 1 and abs(self.p95 - self.p5) <= self.tolerance * abs(self.p95)

    @property
    def figures(self) -> Figures:
        statistic = "spread (p5 to p95) of the effective decay relative to weight_decay; exact step comparison"
        return Figures(self.p95 - self.p5, 0.0, statistic, self.parameters)


@dataclass(frozen=True)
class Shrinkage:
    """One real optimizer step on copies of biases and norm scales, with gradients of zero.

    `smallest` and `largest` are the shares of themselves that they lose in it, less what they lose in the same step
    without decay. Differences within `tolerance` are rounding.
    """

    smallest: float
    largest: float
    norm_scales: int
    biases: int
    values: int
    tolerance: float

    @property
    def is_decay(self) -> bool:
        """Whether the decay shrinks every one of them."""
        return self.smallest > self.tolerance

    @property
    def is_nothing(self) -> bool:
        """Whether the decay changes none of them."""
        return max(self.largest, -self.smallest) <= self.tolerance

    @property
    def figures(self) -> Figures:
        statistic = "smallest share that decay takes in a step at zero gradient; exact step comparison"
        return Figures(self.smallest, 0.0, statistic, self.values)


def _within(distance: float | None, tolerance: float) -> bool:
    return distance is not None and abs(distance) <= tolerance
