"""Where rules start: the kinds and traits of ops, and the types of events, that a rule file names in `BEGINS_AT`.

A scan keeps the graphs, reads the files and searches the words that the chosen rules can start from, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import cached_property

from regcheck.lazy_dataclass import dataclass

from .graph import Kind, Mode, Op
from .usage import Event


class Trait(Enum):
    """What narrows an op's kind, or an event's type, down to the few that a rule can find something in."""

    DROPS = "an op that drops at a rate above zero, or would at another rate"
    BATCH_STATISTICS = "a batch norm that may normalize by its batch after `eval()`, or a reduction of the first axis"
    REUSES_MASK = "a product with a random mask that is drawn once"
    UNCALLED = "a dropout layer that a model registers and never calls"
    NO_GRADIENTS = "a model call without gradients"
    WEIGHTS_LOADED = "a call of a model whose weights the program has loaded"
    EXPORTED = "an export of a model"
    DECAYS = "an optimizer that decays weights"

    @property
    def is_of_ops(self) -> bool:
        """Whether an op has the trait, and not an event."""
        return self in (Trait.DROPS, Trait.BATCH_STATISTICS, Trait.REUSES_MASK, Trait.UNCALLED)


Start = Kind | Trait | type[Event]
"""What a rule starts from."""


def is_start(value: object) -> bool:
    """Whether a rule may start from a value."""
    return isinstance(value, (Kind, Trait)) or (isinstance(value, type) and issubclass(value, Event))


def is_of_ops(start: Start) -> bool:
    """Whether a graph holds such a start, and not a usage."""
    return isinstance(start, Kind) or (isinstance(start, Trait) and start.is_of_ops)


@dataclass(frozen=True)
class StartingPoints:
    """All that some rules start from; None where everything is wanted."""

    starts: frozenset[Start] | None = None

    @classmethod
    def of(cls, begins: Iterable[Iterable[Start]]) -> StartingPoints:
        """The starting points of some rules, given the `BEGINS_AT` of each."""
        return cls(frozenset(start for each in begins for start in each))

    def __contains__(self, start: Start) -> bool:
        return self.starts is None or start in self.starts

    @cached_property
    def _kinds(self) -> frozenset[Kind]:
        return frozenset(each for each in Kind if each in self)

    def has(self, op: Op, other: Op | None = None) -> bool:
        """Whether a rule starts at an op; `other` is the op in the other mode, where it differs there."""
        if op.kind in self._kinds:
            return True
        if Trait.DROPS in self and _drops(op, other):
            return True
        if op.reused_mask and Trait.REUSES_MASK in self:
            return True
        if Trait.BATCH_STATISTICS not in self:
            return False
        return op.reduces_first_axis or (op.kind is Kind.BATCH_NORM and _in_eval(op, other).active is not False)


def _drops(op: Op, other: Op | None) -> bool:
    if op.kind is Kind.RECURRENT:
        return bool(op.rate)
    if op.drops is None:
        return False
    sides = (op,) if other is None else (op, other)
    inert = op.reach is not None and all(each.active is False for each in sides)  # rules blame calls for that only
    return _in_eval(op, other).latent or (not inert and any(each.rate != 0 for each in sides))


def _in_eval(op: Op, other: Op | None) -> Op:
    return op if other is None or op.mode is Mode.EVAL else other
