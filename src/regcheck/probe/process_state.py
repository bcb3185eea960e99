"""Restore process-wide state after an audit: random streams, modes, flags, warnings filters, loggers."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch.nn.modules import module as hooks

from regcheck.core.errors import CannotMeasure, format_error
from regcheck.tracing.copies.shared import attributes_of

from .referenced_state import ReferencedState
from .seeds import Streams

_AUTOCAST = ("cpu", "cuda", "mps", "xpu")
_PRECISIONS = [
    ("generic", "all"),
    *((kind, op) for kind in ("cuda", "mkldnn") for op in ("all", "matmul", "conv", "rnn")),
]
_DETERMINISM = torch.utils.deterministic


class _ForkSafeLock:
    """A lock for process-wide state; a forked process begins with a new, free one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        self.lock = threading.RLock()


_process = _ForkSafeLock()
_quiet: set[int] = set()
"""The threads whose output and log records are dropped."""


class World:
    """A snapshot of the settings, the random streams, and the state that models' code refers to by name."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.referenced = ReferencedState()
        self._settings = [(*each, each[0]()) for each in (*_of_torch(), *_of_python())]
        self._draws, numpy = random.getstate(), sys.modules.get("numpy")
        self._numpy_draws = numpy.random.get_state() if numpy is not None else None
        self._logs = {log: _described(log) for log in _loggers()}

    def restore(self) -> None:
        """Restore all that differs from the snapshot."""
        random.setstate(self._draws)
        self.streams.restore()
        if self._numpy_draws is not None:
            sys.modules["numpy"].random.set_state(self._numpy_draws)
        for get, put, value in self._settings:
            if _read(get) != value:
                put(value)
        for log in _loggers():
            if log in self._logs and _described(log) != self._logs[log]:
                level, log.disabled, log.propagate, handlers, filters = self._logs[log]
                log.setLevel(level)
                log.handlers[:], log.filters[:] = handlers, filters
        self.referenced.restore()


_world: ContextVar[World | None] = ContextVar("world", default=None)


@contextmanager
def world_untouched() -> Iterator[None]:
    """Restore process-wide state at exit; drop this thread's output, log records and warnings until then.

    One thread at a time; `sys.stdout` and `sys.stderr` stay the same objects.
    """
    with _process.lock, _silence(), _without_warnings():
        world = World()
        token = _world.set(world)
        try:
            yield
        finally:
            _world.reset(token)
            world.restore()


def use(device: str) -> None:
    """Record the random streams of a device, to be restored with the others.

    Raises:
        CannotMeasure: the device is not usable.
    """
    world = _world.get()
    try:
        if world is not None:
            world.streams.begin_to_use(device)
    except Exception as error:
        raise CannotMeasure(f"{device} cannot be used: {format_error(error)}") from error


def record_referenced_state(classes: Iterable[type]) -> None:
    """Record the state that the code of classes refers to by name, to be restored with the rest."""
    world = _world.get()
    if world is not None:
        world.referenced.record(classes)


Setting = tuple[Callable[[], Any], Callable[[Any], Any]]
"""The getter and the setter of a setting."""


def _of_torch() -> Iterator[Setting]:
    yield torch.is_grad_enabled, torch.set_grad_enabled
    yield torch.get_default_dtype, torch.set_default_dtype
    yield (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        _set_anomaly,
    )
    yield _default_device, _set_default_device
    yield (
        lambda: [(torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in _AUTOCAST],
        _set_autocast,
    )
    yield torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled
    yield torch.get_num_threads, torch.set_num_threads
    yield (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda both: torch.use_deterministic_algorithms(both[0], warn_only=both[1]),
    )
    yield _attribute(_DETERMINISM, "fill_uninitialized_memory")
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    for owner, names in (
        (cudnn, ("enabled", "benchmark", "deterministic", "allow_tf32")),
        (cuda.matmul, ("allow_tf32",)),
        (torch.backends.mkldnn, ("enabled",)),
    ):
        for name in names:
            with suppress(Exception):  # torch refuses to read a setting that was made through its other interface
                getattr(owner, name)
                yield _attribute(owner, name)
    with suppress(RuntimeError):
        torch.get_float32_matmul_precision()
        yield torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    if hasattr(torch._C, "_set_fp32_precision_setter"):  # the other interface, which the setters above write to as well
        yield from map(_precision, _PRECISIONS)
    yield torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled
    for kind in ("flash", "mem_efficient", "math", "cudnn"):
        yield getattr(cuda, f"{kind}_sdp_enabled"), getattr(cuda, f"enable_{kind}_sdp")
    for name, each in vars(hooks).items():
        if name.startswith("_global_") and isinstance(each, dict):
            yield _contents(each)


def _of_python() -> Iterator[Setting]:
    yield sys.getrecursionlimit, sys.setrecursionlimit
    yield _contents(os.environ)
    yield _working_directory, _go_to
    yield (lambda: [*sys.path]), lambda folders: sys.path.__setitem__(slice(None), folders)
    yield (lambda: logging.root.manager.disable), logging.disable
    yield _attribute(warnings, "showwarning")
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        yield numpy.geterr, lambda how: numpy.seterr(**how)
    if threading.active_count() == 1:  # else another thread may have replaced them temporarily
        for name in ("stdin", "stdout", "stderr"):
            yield _attribute(sys, name)


def _precision(which: tuple[str, str]) -> Setting:
    """The internal precision of float32 operations, for one kind of device and of operation."""
    native: Any = torch._C
    return (
        partial(native._get_fp32_precision_getter, *which),
        lambda value: native._set_fp32_precision_setter(*which, value),
    )


def _read(get: Callable[[], Any]) -> Any:
    """A setting, or torch's refusal to read it, where a program set it through two interfaces to different values."""
    try:
        return get()
    except RuntimeError as error:
        return error


def _attribute(owner: Any, name: str) -> Setting:
    return (lambda: getattr(owner, name)), (lambda value: setattr(owner, name, value))


def _contents(mapping: Any) -> Setting:
    def put(contents: Any) -> None:
        mapping.clear()
        mapping.update(contents)

    return (lambda: dict(mapping)), put


def _default_device() -> Any:
    """The device passed to `torch.set_default_device`; None where it was not called."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _set_default_device(device: Any) -> None:
    torch.set_default_device(device)
    if device is None:  # torch 2.7 leaves a context without a device behind, and cannot say the default one then
        vars(torch._GLOBAL_DEVICE_CONTEXT).pop("device_context", None)


def _set_anomaly(both: tuple[bool, bool]) -> None:
    torch.autograd.set_detect_anomaly(both[0], both[1])


def _go_to(folder: str) -> None:
    if folder:
        os.chdir(folder)


def _set_autocast(states: list[tuple[bool, torch.dtype]]) -> None:
    for kind, (enabled, dtype) in zip(_AUTOCAST, states, strict=True):
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _working_directory() -> str:
    """The working directory; empty where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _loggers() -> list[logging.Logger]:
    return [logging.root, *(each for each in logging.root.manager.loggerDict.values() if type(each) is logging.Logger)]


def _described(log: logging.Logger) -> tuple[int, bool, bool, list[Any], list[Any]]:
    return log.level, log.disabled, log.propagate, [*log.handlers], [*log.filters]


@contextmanager
def _silence() -> Iterator[None]:
    """Drop this thread's output and log records.

    The streams stay the same objects and still write what other threads write: only their `write` checks the thread.
    """
    here = threading.get_ident()
    if here in _quiet:
        yield
        return
    shadowed = [each for each in (sys.stdout, sys.stderr) if each is not None]
    undo = [_shadow(each) for each in {id(each): each for each in shadowed}.values()]
    call = logging.Logger.callHandlers

    def call_handlers(log: logging.Logger, record: logging.LogRecord) -> None:
        if threading.get_ident() not in _quiet:
            call(log, record)

    logger: Any = logging.Logger
    logger.callHandlers = call_handlers
    _quiet.add(here)
    try:
        yield
    finally:
        _quiet.discard(here)
        if logging.Logger.callHandlers is call_handlers:
            logger.callHandlers = call
        for each in undo:
            each()


def _shadow(stream: Any) -> Callable[[], None]:
    """Make a stream drop the output of quiet threads; returns a function that undoes it."""
    own, write = attributes_of(stream), stream.write

    def write_unless_quiet(text: Any) -> Any:
        return len(text) if threading.get_ident() in _quiet else write(text)

    if own is None:
        return lambda: None
    previous = {name: each for name, each in own.items() if name == "write"}
    own["write"] = write_unless_quiet

    def undo() -> None:
        if own.get("write") is write_unless_quiet:
            del own["write"]
            own.update(previous)

    return undo


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Ignore warnings, by an entry among the filters.

    `warnings.catch_warnings` replaces the list of filters, and makes every module forget which warnings it has already
    issued. A list of filters that changes in the meantime is restored.
    """
    filters: Any = warnings.filters
    if any(each is ours for each in filters for ours in _ours):
        yield
        return
    before, ours = [*filters], ("ignore", None, Warning, None, 0)  # a new object, distinguishable from an equal one
    filters.insert(0, ours)
    _ours.append(ours)
    try:
        yield
    finally:
        changed = [each for each in filters if each is not ours] != before
        filters[:] = before
        _ours.remove(ours)
        now: Any = warnings.filters
        if now is not filters:
            now[:] = [each for each in now if each is not ours]
            if threading.active_count() == 1:  # else another thread may have others temporarily
                warnings.filters = filters
        if changed or now is not filters:
            warnings._filters_mutated()  # type: ignore[attr-defined]


_ours: list[Any] = []
