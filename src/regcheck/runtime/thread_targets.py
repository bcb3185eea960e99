"""Models submitted to other threads: the line that submits them, and whether a model's call does.

A thread starts with an empty stack, so the caller of a model that is the thread's target is in another thread. Work
that a model's call submits belongs to that call.
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
from dataclasses import replace
from types import FrameType, FunctionType, MethodType
from typing import Any

from torch import nn

from regcheck.lazy_dataclass import dataclass

from .call_sites import CallSite, Sites, Stack, is_transparent, is_within_regcheck, stack

OnSubmit = Callable[[Any, FrameType], Any]
"""Receives the callable and the submitting frame; returns the callable to submit instead, or None."""

_POOLS = {each.__file__ for each in (concurrent.futures.thread, multiprocessing.pool, multiprocessing.dummy)}


@dataclass(frozen=True, slots=True)
class Submission:
    """Where work was submitted: site (None: no user code), stack, and whether inside a model's call."""

    site: CallSite | None = None
    callers: tuple[str, ...] = ()
    around: Stack = ()
    inside: bool = False


class ThreadState(threading.local):
    """Whether this thread is inside a reported call, the submission of its current work, and who receives its calls.

    `on_inner_call` receives each module that the reported call calls; None where nobody asks for them.

    Args:
        started_by: the submission of each thread whose stack begins without the program's own code.
    """

    def __init__(self, started_by: Mapping[threading.Thread, Submission]) -> None:
        here = current_thread()
        self.on_inner_call: Callable[[nn.Module], None] | None = None
        self.caller = None if here is None else started_by.get(here)
        self.inside = self.caller is not None and self.caller.inside


def current_thread() -> threading.Thread | None:
    """The running thread; None for a foreign one, which `threading.current_thread` would register."""
    active: Mapping[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
    return active.get(threading.get_ident())


class ThreadTask:
    """A callable submitted to a thread pool, with its submission."""

    def __init__(self, function: Any, caller: Submission, thread: ThreadState) -> None:
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


def caller_frame(frame: FrameType) -> FrameType:
    """The calling frame; the frame itself at the bottom of a thread's stack."""
    return frame.f_back or frame


def may_call_model_directly(work: Any) -> bool:
    """Whether a callable may call a model without a frame of the program's own code in between."""
    if isinstance(work, functools.partial):
        return may_call_model_directly(work.func) or any(map(may_call_model_directly, work.args))
    if isinstance(work, MethodType):
        return isinstance(work.__self__, nn.Module) or may_call_model_directly(work.__func__)
    if isinstance(work, FunctionType):
        return is_transparent(work.__code__.co_filename)
    return isinstance(work, nn.Module)


def wrap_submit(original: Callable[..., Any], note: OnSubmit) -> Callable[..., Any]:
    """A pool's submitting method that submits what `note` returns for the work, where the pool has threads."""

    @functools.wraps(original)
    def submit(self: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        of_threads = isinstance(self, (concurrent.futures.thread.ThreadPoolExecutor, multiprocessing.pool.ThreadPool))
        work = args[0] if args else kwargs.get("func")
        replacement = note(work, caller_frame(sys._getframe())) if of_threads else None
        if replacement is None:
            return original(self, *args, **kwargs)
        return original(self, replacement, *args[1:], **{name: each for name, each in kwargs.items() if name != "func"})

    return submit


def wrap_start(original: Callable[..., Any], note: Callable[[threading.Thread, FrameType], None]) -> Callable[..., Any]:
    """`Thread.start` that reports to `note` before the thread runs."""

    @functools.wraps(original)
    def start(self: threading.Thread, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        note(self, caller_frame(sys._getframe()))
        return original(self, *args, **kwargs)

    return start


class Submissions:
    """The submissions of work to other threads while a recorder runs; `thread` is the state of the running thread."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._started_by: weakref.WeakKeyDictionary[threading.Thread, Submission] = weakref.WeakKeyDictionary()
        self._discarded_sites: dict[CallSite, CallSite] = {}
        self.thread = ThreadState(self._started_by)

    def put(self, patches: Any, guarded: Callable[..., Any]) -> None:
        """Wrap the methods that start threads or submit work; `guarded` turns a callback into one that cannot raise."""
        patches.put(threading.Thread, "start", wrap_start, guarded(self._on_start))
        patches.put(concurrent.futures.thread.ThreadPoolExecutor, "submit", wrap_submit, guarded(self._on_submit))
        for name in ("apply_async", "_map_async", "imap", "imap_unordered"):  # the others go through these
            patches.put(multiprocessing.pool.Pool, name, wrap_submit, guarded(self._on_submit))

    def at(self, site: CallSite) -> Submission | None:
        """The submission of this thread's work, if `site` is where it was submitted."""
        caller = self.thread.caller
        return caller if caller is not None and caller.site is site else None

    def site_elsewhere(self, module: nn.Module, frame: FrameType) -> CallSite | None:
        """The site of a call that is a thread's whole work: its submission, else the definition of forward."""
        here = current_thread()
        if here is None or here is threading.main_thread() or is_within_regcheck(frame):
            return None
        caller = self.thread.caller
        return (caller and caller.site) or self._sites.of_forward_definition(module)

    def _on_submit(self, work: Any, frame: FrameType) -> ThreadTask | None:
        """The task to submit in place of work whose own stack will not show the submitting line."""
        inside = self.thread.inside
        if not inside and not may_call_model_directly(work):
            return None
        return ThreadTask(work, Submission(inside=True) if inside else self._caller(frame), self.thread)

    def _on_start(self, thread: threading.Thread, frame: FrameType) -> None:
        """Note who starts a thread, which discards its target's result; a pool's threads get their work later."""
        if frame.f_code.co_filename in _POOLS:
            return
        if self.thread.inside:
            self._started_by[thread] = Submission(inside=True)
        elif may_call_model_directly(
            vars(thread).get("function", vars(thread).get("_target"))
        ):  # a timer's, or a thread's
            caller = self._caller(frame)
            if caller.site is not None:
                site = self._discarded_sites.setdefault(caller.site, replace(caller.site, discarded=True))
                caller = replace(caller, site=site)
            self._started_by[thread] = caller

    def _caller(self, frame: FrameType) -> Submission:
        site = self._sites.of(frame)
        return Submission() if site is None else Submission(site, self._sites.callers(frame, site), stack(frame))
