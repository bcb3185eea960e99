"""The data-parallel ranks that train one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regcheck.lazy_dataclass import dataclass

from .graph import Graph


@dataclass(frozen=True)
class Ranks:
    """The ranks of a process group that train one model, each on its own data, as the rank `here` sees them.

    `streams` maps each rank to a digest of the random stream that it is about to draw from: equal states have equal
    digests.
    """

    graph: Graph
    here: int
    streams: Mapping[int, str]

    @property
    def subject(self) -> str:
        return self.graph.subject

    @property
    def alike(self) -> tuple[int, ...]:
        """The ranks whose stream is in the same state as that of this rank, which is among them."""
        return tuple(sorted(rank for rank, state in self.streams.items() if state == self.streams[self.here]))


def listed(ranks: Sequence[int]) -> str:
    """`1`, or `0, 1 and 3`."""
    *first, last = map(str, ranks)
    return f"{', '.join(first)} and {last}" if first else last
