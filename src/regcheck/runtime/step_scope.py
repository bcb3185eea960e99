"""Where a training step comes together whose parts stand in functions of their own, or in a library's."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType

from .call_sites import CallSite, Stack, meeting, stack
from .result_tracking import ResultTracker


class Steps:
    """The innermost functions that make both a call and the backward pass through its result, or that and the step.

    A backward pass is looked at where it is new: its site is, or it is the first through a result of some call.
    `reached` are the calls of which it is, and which add themselves.
    """

    def __init__(self) -> None:
        self.reached: list[ResultTracker] = []
        self._known: set[CallSite] = set()
        self._propagated: Stack = ()

    def propagated(self, site: CallSite, frame: FrameType) -> Iterator[str]:
        """A loss was propagated back; yields the functions in which this and the calls that it reached meet."""
        if self.reached or site not in self._known:
            self._known.add(site)
            self._propagated = stack(frame)
            while self.reached:
                yield meeting(self.reached.pop().around, self._propagated)

    def stepped(self, frame: FrameType) -> Iterator[str]:
        """An optimizer stepped; yields the function in which this and a backward pass that was new meet."""
        if self._propagated:
            yield meeting(self._propagated, stack(frame))
            self._propagated = ()
