"""Eager and compiled execution, and whether a compiler is available."""

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
    """Compile a function as a whole; code that would fall back to eager mode raises."""
    result: Any = torch.compile(function, fullgraph=True, dynamic=False)
    return cast(F, result)


def compile_in_parts(function: F) -> F:
    """Compile a function with graph breaks: a step of torch.optim begins with code that torch never compiles."""
    result: Any = torch.compile(function, dynamic=False)
    return cast(F, result)


@cache
def reason_not_compiled(device: str) -> str:
    """Returns why the compiler does not support a device; empty if it does."""
    try:
        with torch.no_grad():
            torch.compile(torch.neg)(torch.zeros(8, device=device))
    except Exception as error:
        return describe_error(error)
    return ""


def reset_compiler() -> None:
    """Clear compiled code: the layers share torch's code, which has a limit on recompilations."""
    torch.compiler.reset()


def describe_error(error: Exception) -> str:
    """Returns an error's type and the first line of its message, shortened."""
    first = shorten(str(error).strip().partition("\n")[0], 80, placeholder=" …")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
