"""Exchange messages between the ranks of a process group, without a collective that could hang.

Each rank writes messages to the store behind the group, and reads those of the others.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from regcheck.core.errors import CannotMeasure, format_error

PATIENCE = timedelta(seconds=5)
"""How long a rank waits for the others to audit the model too."""

LAG = timedelta(seconds=60)
"""How much longer the others may take for it."""

_exchanges: Counter[str] = Counter()
"""How many exchanges each topic has had, so that no rank reads a message of an earlier one."""

Exchange = Callable[[str, bytes, Iterable[int]], Mapping[int, bytes]]
"""Sends the others a message about a subject, and returns the messages of some ranks, its own among them."""


class Rendezvous:
    """The ranks of one process group that exchange messages about the same `topic`."""

    def __init__(self, group: Any, topic: str) -> None:
        self.here: int = group.rank()
        self.everyone = range(group.size())
        self._group, self._topic = group, topic

    def exchange(
        self, about: str, message: bytes, ranks: Iterable[int], patience: timedelta = PATIENCE
    ) -> Mapping[int, bytes]:
        """Send a message to `ranks`, and read theirs.

        Raises:
            CannotMeasure: some of them send none in time, or the store cannot be reached.
        """
        name = f"regcheck/{self._topic}/{about}"
        keys = {rank: f"{name}/{_exchanges[name]}/{rank}" for rank in ranks}
        gone = f"{name}/{_exchanges[name]}/gone"
        try:
            store = store_of(self._group)
            store.set(keys[self.here], message)
            complete = wait_for(store, [*keys.values()], patience)
            messages = {rank: bytes(store.get(key)) for rank, key in keys.items()} if complete else {}
        except Exception as error:
            raise CannotMeasure(f"the ranks have no store for messages: {format_error(error)}") from error
        self._clean_up(store, keys, gone, complete)
        if not complete:
            seconds = f"{patience.total_seconds():g} seconds"
            raise CannotMeasure(f"some ranks did not report their random streams within {seconds}")
        _exchanges[name] += 1
        return messages

    def _clean_up(self, store: Any, keys: Mapping[int, str], gone: str, complete: bool) -> None:
        """Delete this rank's message where others sent none; else the last rank to read deletes all."""
        with suppress(Exception):  # some stores cannot delete
            if not complete:
                store.delete_key(keys[self.here])
            elif store.add(gone, 1) == len(keys):
                for key in (*keys.values(), gone):
                    store.delete_key(key)


def store_of(group: Any) -> Any:
    """The store behind a process group."""
    if hasattr(group, "get_group_store"):
        return group.get_group_store()
    from torch.distributed import distributed_c10d  # torch 2.7 has no public name for it

    return distributed_c10d._get_process_group_store(group)


def wait_for(store: Any, keys: list[str], patience: timedelta) -> bool:
    """Poll until all keys exist, or time is up: a blocking wait that times out may break the user's connection."""
    until = time.monotonic() + patience.total_seconds()
    while not store.check(keys):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def state_digest(state: bytes) -> bytes:
    """A digest of the state of a random stream."""
    return hashlib.blake2b(state, digest_size=16).hexdigest().encode()
