"""Eager and compiled: how a function is run in either mode, and whether a compiler is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from textwrap import shorten
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])


def eager(function: F) -> F:
    """Run a function eagerly."""
    return function


def compile_whole(function: F) -> F:
    """Compile a function whole: what the compiler would leave to eager mode raises, and is not taken for compiled."""
    made: Any = torch.compile(function, fullgraph=True, dynamic=False)
    return cast(F, made)


def compile_in_parts(function: F) -> F:
    """Compile a function as far as it can be: a step of torch.optim begins with what is never compiled."""
    made: Any = torch.compile(function, dynamic=False)
    return cast(F, made)


@cache
def reason_not_compiled(device: str) -> str:
    """Why nothing can be compiled for a device; empty where it can."""
    try:
        with torch.no_grad():
            torch.compile(torch.neg)(torch.zeros(8, device=device))
    except Exception as error:
        return describe_error(error)
    return ""


def reset_compiler() -> None:
    """Forget what was compiled: the layers share code of torch's, which is compiled a few times only."""
    torch.compiler.reset()


def describe_error(error: Exception) -> str:
    """The first line of an error, shortened, with its type."""
    first = shorten(str(error).strip().partition("\n")[0], 80, placeholder=" …")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
