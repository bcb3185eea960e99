"""A notebook as a program: its cells in order, with stand-ins for the functions that IPython provides."""

from __future__ import annotations

import ast
import os
import sys
import traceback
from types import CodeType, TracebackType
from typing import Any

from regcheck.core.errors import UsageError
from regcheck.core.finding import NotChecked
from regcheck.files.notebook import SUFFIX, BrokenNotebook, Notebook, parse_notebook
from regcheck.files.text import content_of, put_into_line_cache

_MOST_SKIPPED = 5


def is_notebook(file: str) -> bool:
    """Whether the name is a notebook's."""
    return file.endswith(SUFFIX)


def notebook_at(file: str) -> Notebook:
    """Returns a notebook of Python code.

    Raises:
        UsageError: the file is no notebook, has a syntax error, or holds code in another language.
    """
    try:
        notebook = parse_notebook(content_of(file))
    except (OSError, BrokenNotebook) as error:
        raise UsageError(f"{file}: {error}") from error
    if not notebook.cells:
        raise UsageError(f"{file}: there is no Python code in this notebook")
    return notebook


def compiled(file: str) -> CodeType:
    """Returns the cells as one program, which displays the value of a cell's last expression.

    Tracebacks and `inspect` find the source in the lines of `Notebook.text`.
    """
    notebook = notebook_at(file)
    put_into_line_cache(file, notebook.text)
    imports: list[ast.stmt] = []
    statements: list[ast.stmt] = []
    for cell in notebook.cells:
        body = ast.increment_lineno(ast.parse(cell.python), notebook.line(cell.number, 1) - 1).body
        if body and not cell.source.rstrip().endswith(";"):
            body[-1] = _displayed(body[-1])
        for each in body:
            (imports if isinstance(each, ast.ImportFrom) and each.module == "__future__" else statements).append(each)
    return compile(ast.Module([*imports, *statements], []), file, "exec", dont_inherit=True)


def _displayed(statement: ast.stmt) -> ast.stmt:
    """The statement; an expression is given to `sys.displayhook`."""
    if not isinstance(statement, ast.Expr):
        return statement
    display = ast.parse("__import__('sys').displayhook()", mode="eval").body
    assert isinstance(display, ast.Call)
    for each in ast.walk(display):
        ast.copy_location(each, statement.value)
    display.args.append(statement.value)
    return ast.copy_location(ast.Expr(display), statement)


def names_of_ipython() -> dict[str, Any]:
    """The functions that each notebook finds: `display` prints, and `get_ipython` says that there is no shell."""

    def display(*objects: object, **options: object) -> None:
        print(*objects)

    def get_ipython() -> None:
        return None

    return {"display": display, "get_ipython": get_ipython}


def skipped_syntax(file: str) -> NotChecked | None:
    """Returns an entry about the lines that only IPython runs, if there are any."""
    lines = [
        f"cell {cell.number}, line {line} (`{cell.source.splitlines()[line - 1].strip()}`)"
        for cell in notebook_at(file).cells
        for line in cell.skipped
    ]
    if not lines:
        return None
    more = f" and {len(lines) - _MOST_SKIPPED} more" if len(lines) > _MOST_SKIPPED else ""
    reason = f"IPython's own syntax does not run: {'; '.join(lines[:_MOST_SKIPPED])}{more}"
    return NotChecked(file, reason, "run these commands before, or write them in Python")


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception as Python does, with the cells of a notebook as files of their own."""
    shown = traceback.TracebackException(kind, error, trace, lookup_lines=False)
    _place_in_cells(shown, set())
    print(*shown.format(), sep="", end="", file=sys.stderr)


def _place_in_cells(shown: traceback.TracebackException | None, seen: set[int]) -> None:
    """Replace the positions in the text of a notebook by those in its cells, in all causes and contexts."""
    if shown is None or id(shown) in seen:
        return
    seen.add(id(shown))
    for frame in shown.stack:
        if is_notebook(frame.filename) and os.path.isfile(frame.filename) and frame.lineno:
            notebook = notebook_at(frame.filename)
            number, line = notebook.located(frame.lineno)
            cell = notebook.cell(number)
            last = getattr(frame, "end_lineno", None)  # Python 3.10 has none
            if last:
                frame.end_lineno = line + last - frame.lineno
            frame.filename, frame.lineno = f"{frame.filename}: cell {number}", line
            put_into_line_cache(frame.filename, cell.source if cell else "")
    for each in (shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or ())):
        _place_in_cells(each, seen)
