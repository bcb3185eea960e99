"""What data-parallel ranks have in common: the state of their random streams, and the masks they draw from these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .graph import Graph
from .measurements import Figures


@dataclass(frozen=True)
class Ranks:
    """The ranks of a process group that train one model, each on data of its own, as one of them (`here`) sees them.

    `streams` names the state of the random stream that each rank is about to draw from: equal states, equal names.
    """

    graph: Graph
    here: int
    streams: Mapping[int, str]

    @property
    def subject(self) -> str:
        return self.graph.subject

    @property
    def alike(self) -> tuple[int, ...]:
        """The ranks whose stream is in the same state as the one here, this one among them."""
        return tuple(sorted(rank for rank, state in self.streams.items() if state == self.streams[self.here]))


@dataclass(frozen=True)
class RankMasks:
    """How many of `units` all `ranks` treat alike where one call draws from the stream of each: all drop, or all keep.

    `alone` is the share of units that two masks agree in which are drawn each on its own, and `p_value` the probability
    that such masks agree in at least as many.
    """

    ranks: tuple[int, ...]
    agreeing: int
    units: int
    alone: float
    p_value: float

    @property
    def same(self) -> bool:
        """Whether no unit tells the masks apart."""
        return self.agreeing == self.units

    @property
    def figures(self) -> Figures:
        statistic = "share of units that the ranks treat alike, drawn each on its own; exact binomial test"
        return Figures(self.agreeing / self.units, self.alone, statistic, self.units)
