"""What measurements of an optimizer's step find, as the figures that reports show."""

from __future__ import annotations

from dataclasses import dataclass

from .measured import Figures

BLURRED = 1e-2
"""The largest tolerance: beyond it the step says nothing about the decay."""


@dataclass(frozen=True)
class Pairs:
    """Weights in pairs, of which chance gave one large gradients and the other small ones.

    `lighter` of the `counted` pairs decay the one with large gradients by at most half of the share of the other.
    """

    counted: int
    lighter: int


@dataclass(frozen=True)
class Decay:
    """One real optimizer step on copies, against the reference steps in float64.

    `coupled` and `decoupled` are the largest relative distances of the real step to the two references; `p5` and `p95`
    are percentiles, over the parameters that are decayed, of the effective decay relative to the constant asked for.
    Where no method is known the references are steps of the optimizer itself, and `pairs` tell whether it scales the
    decay as it scales the gradient.
    """

    coupled: float
    decoupled: float
    p5: float
    p95: float
    asked: float
    parameters: int
    tolerance: float
    pairs: Pairs | None = None

    @property
    def is_coupled(self) -> bool:
        """Whether the step equals the coupled reference and differs from the decoupled one."""
        return self.coupled <= self.tolerance < self.decoupled

    @property
    def is_spread(self) -> bool:
        """Whether there are weights that are decayed at least twice as much as others."""
        return self.p95 >= 2 * self.p5

    @property
    def is_near(self) -> bool:
        """Whether the step may equal the coupled reference but for the precision that it computes in."""
        return self.coupled <= BLURRED

    @property
    def is_uniform(self) -> bool:
        """Whether the weights are decayed by the same share of themselves; a single one tells nothing."""
        return self.parameters > 1 and self.p95 != 0 and abs(self.p95 - self.p5) <= self.tolerance * abs(self.p95)

    @property
    def is_nothing(self) -> bool:
        """Whether the decay changes nothing in the step."""
        return self.p5 == self.p95 == self.decoupled == 0

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
