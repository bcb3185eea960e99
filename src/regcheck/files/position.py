"""Where in its source a running frame stands."""

from __future__ import annotations

import sys
from itertools import islice
from types import CodeType


def position(code: CodeType, instruction: int, line: int) -> tuple[int, int]:
    """Line and column, from 1, of the expression an instruction evaluates; Python 3.10 keeps no columns.

    Args:
        code: the frame's code.
        instruction: the frame's `f_lasti`, or a traceback's `tb_lasti`.
        line: the line to fall back on.
    """
    if sys.version_info >= (3, 11):
        found = next(islice(code.co_positions(), instruction // 2, None), None)
        if found is not None and found[0] is not None and found[2] is not None:
            return found[0], found[2] + 1
    return line, 1


def end_position(code: CodeType, instruction: int) -> tuple[int, int] | None:
    """Line and column, from 1, of what comes after the expression; None where Python does not keep it."""
    if sys.version_info >= (3, 11):
        found = next(islice(code.co_positions(), instruction // 2, None), None)
        if found is not None and found[1] is not None and found[3] is not None:
            return found[1], found[3] + 1
    return None
