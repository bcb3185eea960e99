"""The function of a training step: the lowest common stack frame of the call, the backward pass and the step."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType

from .call_sites import CallSite, Stack, lowest_common_function, stack
from .result_tracking import ResultTracker


class StepScopes:
    """Finds the innermost functions around a call and the backward pass through it, and around that pass and the step.

    Only a new backward pass is examined: one from a new site, or the first one through a result of some call. The
    trackers of such calls add themselves to `reached`.
    """

    def __init__(self) -> None:
        self.reached: list[ResultTracker] = []
        self._backward_sites: set[CallSite] = set()
        self._backward_stack: Stack = ()

    def on_backward(self, site: CallSite, frame: FrameType) -> Iterator[str]:
        """Yield the innermost common function of a backward pass and each call that it newly reaches."""
        if self.reached or site not in self._backward_sites:
            self._backward_sites.add(site)
            self._backward_stack = stack(frame)
            while self.reached:
                yield lowest_common_function(self.reached.pop().around, self._backward_stack)

    def on_step(self, frame: FrameType) -> Iterator[str]:
        """Yield the innermost common function of an optimizer's step and the last new backward pass."""
        if self._backward_stack:
            yield lowest_common_function(self._backward_stack, stack(frame))
            self._backward_stack = ()
