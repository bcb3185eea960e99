"""The source position of a running frame."""

from __future__ import annotations

import sys
from itertools import islice
from types import CodeType


def position(code: CodeType, instruction: int, line: int) -> tuple[int, int]:
    """Returns line and column, from 1, of the expression that an instruction evaluates; Python 3.10 has no columns.

    Args:
        code: the frame's code.
        instruction: the frame's `f_lasti`, or a traceback's `tb_lasti`.
        line: the result's line if the code has no positions.
    """
    if sys.version_info >= (3, 11):
        span = next(islice(code.co_positions(), instruction // 2, None), None)
        if span is not None and span[0] is not None and span[2] is not None:
            return span[0], span[2] + 1
    return line, 1


def end_position(code: CodeType, instruction: int) -> tuple[int, int] | None:
    """Returns line and column, from 1, after the end of the expression; None if the code has no positions."""
    if sys.version_info >= (3, 11):
        span = next(islice(code.co_positions(), instruction // 2, None), None)
        if span is not None and span[1] is not None and span[3] is not None:
            return span[1], span[3] + 1
    return None
