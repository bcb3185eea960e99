"""Plan what a measurement runs before it begins: from the counted work of a forward and what its model may take.

No clock takes part in it, so that the same measurements are made on every machine and at any load.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from regcheck.core.errors import CannotMeasure
from regcheck.tracing.cost import SECOND, in_seconds

MARGIN, GRACE = 10, 60.0
"""No run begins once the runs of a model took this many times its budget in CPU time, and this many seconds more."""


class Budget:
    """The work that proving the findings of one model on one device may take.

    Args:
        seconds: how much, in seconds of one ordinary core (see `SECOND`).
        option: what the user raises to allow more.
    """

    def __init__(self, seconds: float = math.inf, option: str = "") -> None:
        self.seconds = seconds
        self._option = option
        self._left = seconds * SECOND
        self._cpu_seconds = 0.0

    @property
    def left(self) -> float:
        """The operations that may still be done."""
        return self._left

    @property
    def advice(self) -> str:
        """How the user allows more."""
        return f"raise {self._option}"

    def take(self, each: int, least: int, most: int) -> int:
        """Take the work of as many runs as there are operations left for, `most` at most; return how many.

        Args:
            each: the operations of one run.
            least: the fewest runs that can tell anything.
            most: the most that are of use.

        Raises:
            CannotMeasure: there are too few left for `least` runs.
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
        """Why nothing is run of a model of which one call alone takes more."""
        return f"one call takes more work than its budget of {self.seconds:g} s"

    @contextmanager
    def watch_over(self) -> Iterator[None]:
        """Bound the CPU time of runs whose work was counted far too low: by code that torch's calls do not show.

        Raises:
            CannotMeasure: they took that long.
        """
        if self._cpu_seconds > MARGIN * self.seconds + GRACE:
            raise CannotMeasure(f"its runs took {self._cpu_seconds:.0f} s of CPU time, far more than counted")
        began = time.thread_time()
        try:
            yield
        finally:
            self._cpu_seconds += time.thread_time() - began
