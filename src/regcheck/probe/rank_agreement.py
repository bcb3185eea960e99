"""Compare the masks that the ranks of a process group draw, without a collective that could hang.

Each rank leaves notes in the store through which the group was made, and reads those of the others.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch

from regcheck.core.errors import CannotMeasure, format_error
from regcheck.core.graph import Drops, Op
from regcheck.core.rank_masks import RankMasks
from regcheck.tracing.example_inputs import home_of

from . import statistics
from .dropout_masks import CALLS, UNITS, caught, dropped_by
from .runner import Runner
from .seeds import draw_from
from .unavailable import UnableProbe

PATIENCE = timedelta(seconds=5)
"""So long a rank waits for the others to audit the model too, and no longer."""

LAG = timedelta(seconds=60)
"""By so much others that do so may take longer for it."""

_met: Counter[str] = Counter()
"""How often the ranks have met over each topic, so that no note is taken for that of an earlier meeting."""

Exchange = Callable[[str, bytes, Iterable[int]], Mapping[int, bytes]]
"""Gives the others a note about something, and returns the notes of some ranks, one's own among them."""


class Rendezvous:
    """The ranks of one process group that talk about the same `topic`."""

    def __init__(self, group: Any, topic: str) -> None:
        self.here: int = group.rank()
        self.everyone = range(group.size())
        self._group, self._topic = group, topic

    def exchange(
        self, about: str, note: bytes, ranks: Iterable[int], patience: timedelta = PATIENCE
    ) -> Mapping[int, bytes]:
        """Leave a note for `ranks`, and read theirs.

        Raises:
            CannotMeasure: some of them left none in time, or the store cannot be reached.
        """
        name = f"regcheck/{self._topic}/{about}"
        keys = {rank: f"{name}/{_met[name]}/{rank}" for rank in ranks}
        gone = f"{name}/{_met[name]}/gone"
        try:
            store = self._group.get_group_store()
            store.set(keys[self.here], note)
            came = waited_for(store, [*keys.values()], patience)
            notes = {rank: bytes(store.get(key)) for rank, key in keys.items()} if came else {}
        except Exception as error:
            raise CannotMeasure(f"the ranks have no store to leave notes in: {format_error(error)}") from error
        self._tidy(store, keys, gone, came)
        if not came:
            seconds = f"{patience.total_seconds():g} seconds"
            raise CannotMeasure(f"not every other rank told of its random stream within {seconds}")
        _met[name] += 1
        return notes

    def _tidy(self, store: Any, keys: Mapping[int, str], gone: str, came: bool) -> None:
        """Take one's own note back where others did not come; else the last to leave removes all."""
        with suppress(Exception):  # a store need not be able to delete
            if not came:
                store.delete_key(keys[self.here])
            elif store.add(gone, 1) == len(keys):
                for key in (*keys.values(), gone):
                    store.delete_key(key)


def waited_for(store: Any, keys: list[str], patience: timedelta) -> bool:
    """Whether all keys are there in time. It looks now and then: waiting in vain may break the user's connection."""
    until = time.monotonic() + patience.total_seconds()
    while not store.check(keys):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def state_digest(state: bytes) -> bytes:
    """A short name for the state of a stream."""
    return hashlib.blake2b(state, digest_size=16).hexdigest().encode()


class RanksProbe(UnableProbe):
    """Compares the mask of a call as this rank draws it from its own stream, whose state it is given, with others'."""

    def __init__(self, runner: Runner, state: bytes, ranks: Iterable[int], exchange: Exchange, seed: int) -> None:
        super().__init__(runner.device, seed)
        self._runner, self._state = runner, state
        self._ranks, self._exchange = tuple(ranks), exchange

    def masks(self, op: Op) -> RankMasks:
        if op.rate is None or len(self._ranks) < 2:
            raise CannotMeasure("the rate of this dropout is not a number" if op.rate is None else "there is one rank")
        found = self._exchange("masks", mask_from(self._runner, op, self._state, self.seed), self._ranks)
        if len({len(each) for each in found.values()}) > 1:
            raise CannotMeasure("the ranks drop from inputs of other shapes")
        units = len(found[self._ranks[0]])
        agreeing = sum(len(set(each)) == 1 for each in zip(*found.values(), strict=True))
        alone = op.rate**2 + (1 - op.rate) ** 2
        return RankMasks(self._ranks, agreeing, units, alone, statistics.at_least(agreeing, units, alone))


def mask_from(runner: Runner, op: Op, state: bytes, seed: int) -> bytes:
    """What `op` drops as it draws from a stream in this state, a byte for each unit: the call is made on ones again."""
    call = caught(runner, op, seed)
    draw_from(home_of(runner.model), state)
    drawn: list[torch.Tensor] = []
    with torch.no_grad():
        while len(drawn) < CALLS and sum(each.numel() for each in drawn) < UNITS:
            mask = dropped_by(op.site, call)
            channels = op.drops is Drops.CHANNELS and mask.dim() > 2
            drawn.append((mask.flatten(2)[..., 0] if channels else mask).flatten())
    return bytes(torch.cat(drawn)[:UNITS].byte().tolist())
