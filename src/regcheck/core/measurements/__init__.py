"""What a rule can measure: one module a measurement, each a value with the effect and the figures of its evidence.

A new measurement is one such value, in any module that does not import torch, and the module that its `measured_by`
names. Nothing else lists it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

M = TypeVar("M", bound="Measurement")


@dataclass(frozen=True)
class Figures:
    """The figure that a measurement gives, the one that the reference predicts, the test, and its sample count."""

    measured: float
    expected: float
    statistic: str
    samples: int


class Measurement(ABC):
    """The result of one measurement, which `Probe.measure` returns. A subclass is a frozen dataclass.

    `measured_by` names the module whose `measure` makes it. The probe imports that module when a rule measures, so that
    rules load without torch.
    """

    measured_by: ClassVar[str]

    @property
    @abstractmethod
    def effect(self) -> Effect:
        """How large the measured effect is; a larger value is always more harmful."""

    @property
    @abstractmethod
    def figures(self) -> Figures:
        """The figures that the evidence records."""


class BinomialShare:
    """A share of units, and the exact binomial `interval` around the share that the rule expects."""

    share: float
    interval: tuple[float, float]

    @property
    def is_expected(self) -> bool:
        return self.interval[0] <= self.share <= self.interval[1]

    @property
    def is_too_small_a_sample(self) -> bool:
        """Whether no unit was counted though some are expected, in so few draws that this may be chance."""
        return self.share == 0 and self.is_expected


def is_undecided(above: int, changed: int, floor: float) -> bool:
    """Whether `above` of `changed` runs exceed the noise floor: too many for no effect, where an effect moves all runs.

    Where replays are bit-identical (`floor` is zero), one run that differs is no chance. Where they are not, a changed
    run is as likely as a replay to differ most, and doubt begins with half of the changed runs.
    """
    return above > 0 if floor == 0 else 2 * above >= changed


def percent(share: float) -> str:
    """`85 %`, `0.31 %`: a share with two significant digits, or all digits before the decimal point."""
    value = 100 * share + 0.0  # a negative zero loses its sign
    return f"{value:.0f} %" if abs(value) >= 9.95 or value == 0 else f"{value:.2g} %"
