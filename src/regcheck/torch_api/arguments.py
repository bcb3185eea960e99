"""The parameters of torch's functions and constructors: where each stands, what it is called, what it is by default."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

BY_KEYWORD = sys.maxsize
"""The position of a parameter that only a keyword can set."""


class Argument(NamedTuple):
    """A parameter: its position, its name, and its default, which is None for one that must be given."""

    position: int
    name: str
    default: Any = None


@cache
def signature(text: str) -> Mapping[str, Argument]:
    """The parameters, by name, of a signature written without commas: `input p=0.5 training=True * out=None`.

    A signature may stop early; what follows a lone `*` is given by keyword only.
    """
    arguments: dict[str, Argument] = {}
    keyword_only = False
    for word in text.split():
        if word == "*":
            keyword_only = True
            continue
        name, separator, default = word.partition("=")
        position = BY_KEYWORD if keyword_only else len(arguments)
        arguments[name] = Argument(position, name, _literal(default) if separator else None)
    return arguments


_literal = cache(ast.literal_eval)
