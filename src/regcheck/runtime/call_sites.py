"""From a running frame to the user's call: where it stands, in which function, and what becomes of its result."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dis
import functools
import inspect
import multiprocessing.pool
import os
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

import torch
from torch import nn

from regcheck.files.place import Place
from regcheck.files.position import end_position, position

from .models import parts

_TORCH = str(Path(torch.__file__).parent) + os.sep
_WATCH = str(Path(__file__).parent) + os.sep
_OURS = str(Path(__file__).parent.parent) + os.sep
_PASSED_OVER = {
    contextlib.__file__,
    functools.__file__,
    threading.__file__,
    "<frozen importlib._bootstrap>",
    multiprocessing.pool.__file__,
    *(str(path) for each in (asyncio, concurrent.futures) for path in Path(each.__path__[0]).glob("*.py")),
}
_RUNNERS = tuple(f"{os.sep}{each}{os.sep}" for each in ("_pytest", "pluggy"))
_MOST_CALLERS = 32
_MOST_SITES = 20_000
_INNER = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}

Stack = tuple[tuple[str, CodeType, int], ...]
"""The functions that were running: name, code, and the instruction that each had come to."""


@dataclass(frozen=True, slots=True, eq=False)
class CallSite:
    """A call in the user's code. `end` is where it ends, line and column from 1 (None: Python does not say)."""

    place: Place
    function: str
    discarded: bool
    test_code: bool
    code: CodeType
    end: tuple[int, int] | None


class Sites:
    """The sites met so far. `root` is the folder below which a folder named `tests` marks test code."""

    def __init__(self, root: str, test_files: Collection[str] = ()) -> None:
        self._root = os.path.join(root, "")
        self._test_files = test_files
        self._known: dict[tuple[int, int, bool], CallSite] = {}
        self._inner: dict[int, tuple[CodeType, bool]] = {}

    def caller(self, frame: FrameType) -> FrameType:
        """Who calls the model that a module is called in: past each `forward` and `__call__` that runs unnoticed.

        That is where a class has a `__call__` of its own, or somebody calls `forward`.
        """
        at: FrameType | None = frame
        while at is not None:
            path = at.f_code.co_filename
            if path not in _PASSED_OVER and not path.startswith(_TORCH):
                if at.f_code.co_name not in ("forward", "__call__") or not self._is_inner(at):
                    break
                frame = at.f_back or frame
            at = at.f_back
        return frame

    def _is_inner(self, frame: FrameType) -> bool:
        """Whether what runs is a method of a module; of one code it is asked once."""
        known = self._inner.get(id(frame.f_code))
        if known is None:
            if len(self._inner) >= _MOST_SITES:
                self._inner.clear()
            known = self._inner[id(frame.f_code)] = frame.f_code, isinstance(_self(frame), nn.Module)
        return known[1]

    def of(self, frame: FrameType | None) -> CallSite | None:
        """The innermost call in the user's own code, at or above `frame`; None where regcheck or nobody made it."""
        recalibrates = False
        while frame is not None:
            code = frame.f_code
            path = code.co_filename
            if path.startswith(_TORCH):
                recalibrates = recalibrates or code.co_name == "update_bn"
            elif path.startswith(_OURS):
                if not path.startswith(_WATCH):
                    return None
            elif path not in _PASSED_OVER:
                key = (id(code), frame.f_lasti, recalibrates)
                site = self._known.get(key)
                if site is None:
                    if len(self._known) >= _MOST_SITES:  # of code that is made up as the program runs
                        self._known.clear()
                    site = self._known[key] = self._read(frame, recalibrates)
                return site
            frame = frame.f_back
        return None

    def of_forward(self, module: nn.Module) -> CallSite | None:
        """Where a model's forward is defined, for a call that nobody is known to make: nothing is known of its use."""
        code = getattr(inspect.getattr_static(type(module), "forward", None), "__code__", None)
        if code is None:
            return None
        key = (id(code), -1, True)
        if key not in self._known:
            path, line = code.co_filename, code.co_firstlineno
            self._known[key] = CallSite(
                Place(path, line), f"{path}:{code.co_name}:{line}", True, self.is_test_file(path), code, None
            )
        return self._known[key]

    def callers(self, frame: FrameType, site: CallSite) -> tuple[str, ...]:
        """The functions that were running around a site, innermost first, as far as the test runner."""
        found: dict[str, None] = {}
        for each in _running(frame):
            found[_function(each)] = None
            if len(found) == _MOST_CALLERS:
                break
        found.pop(site.function, None)
        return tuple(found)

    def is_tested(self, module: nn.Module, frame: FrameType, site: CallSite) -> bool:
        """Whether nothing but methods of modules that contain this one is between the call and a test."""
        method, outer = _frame_of(site, frame), site
        while method is not None and not outer.test_code:
            asked = self.of(method.f_back) if _has_part(method, module) else None
            if asked is None or method.f_back is None:
                return False
            method, outer = _frame_of(asked, method.f_back), asked
        return outer is not site

    def _read(self, frame: FrameType, recalibrates: bool) -> CallSite:
        code = frame.f_code
        place = Place(code.co_filename, *position(code, frame.f_lasti, frame.f_lineno))
        discarded = recalibrates or _discards(code, frame.f_lasti)
        test_code = self.is_test_file(code.co_filename)
        return CallSite(place, _function(frame), discarded, test_code, code, end_position(code, frame.f_lasti))

    def is_test_file(self, path: str) -> bool:
        """Whether a file holds tests or what only tests use."""
        name = os.path.basename(path)
        if path in self._test_files or name == "conftest.py" or name.startswith("test_") or name.endswith("_test.py"):
            return True
        if not path.startswith(self._root):
            return False
        folders = path[len(self._root) :].split(os.sep)[:-1]
        return "tests" in folders or "test" in folders


def is_passed_over(path: str) -> bool:
    """Whether the code of a file is never taken for the program's own."""
    return path in _PASSED_OVER or path.startswith((_TORCH, _OURS))


def made_by_regcheck(frame: FrameType | None) -> bool:
    """Whether regcheck itself, other than by watching, runs at or above a frame."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_OURS) and not path.startswith(_WATCH):
            return True
        frame = frame.f_back
    return False


def stack(frame: FrameType) -> Stack:
    """The functions that are running, outermost first, and where each of them is."""
    return tuple((_function(each), each.f_code, each.f_lasti) for each in _running(frame))[::-1]


def meeting(one: Stack, other: Stack) -> str:
    """The innermost function that was running in both, by the same calls; an empty string where none was."""
    found = ""
    for (function, code, at), (_, its_code, its_at) in zip(one, other, strict=False):
        if code is not its_code:
            break
        found = function
        if at != its_at:
            break
    return found


def _running(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the user's own code and its libraries, innermost first, as far as the test runner."""
    while frame is not None:
        path = frame.f_code.co_filename
        if any(each in path for each in _RUNNERS):
            return
        if not path.startswith((_TORCH, _OURS)) and path not in _PASSED_OVER:
            yield frame
        frame = frame.f_back


def _function(frame: FrameType) -> str:
    """A name for the function that encloses the call; a comprehension belongs to the function around it."""
    path = frame.f_code.co_filename
    while frame.f_code.co_name in _INNER and frame.f_back is not None and frame.f_back.f_code.co_filename == path:
        frame = frame.f_back
    return f"{path}:{frame.f_code.co_name}:{frame.f_code.co_firstlineno}"


def _discards(code: CodeType, at: int) -> bool:
    """Whether the result of the call at that instruction is dropped at once, or bound to a name that nobody reads."""
    follows = next((each for each in code.co_code[at + 2 :: 2] if dis.opname[each] not in _FILLERS), None)
    name = "" if follows is None else dis.opname[follows]
    if not name.startswith("STORE_"):
        return name == "POP_TOP"
    instructions = _instructions(code)
    following = next(each for each in instructions if each.offset > at and each.opname not in _FILLERS)
    target = following.argval[0] if isinstance(following.argval, tuple) else following.argval
    if target == "_":
        return True
    return name == "STORE_FAST" and not any(_reads(each, target) for each in instructions if each is not following)


@functools.lru_cache(maxsize=64)
def _instructions(code: CodeType) -> tuple[dis.Instruction, ...]:
    return tuple(dis.get_instructions(code))


def _reads(instruction: dis.Instruction, name: str) -> bool:
    """Whether an instruction loads a local variable, alone or beside others."""
    if "LOAD_FAST" not in instruction.opname:
        return False
    return name in instruction.argval if isinstance(instruction.argval, tuple) else instruction.argval == name


_FILLERS = {"CACHE", "NOP", "EXTENDED_ARG", "NOT_TAKEN"}


def asking(frame: FrameType | None, module: nn.Module) -> FrameType | None:
    """The frame that asks for a mode: past the `train` and `eval` of the module's own class."""
    while frame is not None and frame.f_code.co_name in ("train", "eval"):
        names = frame.f_code.co_varnames[:1]
        if not names or frame.f_locals.get(names[0]) is not module:
            break
        frame = frame.f_back
    return frame


def is_part(module: nn.Module, frame: FrameType, site: CallSite) -> bool:
    """Whether a method of a module that contains this one runs between a frame and the site around it."""
    at: FrameType | None = frame
    while at is not None and not _has_part(at, module):
        at = None if at.f_code is site.code else at.f_back
    return at is not None


def is_being_built(module: nn.Module, frame: FrameType) -> bool:
    """Whether the constructor of a module that contains this one is running: such a call tries out shapes.

    What it is given is a placeholder, often memory that nobody has written to, and what it returns is no prediction.
    """
    at: FrameType | None = frame
    while at is not None and not (at.f_code.co_name == "__init__" and _has_part(at, module)):
        at = at.f_back
    return at is not None


def _has_part(frame: FrameType, module: nn.Module) -> bool:
    """Whether what runs is a method of a module that contains this one."""
    owner = _self(frame)
    if not isinstance(owner, nn.Module) or owner is module or "_modules" not in vars(owner):
        return False  # torch's constructor has not run yet where there are no `_modules`
    return any(each is module for each in parts(owner))


def _self(frame: FrameType) -> object:
    """The object of which a method runs; None in a function."""
    return frame.f_locals.get("self") if frame.f_code.co_varnames[:1] == ("self",) else None


def _frame_of(site: CallSite, frame: FrameType) -> FrameType | None:
    """The frame that a site's call was made in, at or above `frame`."""
    at: FrameType | None = frame
    while at is not None and at.f_code is not site.code:
        at = at.f_back
    return at
