"""Call a function for many items on the nodes of a Ray cluster, each in a process of its own there.

A worker of Ray forks the processes, so that it lives longer than a model that crashes, and does not import torch for
each. Ray runs a task again elsewhere when its worker or node is lost.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from regcheck.core.errors import RegcheckError, UsageError
from regcheck.core.version import __version__
from regcheck.engine.isolated_calls import IsolatedCalls, Lost

T = TypeVar("T")
R = TypeVar("R")

RETRIES = 3
"""How often Ray runs a call again whose worker or node was lost."""
MEMORY = 4 * 10**9
"""The bytes that a call declares where the user does not."""
LOCAL = "local"
"""The address that starts a cluster on this machine, which ends with the run."""


class RayCalls(Generic[T, R]):
    """The calls of a function for many items on a cluster.

    Args:
        function: a function of a module; it and its items and results are pickled.
        items: the items.
        address: `local`, or that of a running cluster: `ray://HOST:PORT`, `HOST:PORT`, or `auto` on one of its nodes.
        memory: the bytes that a call declares, and may allocate: Ray runs it where they are free.

    Raises:
        UsageError: Ray is not installed, there is no cluster, or no node has that memory.
    """

    def __init__(self, function: Callable[[T], R], items: Iterable[T], address: str, memory: int | None = None) -> None:
        self._function, self._memory = function, memory or MEMORY
        self._waiting = deque(items)
        self._running: dict[Any, T] = {}
        self._ray = _connected(address)
        nodes = [each["Resources"] for each in self._ray.nodes() if each["Alive"]]
        largest = max((each.get("memory", 0) for each in nodes), default=0)
        if largest < self._memory:
            self._ray.shutdown()
            raise UsageError(
                f"--cluster {address}: no node has {self._memory / 1e9:.3g} GB; the largest has {largest / 1e9:.3g} GB"
                ": declare less --memory"
            )
        self._most = 2 * max(1, int(sum(each.get("CPU", 0) for each in nodes)))
        """More calls than cores, so that a core never waits for the driver."""
        self._task = self._ray.remote(num_cpus=1, memory=self._memory, max_retries=RETRIES)(_call)

    @property
    def running(self) -> list[T]:
        """The items whose calls are with the cluster."""
        return [*self._running.values()]

    def results(self) -> Generator[tuple[T, R | Lost], None, None]:
        """Yields each item with its result, or with how it was lost, in the order in which they end.

        Raises:
            RegcheckError: the function raised it.
            UsageError: a node has another version of regcheck.
        """
        try:
            self._submit()
            while self._running:
                (done, *_), _ = self._ray.wait([*self._running], num_returns=1)
                item = self._running.pop(done)
                self._submit()
                outcome = self._received(done)
                if isinstance(outcome, RegcheckError):
                    raise outcome
                yield item, outcome
        finally:
            self._ray.shutdown()

    def _submit(self) -> None:
        while self._waiting and len(self._running) < self._most:
            item = self._waiting.popleft()
            self._running[self._task.remote(self._function, item, self._memory, os.getcwd())] = item

    def _received(self, task: Any) -> Any:
        try:
            version, outcome = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return Lost(f"its worker was lost, and {RETRIES} more after it: {type(error).__name__}")
        if version != __version__:
            return UsageError(f"a node of the cluster has regcheck {version}, and this is {__version__}")
        return outcome


def _connected(address: str) -> Any:
    try:
        ray = import_module("ray")
    except ModuleNotFoundError:
        raise UsageError("--cluster needs Ray: `pip install 'regcheck[ray]'`") from None
    where: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {"address": address}
    try:
        ray.init(**where, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, ImportError) as error:
        raise UsageError(f"--cluster {address}: {str(error).strip().splitlines()[0]}") from None
    return ray


def _call(function: Callable[[T], R], item: T, memory: int, folder: str) -> tuple[str, R | Lost | RegcheckError]:
    """The task: call the function in a process of its own; return this node's version and the outcome."""
    if Path(folder).is_dir():
        os.chdir(folder)
    try:
        ((_, outcome),) = IsolatedCalls(function, [item], 1, memory, threads=1).results()
    except RegcheckError as error:
        return __version__, error
    return __version__, outcome
