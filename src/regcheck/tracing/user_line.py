"""The line of the model's own code that a running frame or a traceback belongs to."""

from __future__ import annotations

import functools
import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import TypeVar

import torch

from regcheck.files.place import Place
from regcheck.files.position import position

from .traced_code import TracedFrame, is_traced_code, traced_frames

_TORCH = str(Path(torch.__file__).parent) + "/"
_DISTRIBUTIONS = _TORCH + "distributions/"
_OURS = str(Path(__file__).parent.parent) + "/"
_STDLIB = sysconfig.get_path("stdlib") + "/"
_KERAS = tuple(f"{sysconfig.get_path(kind)}/keras/" for kind in ("purelib", "platlib"))
_PACKAGES = (sysconfig.get_path("purelib") + "/", sysconfig.get_path("platlib") + "/", _STDLIB + "site-packages/")
_SAMPLES = re.compile(r"\.(\w*sample\w*)\(")
Function = TypeVar("Function")


_runs: set[int] = set()
_positions: dict[tuple[int, int], tuple[CodeType, Place]] = {}


def runs_the_model(function: Function) -> Function:
    """Mark a function of regcheck that calls the user's model: the search for the model's code ends at its frame."""
    _runs.add(id(function.__code__))  # type: ignore[attr-defined]
    return function


def calling_place(frame: FrameType | None = None) -> Place | None:
    """The line of the innermost frame of the model's own code, from `frame` (default: the caller's) outwards.

    Code that a tracer wrote stands for the lines that it was traced from. None where regcheck itself calls torch.
    """
    frame = frame or sys._getframe(1)
    while frame is not None and id(frame.f_code) not in _runs:
        if is_user_code(frame.f_code.co_filename):
            return _place_in(frame)
        if is_traced_code(frame.f_code):
            place = place_in(traced_frames(frame))
            if place is not None:
                return place
        frame = frame.f_back
    return None


def user_functions(frame: FrameType | None) -> tuple[str, ...]:
    """The names of the functions of the model's own code from `frame` outwards, outermost first."""
    names: list[str] = []
    while frame is not None and id(frame.f_code) not in _runs:
        if is_user_code(frame.f_code.co_filename):
            names.insert(0, frame.f_code.co_name)
        frame = frame.f_back
    return tuple(names)


def place_in(frames: Iterable[TracedFrame]) -> Place | None:
    """The line of the first of these frames that is of the model's own code."""
    return next((Place(each.path, each.line) for each in frames if _is_user_frame(each)), None)


def _place_in(frame: FrameType) -> Place:
    """The line of a frame, memoized by the code object's identity, because comparing code objects is slow."""
    key = id(frame.f_code), frame.f_lasti
    entry = _positions.get(key)
    if entry is None:
        place = Place(frame.f_code.co_filename, *position(frame.f_code, frame.f_lasti, frame.f_lineno))
        entry = _positions[key] = frame.f_code, place
    return entry[1]


def functions_around() -> tuple[str, ...]:
    """The functions of `torch.distributions` between this call and the model's own code, outermost first.

    In code that a tracer wrote, also the functions that the call was traced from.
    """
    names: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_user_code(frame.f_code.co_filename):
        if is_traced_code(frame.f_code):
            return functions_in(traced_frames(frame))
        if frame.f_code.co_filename.startswith(_DISTRIBUTIONS):
            names.insert(0, f"torch.distributions.{frame.f_code.co_name}")
        frame = frame.f_back
    return tuple(names)


def functions_in(frames: Iterable[TracedFrame]) -> tuple[str, ...]:
    """The functions of frames around a traced call, innermost first, in the order of the stack: outermost first.

    They are the user's, and those of `torch.distributions`.

    A tracer may leave out the frames of torch: then the user's line tells that it samples.
    """
    names: list[str] = []
    for each in frames:
        if "/torch/distributions/" in each.path:
            names.append(f"torch.distributions.{each.function}")
        elif _is_user_frame(each):
            names += [*_SAMPLES.findall(each.text), each.function]
    return tuple(names[::-1])


def _is_user_frame(frame: TracedFrame) -> bool:
    """Whether a frame belongs to the model, also where another machine with another installation traced it."""
    return is_user_code(frame.path) and "-packages/torch/" not in frame.path


def raising_place(traceback: TracebackType | None) -> Place | None:
    """The line of the model's own code that the error passed through last."""
    place = None
    while traceback is not None:
        frame = traceback.tb_frame
        path = frame.f_code.co_filename
        if is_user_code(path):
            place = Place(path, *position(frame.f_code, traceback.tb_lasti, traceback.tb_lineno))
        traceback = traceback.tb_next
    return place


@functools.cache
def is_user_code(path: str) -> bool:
    """Whether a file belongs to the model: not to torch, Keras, regcheck or the standard library."""
    if path.startswith((_TORCH, _OURS, *_KERAS, "<frozen ", "<eval_with_key>")):  # the last is code that torch.fx wrote
        return False
    return path.startswith(_PACKAGES) or not path.startswith(_STDLIB)


def is_project_code(path: str) -> bool:
    """Whether a file belongs to the model, and to no installed package."""
    return is_user_code(path) and not path.startswith(_PACKAGES)
