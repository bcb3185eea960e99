"""Call a function for many items, each in a process of its own: one that crashes or is killed loses nothing else.

On Linux a server that has imported torch forks the processes, which therefore start in milliseconds; elsewhere each
process imports torch anew.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from types import ModuleType
from typing import Any, Generic, TypeVar

from regcheck.core.errors import RegcheckError, format_error

T = TypeVar("T")
R = TypeVar("R")

IMPORTED_ONCE = ("torch", "regcheck.engine.preloaded")
"""What the server imports before it forks. It runs no operator, so that no thread is lost in a fork."""


class Lost(Exception):
    """A process ended without a result; the message says how."""


class IsolatedCalls(Generic[T, R]):
    """The calls of a function for many items, so many of them at once.

    Args:
        function: a function of a module; it and its items and results are pickled.
        items: the items.
        jobs: how many processes run at once.
        memory: the most bytes that one process may allocate; None for no limit. It holds on Linux.
        threads: the threads of one process; its share of the cores by default.
    """

    def __init__(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        jobs: int,
        memory: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._function, self._jobs, self._memory = function, jobs, memory
        self._threads = threads or max(1, (os.cpu_count() or 1) // jobs)
        self._waiting = deque(items)
        self._context = context()
        self._running: dict[Connection, tuple[T, Any]] = {}

    @property
    def running(self) -> list[T]:
        """The items whose calls run now."""
        return [item for item, _ in self._running.values()]

    def results(self) -> Generator[tuple[T, R | Lost], None, None]:
        """Yields each item with its result, or with how its process was lost, in the order in which they end.

        Raises:
            RegcheckError: the function raised it.
        """
        try:
            self._start()
            while self._running:
                for each in wait([*self._running]):
                    assert isinstance(each, Connection)
                    item, process = self._running[each]
                    outcome = _received(each, process)
                    del self._running[each]
                    self._start()
                    if isinstance(outcome, RegcheckError):
                        raise outcome
                    yield item, outcome
        finally:
            for connection, (_, process) in self._running.items():
                process.kill()
                process.join()
                connection.close()
            self._running.clear()

    def _start(self) -> None:
        """Start as many processes as there is room for."""
        while self._waiting and len(self._running) < self._jobs:
            item = self._waiting.popleft()
            mine, theirs = self._context.Pipe(duplex=False)
            arguments = (theirs, self._function, item, self._memory, self._threads)
            process: Any = self._context.Process(target=_serve, args=arguments, daemon=True)  # type: ignore[attr-defined]
            with _another_main():
                process.start()
            theirs.close()
            self._running[mine] = item, process


@contextmanager
def _another_main() -> Iterator[None]:
    """Hide the program's main module, which multiprocessing would run again in each process."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def context() -> BaseContext:
    """How processes start here."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([*IMPORTED_ONCE])
    return forking


def _received(connection: Connection, process: Any) -> Any:
    """What the process sent, or how it was lost."""
    try:
        outcome = pickle.loads(connection.recv_bytes())
    except (EOFError, OSError):
        process.join()
        return Lost(ending(process.exitcode))
    finally:
        connection.close()
    process.join()
    return outcome


def ending(code: int) -> str:
    """How a process ended, by its exit code, which is the negative number of a signal."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
    hint = ", as the system does where memory is short" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"


def _serve(connection: Connection, function: Callable[[T], R], item: T, memory: int | None, threads: int) -> None:
    """The process: call the function, and send what it returns or which of regcheck's errors it raises."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    os.dup2(2, 1)  # standard output is the report's
    import torch

    torch.set_num_threads(threads)
    if memory is not None and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    outcome: Any
    try:
        outcome = function(item)
    except RegcheckError as error:
        outcome = error
    except BaseException as error:
        traceback.print_exc()
        outcome = Lost(f"its process raised {format_error(error)}")
    connection.send_bytes(pickle.dumps(outcome))
    connection.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a model's threads or exit handlers do not hold up the next one
