"""Parse `regcheck audit --input`: a shape, a dtype with a shape, or a function that returns the inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from regcheck.core.errors import CannotBuild, UsageError, nearest
from regcheck.lazy_dataclass import dataclass

FORMS = "`1x3x224x224`, `float32[4,3,32,32]`, `ids:int64[2,16]` or `file.py:make_inputs`"
DTYPES = (
    "float16 bfloat16 float32 float64 half float double int8 int16 int32 int64 int long short uint8 bool complex64"
).split()


@dataclass(frozen=True)
class InputSpec:
    """One `--input`: a tensor to draw, with `keyword` as a keyword argument, or the target of a `factory`."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    keyword: str = ""
    factory: str = ""


def parse_input(text: str) -> InputSpec:
    """Parses one `--input`.

    Raises:
        UsageError: it has none of the forms, or an unknown dtype.
    """
    if re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)*", text):
        return InputSpec(tuple(int(size) for size in text.split("x")))
    tensor = re.fullmatch(r"(?:(?P<name>[^\W\d]\w*):)?(?P<dtype>\w+)\[(?P<sizes>[0-9, ]*)\]", text)
    if tensor is not None:
        dtype = tensor["dtype"]
        if dtype not in DTYPES:
            raise UsageError(f"--input {text}: there is no dtype {dtype!r}{nearest(dtype, DTYPES)}")
        sizes = [size.strip() for size in tensor["sizes"].split(",")] if tensor["sizes"].strip() else []
        if not all(size.isdecimal() and int(size) for size in sizes):
            raise UsageError(f"--input {text}: the sizes are written as in [4,3,32,32]")
        return InputSpec(tuple(int(size) for size in sizes), dtype, tensor["name"] or "")
    where, _, name = text.rpartition(":")
    if where.endswith(".py") and re.fullmatch(r"[\w.]+", name):
        return InputSpec(factory=text)
    raise UsageError(f"--input {text}: an input is written as {FORMS}")


Draw = Callable[[str | int, tuple[int, ...], str], Any]
"""Draws a tensor for an argument, by name or position, of a shape and a dtype."""


def build_arguments(specs: Sequence[InputSpec], draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Builds the arguments of a model's forward from all `--input` options.

    Raises:
        UsageError: a factory's file or name does not exist.
        CannotBuild: a factory raised, or returned None.
    """
    from regcheck.engine.targets import call_factory

    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for each in specs:
        if each.factory:
            more, named = as_arguments(call_factory(each.factory), each.factory)
            args += more
            kwargs |= named
        elif each.keyword:
            kwargs[each.keyword] = draw(each.keyword, each.shape, each.dtype)
        else:
            args.append(draw(len(args), each.shape, each.dtype))
    return tuple(args), kwargs


def as_arguments(value: Any, factory: str) -> tuple[list[Any], dict[str, Any]]:
    """Converts a factory's result: a tuple is several arguments, a dict keyword arguments, a pair of both is both."""
    if value is None:
        todo = "return a tensor, a tuple of arguments, a dict of keyword arguments, or a pair of the last two"
        raise CannotBuild(f"the input factory {factory} returned nothing", todo)
    pair = isinstance(value, tuple) and len(value) == 2
    if pair and isinstance(value[0], (tuple, list)) and isinstance(value[1], dict):
        return [*value[0]], dict(value[1])
    if isinstance(value, dict):
        return [], dict(value)
    plain = isinstance(value, tuple) and not hasattr(value, "_fields")
    return ([*value] if plain else [value]), {}
