"""Models handed to another thread as what it shall call: which line handed them over, and whether a model did.

A thread starts with an empty stack, so that the caller of a model that is itself the thread's work is in another
thread. Work that is handed over within a model's call belongs to that call.
"""

from __future__ import annotations

import concurrent.futures.thread
import functools
import multiprocessing.dummy
import multiprocessing.pool
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import FrameType, FunctionType, MethodType
from typing import Any

from torch import nn

from .call_sites import CallSite, Sites, Stack, is_passed_over, made_by_regcheck, stack

HandOver = Callable[[Any, FrameType], Any]
"""Is given what a thread shall call and where it is handed over; returns what to hand over in its place, or None."""

_POOLS = {each.__file__ for each in (concurrent.futures.thread, multiprocessing.pool, multiprocessing.dummy)}


@dataclass(frozen=True, slots=True)
class Caller:
    """Where work was handed over: its site (None: nobody's), what ran around it, and whether a model's call did."""

    site: CallSite | None = None
    callers: tuple[str, ...] = ()
    around: Stack = ()
    inside: bool = False


class Thread(threading.local):
    """Whether this thread is inside a call that was noted, and who handed over what it is doing.

    Args:
        starters: who started the threads that nobody's code of the program begins in.
    """

    def __init__(self, starters: Mapping[threading.Thread, Caller]) -> None:
        here = current_thread()
        self.caller = None if here is None else starters.get(here)
        self.inside = self.caller is not None and self.caller.inside


def current_thread() -> threading.Thread | None:
    """The running thread; None for one that Python did not start, which asking `threading` would register."""
    known: Mapping[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
    return known.get(threading.get_ident())


class Handed:
    """What a thread of a pool shall call, with who handed it over."""

    def __init__(self, function: Any, caller: Caller, thread: Thread) -> None:
        self._function, self._caller, self._thread = function, caller, thread

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        thread = self._thread
        before = thread.caller, thread.inside
        thread.caller, thread.inside = self._caller, self._caller.inside
        try:
            return self._function(*args, **kwargs)
        finally:
            thread.caller, thread.inside = before


def above(frame: FrameType) -> FrameType:
    """The frame that called; the frame itself where a thread begins with it."""
    return frame.f_back or frame


def begins_unseen(work: Any) -> bool:
    """Whether work, once it runs, may call a model with no frame of the program's own code in between."""
    if isinstance(work, functools.partial):
        return begins_unseen(work.func) or any(map(begins_unseen, work.args))
    if isinstance(work, MethodType):
        return isinstance(work.__self__, nn.Module) or begins_unseen(work.__func__)
    if isinstance(work, FunctionType):
        return is_passed_over(work.__code__.co_filename)
    return isinstance(work, nn.Module)


def handing_over(original: Callable[..., Any], note: HandOver) -> Callable[..., Any]:
    """A method of a pool that takes work, which hands over what `note` returns for it, if the pool has threads."""

    @functools.wraps(original)
    def hand_over(self: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        of_threads = isinstance(self, (concurrent.futures.thread.ThreadPoolExecutor, multiprocessing.pool.ThreadPool))
        work = args[0] if args else kwargs.get("func")
        carried = note(work, above(sys._getframe())) if of_threads else None
        if carried is None:
            return original(self, *args, **kwargs)
        return original(self, carried, *args[1:], **{name: each for name, each in kwargs.items() if name != "func"})

    return hand_over


def starting(original: Callable[..., Any], note: Callable[[threading.Thread, FrameType], None]) -> Callable[..., Any]:
    """`Thread.start`, telling `note` of it before the thread runs."""

    @functools.wraps(original)
    def start(self: threading.Thread, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        note(self, above(sys._getframe()))
        return original(self, *args, **kwargs)

    return start


class Callers:
    """Who hands work to other threads, as long as a watch notes it.

    `thread` tells of the running thread.
    """

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._starters: weakref.WeakKeyDictionary[threading.Thread, Caller] = weakref.WeakKeyDictionary()
        self._lost: dict[CallSite, CallSite] = {}
        self.thread = Thread(self._starters)

    def put(self, patches: Any, safely: Callable[..., Any]) -> None:
        """Wrap what starts threads and what hands work to pools; `safely` makes a note that cannot raise."""
        patches.put(threading.Thread, "start", starting, safely(self._on_start))
        patches.put(concurrent.futures.thread.ThreadPoolExecutor, "submit", handing_over, safely(self._on_hand_over))
        for name in ("apply_async", "_map_async", "imap", "imap_unordered"):  # the others go through these
            patches.put(multiprocessing.pool.Pool, name, handing_over, safely(self._on_hand_over))

    def at(self, site: CallSite) -> Caller | None:
        """Who handed over the work of this thread, if a site is where that was done."""
        caller = self.thread.caller
        return caller if caller is not None and caller.site is site else None

    def site_elsewhere(self, module: nn.Module, frame: FrameType) -> CallSite | None:
        """The site of a call that is all of a thread's work: where it was handed over, else where forward stands."""
        here = current_thread()
        if here is None or here is threading.main_thread() or made_by_regcheck(frame):
            return None
        caller = self.thread.caller
        return (caller and caller.site) or self._sites.of_forward(module)

    def _on_hand_over(self, work: Any, frame: FrameType) -> Handed | None:
        """Work is handed to a pool: what to hand over in its place, where it would not tell who did."""
        inside = self.thread.inside
        if not inside and not begins_unseen(work):
            return None
        return Handed(work, Caller(inside=True) if inside else self._caller(frame), self.thread)

    def _on_start(self, thread: threading.Thread, frame: FrameType) -> None:
        """A thread is started, and what its work returns is lost; a pool's threads are told of their work later."""
        if frame.f_code.co_filename in _POOLS:
            return
        if self.thread.inside:
            self._starters[thread] = Caller(inside=True)
        elif begins_unseen(vars(thread).get("function", vars(thread).get("_target"))):  # a timer's, or a thread's
            caller = self._caller(frame)
            if caller.site is not None:
                lost = self._lost.setdefault(caller.site, replace(caller.site, discarded=True))
                caller = replace(caller, site=lost)
            self._starters[thread] = caller

    def _caller(self, frame: FrameType) -> Caller:
        site = self._sites.of(frame)
        return Caller() if site is None else Caller(site, self._sites.callers(frame, site), stack(frame))
