"""Call sites: from a running frame to the user's call, its function, and whether it discards the result."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dis
import functools
import inspect
import multiprocessing.pool
import os
import sysconfig
import threading
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from types import CodeType, FrameType

import torch
from torch import nn

from regcheck.files.place import Place
from regcheck.files.position import end_position, position
from regcheck.lazy_dataclass import dataclass

from .models import parts
from .project_files import ProjectFiles

_TORCH = str(Path(torch.__file__).parent) + os.sep
_RUNTIME = str(Path(__file__).parent) + os.sep
_REGCHECK = str(Path(__file__).parent.parent) + os.sep
_TRANSPARENT = {
    contextlib.__file__,
    functools.__file__,
    threading.__file__,
    "<frozen importlib._bootstrap>",
    multiprocessing.pool.__file__,
    *(f"{sysconfig.get_path(each)}/keras/src/utils/traceback_utils.py" for each in ("purelib", "platlib")),
    *(str(path) for each in (asyncio, concurrent.futures) for path in Path(each.__path__[0]).glob("*.py")),
}
_RUNNERS = tuple(f"{os.sep}{each}{os.sep}" for each in ("_pytest", "pluggy"))
_VALIDATION_LOOPS = tuple(
    os.path.join(*each, "loops", "evaluation_loop.py") for each in (("lightning", "pytorch"), ("pytorch_lightning",))
)
_MOST_CALLERS = 32
_MOST_SITES = 20_000
_COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}

Stack = tuple[tuple[str, CodeType, int], ...]
"""The running functions, outermost first: name, code, and current instruction."""


@dataclass(frozen=True, slots=True, eq=False)
class CallSite:
    """A call in the program or in a library of it.

    Attributes:
        end: the line and column of its end, from 1 (None: Python does not record them).
        project: for a call in a library, the innermost call in the user's project that leads to it, if there is one.
        recalibrates: whether it leads to torch's `update_bn`, which calls the model or sets its mode.
    """

    place: Place
    function: str
    discarded: bool
    test_code: bool
    code: CodeType
    end: tuple[int, int] | None
    project: CallSite | None = None
    recalibrates: bool = False

    @property
    def shown(self) -> Place:
        """Where a finding about the call is placed: in the user's project, if a call there leads to it."""
        return self.place if self.project is None else self.project.place

    @property
    def library(self) -> Place | None:
        """The place of the call in a library, where `shown` is another one."""
        return None if self.project is None else self.place


class Sites:
    """Finds call sites, memoized. `root` is the project's folder; below it a folder named `tests` marks test code."""

    def __init__(self, root: str, test_files: Collection[str] = ()) -> None:
        self._root = os.path.join(root, "")
        self._test_files = test_files
        self._project = ProjectFiles(root)
        self._sites: dict[tuple[int, int, bool], CallSite] = {}
        self._from_project: dict[tuple[CallSite, CallSite], CallSite] = {}
        self._module_methods: dict[int, tuple[CodeType, bool]] = {}

    def caller(self, frame: FrameType) -> FrameType:
        """The frame that calls the root model: skips `forward` and `__call__` methods of modules on the stack.

        Such methods run unreported where a class overrides `__call__`, or the program calls `forward` directly.
        """
        at: FrameType | None = frame
        while at is not None:
            path = at.f_code.co_filename
            if path not in _TRANSPARENT and not path.startswith(_TORCH):
                if at.f_code.co_name not in ("forward", "__call__") or not self._is_module_method(at):
                    break
                frame = at.f_back or frame
            at = at.f_back
        return frame

    def _is_module_method(self, frame: FrameType) -> bool:
        """Whether a frame runs a module's method; memoized by code object."""
        entry = self._module_methods.get(id(frame.f_code))
        if entry is None:
            if len(self._module_methods) >= _MOST_SITES:
                self._module_methods.clear()
            entry = self._module_methods[id(frame.f_code)] = frame.f_code, isinstance(_self(frame), nn.Module)
        return entry[1]

    def of(self, frame: FrameType | None) -> CallSite | None:
        """The innermost call in the program or a library, at or above `frame`; None where regcheck made the call."""
        recalibrates = False
        while frame is not None:
            code = frame.f_code
            path = code.co_filename
            if path.startswith(_TORCH):
                recalibrates = recalibrates or code.co_name == "update_bn"
            elif path.startswith(_REGCHECK):
                if not path.startswith(_RUNTIME):
                    return None
            elif path not in _TRANSPARENT:
                site = self._at(frame, recalibrates)
                return site if path in self._project else self._with_project(site, frame.f_back)
            frame = frame.f_back
        return None

    def _at(self, frame: FrameType, recalibrates: bool = False) -> CallSite:
        """The call that a frame is making."""
        key = (id(frame.f_code), frame.f_lasti, recalibrates)
        site = self._sites.get(key)
        if site is None:
            if len(self._sites) >= _MOST_SITES:  # a program can generate code without bound
                self._sites.clear()
                self._from_project.clear()
            site = self._sites[key] = self._read(frame, recalibrates)
        return site

    def _with_project(self, site: CallSite, frame: FrameType | None) -> CallSite:
        """The site of a call in a library, with the innermost call in the user's project that leads to it."""
        for each in _running(frame):
            if each.f_code.co_filename in self._project:
                project = self._at(each)
                key = (site, project)
                if key not in self._from_project:
                    self._from_project[key] = replace(site, project=project)
                return self._from_project[key]
        return site

    def of_forward_definition(self, module: nn.Module) -> CallSite | None:
        """The definition of a model's forward, as the site of a call whose caller is unknown."""
        code = getattr(inspect.getattr_static(type(module), "forward", None), "__code__", None)
        if code is None:
            return None
        key = (id(code), -1, True)
        if key not in self._sites:
            path, line = code.co_filename, code.co_firstlineno
            self._sites[key] = CallSite(
                Place(path, line), f"{path}:{code.co_name}:{line}", True, self.is_test_file(path), code, None
            )
        return self._sites[key]

    def callers(self, frame: FrameType, site: CallSite) -> tuple[str, ...]:
        """The functions on the stack around a site, innermost first, up to the test runner."""
        functions: dict[str, None] = {}
        for each in _running(frame):
            functions[_function(each)] = None
            if len(functions) == _MOST_CALLERS:
                break
        functions.pop(site.function, None)
        return tuple(functions)

    def is_own(self, site: CallSite) -> bool:
        """Whether a site is in the user's project itself, and in no test's own code."""
        return not site.test_code and site.place.path in self._project

    def is_tested(self, module: nn.Module, frame: FrameType, site: CallSite) -> bool:
        """Whether only methods of modules that contain this one are between the call and a test."""
        method, outer = _frame_of(site, frame), site
        while method is not None and not outer.test_code:
            caller = self.of(method.f_back) if _has_part(method, module) else None
            if caller is None or method.f_back is None:
                return False
            method, outer = _frame_of(caller, method.f_back), caller
        return outer is not site

    def _read(self, frame: FrameType, recalibrates: bool) -> CallSite:
        code = frame.f_code
        place = Place(code.co_filename, *position(code, frame.f_lasti, frame.f_lineno))
        discarded = recalibrates or _discards(code, frame.f_lasti)
        test_code = self.is_test_file(code.co_filename)
        end = end_position(code, frame.f_lasti)
        return CallSite(place, _function(frame), discarded, test_code, code, end, recalibrates=recalibrates)

    def is_test_file(self, path: str) -> bool:
        """Whether a file contains tests or their fixtures."""
        name = os.path.basename(path)
        if path in self._test_files or name == "conftest.py" or name.startswith("test_") or name.endswith("_test.py"):
            return True
        if not path.startswith(self._root):
            return False
        folders = path[len(self._root) :].split(os.sep)[:-1]
        return "tests" in folders or "test" in folders


def is_transparent(path: str) -> bool:
    """Whether a file belongs to torch, regcheck or the standard library's dispatchers, never to the program itself."""
    return path in _TRANSPARENT or path.startswith((_TORCH, _REGCHECK))


def is_within_regcheck(frame: FrameType | None) -> bool:
    """Whether code of regcheck other than the recorder runs at or above a frame."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_REGCHECK) and not path.startswith(_RUNTIME):
            return True
        frame = frame.f_back
    return False


def stack(frame: FrameType) -> Stack:
    """The running functions of the program and its libraries, outermost first."""
    return tuple((_function(each), each.f_code, each.f_lasti) for each in _running(frame))[::-1]


def lowest_common_function(one: Stack, other: Stack) -> str:
    """The innermost function that two stacks share, reached by the same calls; empty where they share none."""
    common = ""
    for (function, code, at), (_, its_code, its_at) in zip(one, other, strict=False):
        if code is not its_code:
            break
        common = function
        if at != its_at:
            break
    return common


def _running(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the user's own code and its libraries, innermost first, up to the test runner."""
    while frame is not None:
        path = frame.f_code.co_filename
        if any(each in path for each in _RUNNERS):
            return
        if not path.startswith((_TORCH, _REGCHECK)) and path not in _TRANSPARENT:
            yield frame
        frame = frame.f_back


def _function(frame: FrameType) -> str:
    """The name of the enclosing function, with path and line; a comprehension counts to the function around it."""
    path = frame.f_code.co_filename
    while (
        frame.f_code.co_name in _COMPREHENSIONS and frame.f_back is not None and frame.f_back.f_code.co_filename == path
    ):
        frame = frame.f_back
    return f"{path}:{frame.f_code.co_name}:{frame.f_code.co_firstlineno}"


def _discards(code: CodeType, at: int) -> bool:
    """Whether the code drops the result of the call at that instruction, or assigns it to a name never read."""
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
    """Whether an instruction loads a local variable, alone or with others."""
    if "LOAD_FAST" not in instruction.opname:
        return False
    return name in instruction.argval if isinstance(instruction.argval, tuple) else instruction.argval == name


_FILLERS = {"CACHE", "NOP", "EXTENDED_ARG", "NOT_TAKEN"}


def mode_request_frame(frame: FrameType | None, module: nn.Module) -> FrameType | None:
    """The frame that requests a mode change: past the `train` and `eval` methods of the module itself."""
    while frame is not None and frame.f_code.co_name in ("train", "eval") and _is_method_of(frame, module):
        frame = frame.f_back
    return frame


def is_in_validation_loop(frame: FrameType | None) -> bool:
    """Whether a frame runs below Lightning's validation, which restores the modes of all modules at its end."""
    return any(each.f_code.co_filename.endswith(_VALIDATION_LOOPS) for each in _running(frame))


def _is_method_of(frame: FrameType, module: nn.Module) -> bool:
    """Whether a frame runs a method of a module's class on the module, and no function that gets it as an argument."""
    code, names = frame.f_code, frame.f_code.co_varnames[:1]
    defined = (vars(each).get(code.co_name) for each in type(module).__mro__)
    methods = (getattr(inspect.unwrap(each), "__code__", None) for each in defined if callable(each))
    return bool(names) and frame.f_locals.get(names[0]) is module and any(each is code for each in methods)


def is_called_by_owner(module: nn.Module, frame: FrameType, site: CallSite) -> bool:
    """Whether a method of a module that contains this one runs between a frame and its site.

    A module without a `forward` is no model: its parts are models of their own.
    """
    at: FrameType | None = frame
    while at is not None and not (_has_part(at, module) and _has_forward(_self(at))):
        at = None if at.f_code is site.code else at.f_back
    return at is not None


def _has_forward(owner: object) -> bool:
    return isinstance(owner, nn.Module) and type(owner).forward is not nn.Module.forward


def is_being_built(module: nn.Module, frame: FrameType) -> bool:
    """Whether the constructor of a module that contains this one is running: such a call determines shapes.

    Its input is a placeholder, often uninitialized memory, and its result is no prediction.
    """
    at: FrameType | None = frame
    while at is not None and not (at.f_code.co_name == "__init__" and _has_part(at, module)):
        at = at.f_back
    return at is not None


def _has_part(frame: FrameType, module: nn.Module) -> bool:
    """Whether a frame runs a method of a module that contains this one."""
    owner = _self(frame)
    if not isinstance(owner, nn.Module) or owner is module or "_modules" not in vars(owner):
        return False  # torch's constructor has not run yet where there are no `_modules`
    return any(each is module for each in parts(owner))


def _self(frame: FrameType) -> object:
    """The `self` of a running method; None in a function."""
    return frame.f_locals.get("self") if frame.f_code.co_varnames[:1] == ("self",) else None


def _frame_of(site: CallSite, frame: FrameType) -> FrameType | None:
    """The frame of a site's call, at or above `frame`."""
    at: FrameType | None = frame
    while at is not None and at.f_code is not site.code:
        at = at.f_back
    return at
