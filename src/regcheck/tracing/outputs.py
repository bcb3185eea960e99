"""What a forward returns: its tensors, its arrays and numbers as tensors, and what it leaves to be computed later."""

from __future__ import annotations

import array
import asyncio
import functools
import inspect
import io
import itertools
import multiprocessing.pool
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, ValuesView
from collections.abc import Set as AbstractSet
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import fx, nn

from .nested_values import named_leaves
from .user_line import runs_the_model

MOST_ITEMS = 64
"""An iterator is read no further than this."""

PATIENCE = 60.0
"""Seconds that a future may take; a safety net against waiting for ever."""

_POLL = 0.001
_DEEPEST = 3
_NUMBERS = (bool, int, float, complex)


@dataclass(frozen=True)
class Output:
    """A tensor of a result; `source` is the array, the number or the list of numbers that it was made from, if any."""

    name: str
    tensor: torch.Tensor
    source: Any = None


@dataclass(frozen=True)
class Outputs:
    """What a result holds; `unread` says of what parts it is not known what they are, or will be."""

    values: tuple[Output, ...] = ()
    unread: tuple[str, ...] = ()


@runs_the_model
def outputs_of(result: Any) -> Outputs:
    """The outputs of a forward; iterators are consumed, coroutines run and futures waited for.

    To be called where the forward ran, so that what only runs now is seen as well; the result is used up by it.
    """
    reading = _Reading()
    found = tuple(reading.outputs(result))
    return Outputs(found, tuple(dict.fromkeys(reading.unread)))


class EscapedNumbers:
    """The numbers that left torch during a forward, each with the node of the tensor that it was."""

    def __init__(self) -> None:
        self._values: list[tuple[Any, fx.Node]] = []

    def note(self, value: Any, nodes: Iterable[fx.Node]) -> None:
        """A value was made of the tensors at some nodes, and is no tensor."""
        self._values += [(value, each) for each in nodes]

    @property
    def nodes(self) -> tuple[fx.Node, ...]:
        """The nodes of all tensors that left, each once."""
        return tuple(dict.fromkeys(node for _, node in self._values))

    def origins_of(self, numbers: Any) -> tuple[fx.Node | None, ...]:
        """The nodes that some numbers, as objects, left from; None is among them where one was computed since.

        Empty where nothing has left at all.
        """
        if not self._values:
            return ()
        known = {id(number): node for value, node in self._values for number in _numbers(value)}
        return tuple(dict.fromkeys(known.get(id(number)) for number in _numbers(numbers)))


def _numbers(value: Any) -> Iterator[Any]:
    """The numbers of nested lists."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _numbers(each)
    else:
        yield value


class _Reading:
    """One walk through a result."""

    def __init__(self) -> None:
        self.unread: list[str] = []
        self._sources: dict[int, Any] = {}

    def outputs(self, result: Any) -> Iterator[Output]:
        for name, value in named_leaves(result, "output", self._unfolded):
            if isinstance(value, torch.Tensor):
                yield Output(name, value, self._sources.get(id(value)))

    def _unfolded(self, name: str, value: Any) -> Any:
        """What to walk in place of a value: a tensor of its numbers, or what it yields, waits for or holds."""
        if value is None or isinstance(value, (str, bytes, torch.Size, type, io.IOBase)):
            return None
        made = _read_in(value)
        if isinstance(made, torch.Tensor) and made is not value:
            self._sources[id(made)] = value
        if made is not None:
            return made
        if isinstance(value, Iterator):
            items = [*itertools.islice(value, MOST_ITEMS + 1)]
            if len(items) > MOST_ITEMS:
                self.unread.append(f"`{name}` yields more than {MOST_ITEMS} items, and the rest was not read")
            return items[:MOST_ITEMS]
        if isinstance(value, (AbstractSet, ValuesView)):
            return [*value]
        if inspect.isasyncgen(value):
            return self._completed(name, _collected(value))
        if isinstance(value, (futures.Future, torch.futures.Future, multiprocessing.pool.AsyncResult)):
            return self._awaited(name, value)
        if isinstance(value, Awaitable):
            return self._completed(name, value)
        if computes_later(value):
            what = "a module" if isinstance(value, nn.Module) else "a function"
            self.unread.append(
                f"forward returns {what} (`{name}`), and what it computes when it is called was not seen"
            )
        return dict(_held(value)) if isinstance(value, _FUNCTIONS) else value

    def _awaited(self, name: str, future: Any) -> Any:
        """What a future was made for."""
        of_pool = isinstance(future, multiprocessing.pool.AsyncResult)
        is_done: Callable[[], bool] = future.ready if of_pool else future.done
        until = time.monotonic() + PATIENCE
        while not is_done():
            if time.monotonic() > until:
                self.unread.append(f"`{name}` is a future that did not end within {PATIENCE:g} s")
                return None
            time.sleep(_POLL)
        if of_pool:
            return future.get()
        return future.value() if isinstance(future, torch.futures.Future) else future.result()

    def _completed(self, name: str, awaitable: Awaitable[Any]) -> Any:
        try:
            return _run(_result_of(awaitable))
        except asyncio.TimeoutError:
            self.unread.append(f"`{name}` is a coroutine that did not end within {PATIENCE:g} s")
            return None


_FUNCTIONS = (FunctionType, MethodType, functools.partial)


def computes_later(value: Any, depth: int = 0) -> bool:
    """Whether a value computes something of a model's when it is called: a module, or a function that holds one."""
    if isinstance(value, nn.Module):
        return True
    if not isinstance(value, _FUNCTIONS) or depth > _DEEPEST:
        return False
    return any(isinstance(each, torch.Tensor) or computes_later(each, depth + 1) for _, each in _held(value))


def _held(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function keeps, by name: what it was bound to, its first arguments, the variables around it."""
    if isinstance(function, functools.partial):
        yield "function", function.func
        yield from ((f"args[{index}]", each) for index, each in enumerate(function.args))
        yield from function.keywords.items()
    elif isinstance(function, MethodType):
        yield "self", function.__self__
        yield from _held(function.__func__)
    elif isinstance(function, FunctionType):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # a cell may be empty
                yield name, cell.cell_contents


def _read_in(value: Any) -> Any:
    """A new tensor with the numbers of an array, a number, or a list of numbers, or a list of what an array holds."""
    with torch._C.DisableTorchFunction(), suppress(Exception):  # an array may be of a stranger's class
        if isinstance(value, (*_NUMBERS, array.array)) or _is_numeric(value):
            value = [*value] if isinstance(value, array.array) else value
            made = torch.tensor(value, device="cpu")
            return torch.tensor(value, dtype=torch.float64, device="cpu") if made.is_floating_point() else made
        numpy = sys.modules.get("numpy")
        if numpy is not None and (hasattr(type(value), "__array__") or hasattr(type(value), "__array_interface__")):
            held = numpy.array(value)
            return held.tolist() if held.dtype.hasobject else torch.from_numpy(held)
    return None


def _is_numeric(value: Any) -> bool:
    """Whether a plain list or tuple holds numbers and lists of numbers, and no more."""
    if type(value) not in (list, tuple) or not value:
        return False
    return all(isinstance(each, _NUMBERS) or _is_numeric(each) for each in value)


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _collected(generator: Any) -> list[Any]:
    """The first items of an asynchronous generator."""
    items: list[Any] = []
    async for each in generator:
        items.append(each)
        if len(items) == MOST_ITEMS:
            break
    return items


def _run(coroutine: Any) -> Any:
    """The result of a coroutine, run to its end in a loop of its own, also where this thread runs a loop already."""
    running = asyncio._get_running_loop()
    loop = asyncio.new_event_loop()
    asyncio._set_running_loop(None)
    try:
        return loop.run_until_complete(asyncio.wait_for(coroutine, PATIENCE))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        asyncio._set_running_loop(running)
