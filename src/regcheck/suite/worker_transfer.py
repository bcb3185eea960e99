"""From the processes that run tests to the one that reports: what each test showed, sent as soon as it is examined.

A worker of pytest-xdist that crashes, or is killed, takes with it only what it had not sent yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from regcheck.config.options import Options
from regcheck.core.progress import ProgressStep
from regcheck.core.suppressions import CodeSuppression
from regcheck.lazy_dataclass import dataclass
from regcheck.session.ledger import Ledger
from regcheck.suite.declarations import DeclarationStatus, DeclarationUse
from regcheck.suite.progress_line import ProgressLine

KEY = "regcheck"
"""The name under which a worker finds its channel."""
SHOWS_STEPS = "regcheck_shows_steps"
"""The name under which it finds whether the controller shows steps."""


@dataclass(frozen=True)
class Message:
    """What one test showed and the use of the declarations around it; or, without a test, that some are left out."""

    test: str
    ledger: Ledger
    declarations: tuple[DeclarationUse, ...] = ()

    def to_json(self) -> str:
        uses = [[each.declaration.to_dict(), each.status.value, each.in_test] for each in self.declarations]
        return json.dumps([self.test, self.ledger.to_dict(), uses])

    @classmethod
    def from_json(cls, text: str, options: Options, root: Path) -> Message:
        """Rebuild a message from `to_json`; `options` and `root` are those of its ledger."""
        test, ledger, uses = json.loads(text)
        declarations = (
            DeclarationUse(CodeSuppression.from_dict(document), DeclarationStatus(status), in_test)
            for document, status, in_test in uses
        )
        return cls(test, Ledger.from_dict(ledger, options, root), tuple(declarations))


class Inbox:
    """The controller's end: a channel of its own for each worker, beside the one that pytest-xdist uses.

    A string is a message, a list the steps that the worker is in.
    """

    def __init__(self, options: Options, root: Path, line: ProgressLine) -> None:
        self._options, self._root, self._line = options, root, line
        self._arrived: SimpleQueue[str] = SimpleQueue()
        self._channels: list[Any] = []

    def open_for(self, node: Any) -> None:
        """Give a worker that is about to start its channel. What it sends arrives on execnet's own thread."""
        channel = node.gateway.newchannel()
        channel.setcallback(partial(self._take, node.gateway.id))
        self._channels.append(channel)
        node.workerinput[KEY] = channel
        node.workerinput[SHOWS_STEPS] = self._line.is_shown

    def close_for(self, node: Any) -> None:
        """Forget the steps of a worker that is down."""
        self._line.clear(node.gateway.id)

    def _take(self, worker: str, item: str | list[list[Any]]) -> None:
        if isinstance(item, str):
            self._arrived.put(item)
            return
        with suppress(OSError, ValueError):  # the terminal is gone: execnet would close the channel, and lose messages
            if item:
                self._line.show(tuple(ProgressStep(*each) for each in item), worker)
            else:
                self._line.clear(worker)

    def messages(self) -> Iterator[Message]:
        """The messages that arrived since the last time."""
        while True:
            try:
                yield Message.from_json(self._arrived.get_nowait(), self._options, self._root)
            except Empty:
                return


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def sender(config: pytest.Config) -> Callable[[Message], None]:
    """The worker's end for messages."""
    channel = _input(config)[KEY]
    return lambda message: channel.send(message.to_json())


class StepChannel:
    """The worker's end for steps."""

    def __init__(self, config: pytest.Config) -> None:
        self.is_shown: bool = _input(config)[SHOWS_STEPS]
        self._channel = _input(config)[KEY]

    def show(self, begun: tuple[ProgressStep, ...]) -> None:
        self._channel.send([[each.doing, each.number, each.total] for each in begun])

    def clear(self) -> None:
        self._channel.send([])


def _input(config: pytest.Config) -> dict[str, Any]:
    """What the controller passed to this worker."""
    passed: dict[str, Any] = getattr(config, "workerinput")  # noqa: B009, pytest knows no such attribute
    return passed
