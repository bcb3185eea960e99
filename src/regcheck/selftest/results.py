"""The results of a selftest: one outcome per check, and all of them together."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from math import isfinite
from typing import Any

from regcheck.core.report import counted
from regcheck.lazy_dataclass import dataclass

MODES = ("eager", "compiled")


class CheckStatus(Enum):
    """The outcome of a check."""

    HOLDS = "holds"
    FAILS = "fails"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class CheckResult:
    """One check of one layer or optimizer; `alpha` is its false-alarm probability, 0 for exact checks."""

    what: str
    check: str
    device: str
    mode: str
    verdict: CheckStatus
    measured: float | str | None = None
    expected: str = ""
    alpha: float = 0.0
    samples: int = 0
    because: str = ""

    def document(self) -> dict[str, Any]:
        """Returns the result as a JSON object; infinities and NaN are strings."""
        measured = self.measured
        if isinstance(measured, float) and not isfinite(measured):
            measured = str(measured)
        return {**asdict(self), "verdict": self.verdict.value, "measured": measured}


@dataclass(frozen=True)
class CheckSubject:
    """A layer, norm or optimizer on a device, eager or compiled."""

    what: str
    device: str
    mode: str

    def result(
        self,
        check: str,
        holds: bool,
        measured: float | str,
        expected: str,
        *,
        alpha: float = 0.0,
        samples: int = 0,
        because: str = "",
    ) -> CheckResult:
        """Returns the result of a check that ran."""
        verdict = CheckStatus.HOLDS if holds else CheckStatus.FAILS
        where = (self.what, check, self.device, self.mode)
        return CheckResult(*where, verdict, measured, expected, alpha, samples, because)

    def not_run(self, check: str, because: str) -> CheckResult:
        """Returns the result of a check that could not run."""
        return CheckResult(self.what, check, self.device, self.mode, CheckStatus.NOT_RUN, because=because)

    def within(self, check: str, measured: float, bound: float, because: str = "") -> CheckResult:
        """Returns the result of a check that a deviation is within a bound on rounding; NaN fails."""
        return self.result(check, measured <= bound, measured, f"≤ {bound:.2g}", because=because)


@dataclass(frozen=True)
class Selftest:
    """All results, with the seed and the false-alarm probability of the whole run."""

    outcomes: tuple[CheckResult, ...]
    torch: str
    seed: int
    alpha: float
    seconds: float

    def of(self, verdict: CheckStatus) -> list[CheckResult]:
        """Returns the results with this verdict."""
        return [each for each in self.outcomes if each.verdict is verdict]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.of(CheckStatus.FAILS)

    @property
    def missed(self) -> bool:
        """Whether a check was not run."""
        return bool(self.of(CheckStatus.NOT_RUN))

    @property
    def headline(self) -> str:
        """The numbers of checks that hold, fail, and were not run."""
        failed, missed = len(self.of(CheckStatus.FAILS)), len(self.of(CheckStatus.NOT_RUN))
        parts = [
            f"{counted(len(self.outcomes), 'check')} of torch {self.torch}: {len(self.of(CheckStatus.HOLDS))} hold"
        ]
        parts += [f"{failed} fail"] if failed else []
        parts += [f"{missed} not run"] if missed else []
        return ", ".join(parts)

    def document(self) -> dict[str, Any]:
        """Returns the selftest as a JSON document."""
        return {
            "tool": {"name": "regcheck", "torch": self.torch},
            "ok": self.ok,
            "seed": self.seed,
            "alpha": self.alpha,
            "seconds": round(self.seconds, 1),
            "checks": [each.document() for each in self.outcomes],
        }
