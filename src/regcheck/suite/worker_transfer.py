"""From the workers of pytest-xdist to their controller: what each test showed, sent as soon as it is judged.

A worker that crashes, or is killed, takes with it only what it had not sent yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

import pytest

KEY = "regcheck"
"""The name under which a worker finds its channel."""

Message = dict[str, Any]


class Inbox:
    """The controller's end: a channel of its own for each worker, beside the one that pytest-xdist uses."""

    def __init__(self) -> None:
        self._arrived: SimpleQueue[str] = SimpleQueue()
        self._channels: list[Any] = []

    def open_for(self, node: Any) -> None:
        """Give a worker that is about to start its channel. What it sends arrives on execnet's own thread."""
        channel = node.gateway.newchannel()
        channel.setcallback(self._arrived.put)
        self._channels.append(channel)
        node.workerinput[KEY] = channel

    def messages(self) -> Iterator[Message]:
        """What arrived since the last time."""
        while True:
            try:
                yield json.loads(self._arrived.get_nowait())
            except Empty:
                return


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def sender(config: pytest.Config) -> Callable[[Message], None]:
    """The worker's end."""
    channel = getattr(config, "workerinput")[KEY]  # noqa: B009, pytest knows no such attribute
    return lambda message: channel.send(json.dumps(message))
