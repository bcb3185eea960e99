"""The line of the model's own code that a running frame or a traceback belongs to."""

from __future__ import annotations

import functools
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import TypeVar

import torch

from regcheck.files.place import Place
from regcheck.files.position import position

_TORCH = str(Path(torch.__file__).parent) + "/"
_DISTRIBUTIONS = _TORCH + "distributions/"
_OURS = str(Path(__file__).parent.parent) + "/"
_STDLIB = sysconfig.get_path("stdlib") + "/"
_KERAS = tuple(f"{sysconfig.get_path(kind)}/keras/" for kind in ("purelib", "platlib"))
_PACKAGES = (sysconfig.get_path("purelib") + "/", sysconfig.get_path("platlib") + "/", _STDLIB + "site-packages/")
Function = TypeVar("Function")


_runs: set[int] = set()
_positions: dict[tuple[int, int], tuple[CodeType, Place]] = {}


def runs_the_model(function: Function) -> Function:
    """Mark a function of regcheck that calls the user's model: the search for the model's code ends at its frame."""
    _runs.add(id(function.__code__))  # type: ignore[attr-defined]
    return function


def calling_place(frame: FrameType | None = None) -> Place | None:
    """The line of the innermost frame of the model's own code, from `frame` (default: the caller's) outwards.

    None where regcheck itself calls torch.
    """
    frame = frame or sys._getframe(1)
    while frame is not None and id(frame.f_code) not in _runs:
        if is_user_code(frame.f_code.co_filename):
            return _place_in(frame)
        frame = frame.f_back
    return None


def _place_in(frame: FrameType) -> Place:
    """The line of a frame, memoized by the code object's identity, because comparing code objects is slow."""
    key = id(frame.f_code), frame.f_lasti
    entry = _positions.get(key)
    if entry is None:
        place = Place(frame.f_code.co_filename, *position(frame.f_code, frame.f_lasti, frame.f_lineno))
        entry = _positions[key] = frame.f_code, place
    return entry[1]


def distributions_running() -> tuple[str, ...]:
    """The functions of `torch.distributions` between this call and the model's own code, outermost first."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_user_code(frame.f_code.co_filename):
        if frame.f_code.co_filename.startswith(_DISTRIBUTIONS):
            names.insert(0, f"torch.distributions.{frame.f_code.co_name}")
        frame = frame.f_back
    return tuple(names)


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
