"""Run another program in this process as `python` runs it, up to its end or its exception."""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import thread as executors
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from regcheck.cli import notebook_program
from regcheck.core.errors import UsageError
from regcheck.lazy_dataclass import dataclass

_OURS = (__file__, str(Path(__file__).parent.parent / "runtime") + os.sep)


@dataclass(frozen=True)
class Ended:
    """The exit status of a program, the type of the exception that ended it, and whether that was an interrupt."""

    status: int = 0
    raised: str = ""
    interrupted: bool = False


@dataclass(frozen=True)
class Script:
    """A script, a notebook, or a module to run as a script, with its own arguments."""

    name: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False

    @classmethod
    def of(cls, words: Sequence[str]) -> Script:
        """Parses a command line: `script.py ARG…`, `notebook.ipynb ARG…` or `-m package.module ARG…`.

        Raises:
            UsageError: no program is named, the file does not exist, or it is a notebook that cannot be run.
        """
        is_module = [*words[:1]] == ["-m"]
        name, *arguments = words[is_module:] or [""]
        if not name:
            raise UsageError("name a program, as in `regcheck run train.py --epochs 1` or `regcheck run -m train`")
        if not is_module and not os.path.isfile(name):
            inside = os.path.join(name, "__main__.py")
            raise UsageError(f"there is no file {name!r}" + (f"; name {inside}" if os.path.isfile(inside) else ""))
        script = cls(name, tuple(arguments), is_module)
        if script.is_notebook:
            notebook_program.notebook_at(name)
        return script

    @property
    def is_notebook(self) -> bool:
        return not self.is_module and notebook_program.is_notebook(self.name)

    def become(self) -> Callable[[], None]:
        """Set up `sys.argv`, `sys.path` and `__main__` for the program, and return the function that runs it.

        Raises:
            UsageError: the module does not exist.
        """
        if not getattr(sys.flags, "safe_path", False):
            sys.path[0] = os.getcwd() if self.is_module else os.path.dirname(os.path.realpath(self.name))
        sys.argv[:] = ["-m" if self.is_module else self.name, *self.arguments]
        main = sys.modules["__main__"] = ModuleType("__main__")
        if self.is_notebook:
            return self._become_notebook(main)
        spec = self._spec() if self.is_module else None
        file = (spec.origin or "") if spec else os.path.join(os.getcwd(), self.name)
        loader: Any = spec.loader if spec else SourceFileLoader("__main__", file)
        vars(main).update(__builtins__=builtins, __file__=file, __cached__=None, __loader__=loader, __spec__=spec)
        main.__package__ = spec.parent if spec else None
        if spec:
            sys.argv[0], main.__dict__["__cached__"] = file, spec.cached

        def execute() -> None:
            code = loader.get_code(spec.name) if spec else _compiled(file)
            exec(code, vars(main))

        return execute

    def _become_notebook(self, main: ModuleType) -> Callable[[], None]:
        """Set up `__main__` for a notebook, which runs in its folder and has no `__file__`, as under Jupyter."""
        file = os.path.abspath(self.name)
        vars(main).update(__builtins__=builtins, **notebook_program.names_of_ipython())
        sys.excepthook = notebook_program.show_error

        def execute() -> None:
            os.chdir(os.path.dirname(file))
            exec(notebook_program.compiled(file), vars(main))

        return execute

    def _spec(self) -> ModuleSpec:
        """Returns the spec of the module, or of the package's `__main__`."""
        try:
            spec = importlib.util.find_spec(self.name)
            if spec is not None and spec.submodule_search_locations is not None:
                spec = importlib.util.find_spec(f"{self.name}.__main__")
        except Exception as error:
            raise UsageError(f"-m {self.name}: cannot be found: {type(error).__name__}: {error}") from error
        if spec is None or not hasattr(spec.loader, "get_code"):
            raise UsageError(f"-m {self.name}: there is no such module, or it is none that can be run")
        return spec


def _compiled(file: str) -> CodeType:
    with io.open_code(file) as source:
        return compile(source.read(), file, "exec", dont_inherit=True)


def run_to_its_end(execute: Callable[[], None]) -> Ended:
    """Run a program and join its threads; print an exception as Python does."""
    ended, waited = _ended(execute), _ended(_wait_for_threads)
    return ended if ended.status else waited


def _ended(act: Callable[[], None]) -> Ended:
    """Calls `act` and returns how it ended; prints an exception as Python does at the end of a program."""
    try:
        act()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return Ended(stop.code or 0)
        print(stop.code, file=sys.stderr)
        return Ended(1)
    except BaseException as error:
        _without_our_frames(error)
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except BaseException:
            traceback.print_exc()
        return Ended(1, type(error).__name__, isinstance(error, KeyboardInterrupt))
    return Ended()


def _wait_for_threads() -> None:
    """Join the threads that Python joins at its end; idle threads of executors end only after that."""
    idle = getattr(executors, "_threads_queues", {})
    for each in threading.enumerate():
        if each is not threading.current_thread() and not each.daemon and each not in idle:
            each.join()


def _without_our_frames(error: BaseException, seen: set[int] | None = None) -> None:
    """Remove regcheck's frames from the traceback, and from those of all causes and contexts."""
    seen = set() if seen is None else seen
    if id(error) in seen:
        return
    seen.add(id(error))
    error.__traceback__ = _theirs(error.__traceback__)
    for each in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        if isinstance(each, BaseException):
            _without_our_frames(each, seen)


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    frames = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OURS):
            frames.append(trace)
        trace = trace.tb_next
    for each, following in zip(frames, [*frames, None][1:], strict=True):
        each.tb_next = following
    return frames[0] if frames else None
