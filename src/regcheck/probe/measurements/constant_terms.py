"""Read what the recorder saw in the autograd graph of a back-propagated loss."""

from __future__ import annotations

from regcheck.core.errors import CannotMeasure
from regcheck.core.measurements.constant_terms import ConstantTerms
from regcheck.core.usage import Backward, Event, PenaltyWithoutGradient
from regcheck.probe.probes import BaseProbe, measures


@measures(BaseProbe)
def measure(probe: BaseProbe, event: Event) -> ConstantTerms:
    """The graph is gone when a probe measures: the event holds its figure.

    Raises:
        CannotMeasure: the event is no backward pass, and no term of a loss.
    """
    if not isinstance(event, (Backward, PenaltyWithoutGradient)):
        raise CannotMeasure("this is no loss, and no term of one")
    return ConstantTerms(event.constants)
