"""The outputs of a forward: its tensors, arrays and numbers as tensors, and results that are computed later."""

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
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import fx, nn

from regcheck.lazy_dataclass import dataclass

from .nested_values import named_leaves
from .user_line import runs_the_model

MOST_ITEMS = 64
"""The most items read from an iterator."""

PATIENCE = 60.0
"""The seconds that a future may take, so that no audit waits for ever."""

_POLL = 0.001
_DEEPEST = 3
_NUMBERS = (bool, int, float, complex)


@dataclass(frozen=True)
class Output:
    """A tensor of a result; `source` is the array, number or list of numbers that it was made from, if any."""

    name: str
    tensor: torch.Tensor
    source: Any = None


@dataclass(frozen=True)
class Outputs:
    """What a result holds; `unfollowed` says of what parts it is not known what they are, or will be."""

    values: tuple[Output, ...] = ()
    unfollowed: tuple[str, ...] = ()


@runs_the_model
def outputs_of(result: Any) -> Outputs:
    """The outputs of a forward; consumes iterators, runs coroutines and waits for futures, which uses up the result.

    Call it under the recorder of the forward, so that work that runs only now is recorded as well.
    """
    walk = _ResultWalk()
    outputs = tuple(walk.outputs(result))
    return Outputs(outputs, tuple(dict.fromkeys(walk.unfollowed)))


class ExtractedNumbers:
    """The numbers that a forward extracts from tensors, each with the node of its tensor."""

    def __init__(self) -> None:
        self._values: list[tuple[Any, fx.Node]] = []

    def note(self, value: Any, nodes: Iterable[fx.Node]) -> None:
        """Note a value, not a tensor, made from the tensors at some nodes."""
        self._values += [(value, each) for each in nodes]

    @property
    def nodes(self) -> tuple[fx.Node, ...]:
        """The nodes of all tensors that numbers were extracted from, each once."""
        return tuple(dict.fromkeys(node for _, node in self._values))

    def origins_of(self, numbers: Any) -> tuple[fx.Node | None, ...]:
        """The nodes that some numbers (as objects) were extracted from, with None for a number computed since.

        Empty where no number was extracted at all.
        """
        if not self._values:
            return ()
        nodes = {id(number): node for value, node in self._values for number in _numbers(value)}
        return tuple(dict.fromkeys(nodes.get(id(number)) for number in _numbers(numbers)))


def _numbers(value: Any) -> Iterator[Any]:
    """The numbers of nested lists."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _numbers(each)
    else:
        yield value


class _ResultWalk:
    """Walks through one result."""

    def __init__(self) -> None:
        self.unfollowed: list[str] = []
        self._sources: dict[int, Any] = {}

    def outputs(self, result: Any) -> Iterator[Output]:
        for name, value in named_leaves(result, "output", self._unfolded):
            if isinstance(value, torch.Tensor):
                yield Output(name, value, self._sources.get(id(value)))

    def _unfolded(self, name: str, value: Any) -> Any:
        """The value to walk instead: a tensor of its numbers, or its items, its awaited result or its closure."""
        if value is None or isinstance(value, (str, bytes, torch.Size, type, io.IOBase)):
            return None
        read = _as_tensor(value)
        if isinstance(read, torch.Tensor) and read is not value:
            self._sources[id(read)] = value
        if read is not None:
            return read
        if isinstance(value, Iterator):
            items = [*itertools.islice(value, MOST_ITEMS + 1)]
            if len(items) > MOST_ITEMS:
                self.unfollowed.append(f"`{name}` yields more than {MOST_ITEMS} items; the rest was not read")
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
            self.unfollowed.append(f"forward returns {what} (`{name}`), and calls of it were not recorded")
        return dict(_references(value)) if isinstance(value, _FUNCTIONS) else value

    def _awaited(self, name: str, future: Any) -> Any:
        """The result of a future."""
        of_pool = isinstance(future, multiprocessing.pool.AsyncResult)
        is_done: Callable[[], bool] = future.ready if of_pool else future.done
        until = time.monotonic() + PATIENCE
        while not is_done():
            if time.monotonic() > until:
                self.unfollowed.append(f"`{name}` is a future that did not end within {PATIENCE:g} s")
                return None
            time.sleep(_POLL)
        if of_pool:
            return future.get()
        return future.value() if isinstance(future, torch.futures.Future) else future.result()

    def _completed(self, name: str, awaitable: Awaitable[Any]) -> Any:
        try:
            return _run(_result_of(awaitable))
        except asyncio.TimeoutError:
            self.unfollowed.append(f"`{name}` is a coroutine that did not end within {PATIENCE:g} s")
            return None


_FUNCTIONS = (FunctionType, MethodType, functools.partial)


def computes_later(value: Any, depth: int = 0) -> bool:
    """Whether calling a value runs part of a model: a module, or a function that refers to one."""
    if isinstance(value, nn.Module):
        return True
    if not isinstance(value, _FUNCTIONS) or depth > _DEEPEST:
        return False
    return any(isinstance(each, torch.Tensor) or computes_later(each, depth + 1) for _, each in _references(value))


def _references(function: Any) -> Iterator[tuple[str, Any]]:
    """The values that a function refers to, by name: its bound object, bound arguments and closure variables."""
    if isinstance(function, functools.partial):
        yield "function", function.func
        yield from ((f"args[{index}]", each) for index, each in enumerate(function.args))
        yield from function.keywords.items()
    elif isinstance(function, MethodType):
        yield "self", function.__self__
        yield from _references(function.__func__)
    elif isinstance(function, FunctionType):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # a cell may be empty
                yield name, cell.cell_contents


def _as_tensor(value: Any) -> Any:
    """A new tensor with the numbers of an array, number or list of numbers; a list for an array of objects."""
    with torch._C.DisableTorchFunction(), suppress(Exception):  # the array's class may be anybody's
        if isinstance(value, (*_NUMBERS, array.array)) or _is_numeric(value):
            value = [*value] if isinstance(value, array.array) else value
            tensor = torch.tensor(value, device="cpu")
            return torch.tensor(value, dtype=torch.float64, device="cpu") if tensor.is_floating_point() else tensor
        numpy = sys.modules.get("numpy")
        if numpy is not None and (hasattr(type(value), "__array__") or hasattr(type(value), "__array_interface__")):
            array_copy = numpy.array(value)
            return array_copy.tolist() if array_copy.dtype.hasobject else torch.from_numpy(array_copy)
    return None


def _is_numeric(value: Any) -> bool:
    """Whether a plain list or tuple contains only numbers and such lists."""
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
    """The result of a coroutine, run in a new event loop, also inside a running one."""
    running = asyncio._get_running_loop()
    loop = asyncio.new_event_loop()
    asyncio._set_running_loop(None)
    try:
        return loop.run_until_complete(asyncio.wait_for(coroutine, PATIENCE))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        asyncio._set_running_loop(running)
