"""Plan a measurement's runs before it begins, from the counted work of a forward and the model's budget.

No clock takes part, so that every machine makes the same measurements at any load.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from regcheck.core.errors import CannotMeasure
from regcheck.tracing.cost import SECOND, in_seconds

MARGIN, GRACE = 10, 60.0
"""No run begins once a model's runs have taken this many times its budget in CPU time, plus this many seconds."""


class Budget:
    """The work that all measurements of one model on one device may take.

    Args:
        seconds: the work, in seconds of one ordinary core (see `SECOND`).
        option: the option that the user raises to allow more.
    """

    def __init__(self, seconds: float = math.inf, option: str = "") -> None:
        self.seconds = seconds
        self._option = option
        self._left = seconds * SECOND
        self._cpu_seconds = 0.0

    @property
    def left(self) -> float:
        """The operations that are left."""
        return self._left

    @property
    def advice(self) -> str:
        """What the user can do to allow more."""
        return f"raise {self._option}"

    def take(self, each: int, least: int, most: int) -> int:
        """Take the work of as many runs as are affordable, `most` at most, and return their number.

        Args:
            each: the operations of one run.
            least: the fewest runs that can decide anything.
            most: the most runs that are useful.

        Raises:
            CannotMeasure: `least` runs are not affordable.
        """
        runs = most if each * most <= self._left else int(self._left // each)
        if runs < least:
            raise CannotMeasure(self._refusal(each, least))
        self._left -= runs * each
        return runs

    def _refusal(self, each: int, least: int) -> str:
        runs = (
            f"{least} runs of {in_seconds(each)} of work each" if least > 1 else f"a run of {in_seconds(each)} of work"
        )
        spent = self._left < self.seconds * SECOND
        left = f"the {in_seconds(self._left)} left of its budget" if spent else "its budget"
        return f"proof takes {runs}, more than {left} of {self.seconds:g} s; {self.advice}"

    @property
    def too_large(self) -> str:
        """Why a model does not run of which one call alone takes more."""
        return f"one call takes more work than its budget of {self.seconds:g} s"

    @contextmanager
    def watch_over(self) -> Iterator[None]:
        """Bound the CPU time of runs that do far more work than was counted, in code outside torch's calls.

        Raises:
            CannotMeasure: the runs before exceed the bound.
        """
        if self._cpu_seconds > MARGIN * self.seconds + GRACE:
            raise CannotMeasure(f"its runs took {self._cpu_seconds:.0f} s of CPU time, far more than counted")
        began = time.thread_time()
        try:
            yield
        finally:
            self._cpu_seconds += time.thread_time() - began
