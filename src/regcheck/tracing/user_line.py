"""From a running frame to the user's line."""

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
_PACKAGES = (sysconfig.get_path("purelib") + "/", sysconfig.get_path("platlib") + "/", _STDLIB + "site-packages/")
Function = TypeVar("Function")


_runs: set[int] = set()
_positions: dict[tuple[int, int], tuple[CodeType, Place]] = {}


def runs_the_model(function: Function) -> Function:
    """Mark a function of ours that calls the user's model: above its frame there is none of the model's code."""
    _runs.add(id(function.__code__))  # type: ignore[attr-defined]
    return function


def calling_place(frame: FrameType | None = None) -> Place | None:
    """Where the innermost frame of the model's own code stands, from the caller's or the given one outwards.

    None where torch was called by us.
    """
    frame = frame or sys._getframe(1)
    while frame is not None and id(frame.f_code) not in _runs:
        if is_the_users(frame.f_code.co_filename):
            return _place_in(frame)
        frame = frame.f_back
    return None


def _place_in(frame: FrameType) -> Place:
    """Where a frame stands; code objects are kept by identity, as comparing them reads them whole."""
    key = id(frame.f_code), frame.f_lasti
    known = _positions.get(key)
    if known is None:
        found = position(frame.f_code, frame.f_lasti, frame.f_lineno)
        known = _positions[key] = frame.f_code, Place(frame.f_code.co_filename, *found)
    return known[1]


def distributions_running() -> tuple[str, ...]:
    """The functions of `torch.distributions` that the model's own code is in the middle of, outermost first."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_the_users(frame.f_code.co_filename):
        if frame.f_code.co_filename.startswith(_DISTRIBUTIONS):
            names.insert(0, f"torch.distributions.{frame.f_code.co_name}")
        frame = frame.f_back
    return tuple(names)


def raising_place(traceback: TracebackType | None) -> Place | None:
    """Where the innermost frame of the model's own code raised."""
    place = None
    while traceback is not None:
        frame = traceback.tb_frame
        path = frame.f_code.co_filename
        if is_the_users(path):
            place = Place(path, *position(frame.f_code, traceback.tb_lasti, traceback.tb_lineno))
        traceback = traceback.tb_next
    return place


@functools.cache
def is_the_users(path: str) -> bool:
    """Whether a file is the model's own: not torch's, not ours, not the standard library's."""
    if path.startswith((_TORCH, _OURS, "<frozen ", "<eval_with_key>")):  # the last is code that torch.fx wrote
        return False
    return path.startswith(_PACKAGES) or not path.startswith(_STDLIB)
