"""Put the current output of commands into the README and the tutorial, and one of them into a picture.

Runs the command of every `console` block that begins with `$ regcheck` or `$ pytest`, from top to bottom in a copy of
the page's project, and replaces the text below the command by its output. A `diff` block edits the file that is its
title. Proofs get a large budget.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
PROJECTS = ROOT / "fixtures" / "projects"
PAGES = {ROOT / "README.md": PROJECTS / "quickstart", ROOT / "docs" / "tutorial.md": PROJECTS / "tutorial"}
"""The pages, each with its project."""

PICTURE = ROOT / "docs" / "terminal.svg"
PICTURE_SHOWS = "pytest --regcheck -q tests/test_training.py -k main"
WIDE = 88
"""Columns of the picture."""

BLOCK = re.compile(
    r"^```console\n\$ (?P<command>(?:regcheck|pytest) .*)\n(?P<output>(?:.*\n)*?)```$"
    r'|^```diff title="(?P<file>[^"]+)"\n(?P<edit>(?:.*\n)*?)```$',
    re.MULTILINE,
)


def output(command: str, project: Path, **variables: str) -> str:
    """Returns the output of a command in a project, as a terminal of 80 columns shows it."""
    module, *words = shlex.split(command)
    quiet = ["-p", "no:randomly", "-p", "no:cacheprovider", "--regcheck-budget=60"] if module == "pytest" else []
    environment = {**os.environ, "COLUMNS": "80", "FORCE_COLOR": "1", **variables}
    done = subprocess.run(
        [sys.executable, "-m", module, *words, *quiet], cwd=project, env=environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def plain_output(command: str, project: Path) -> str:
    """Returns the output of a command without colour, and without the duration of a test session."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", output(command, project))
    return re.sub(r"^(\d+ passed) in .*$", r"\1", text, flags=re.MULTILINE)


def edit(file: Path, lines: str) -> None:
    """Apply the lines of a `diff` block, of which the old ones stand in the file once."""
    old, new = (
        "".join(f"{line[1:]}\n" for line in lines.splitlines() if not line.startswith(sign)) for sign in ("+", "-")
    )
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name} does not have these lines once:\n{old}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def runs(page: Path, wanted: Callable[[str], bool] = lambda command: True) -> Iterator[tuple[str, str, str]]:
    """Run the wanted commands of a page, in its order: the command, the output in the page, the output now."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(shutil.copytree(PAGES[page], Path(folder, "project")))
        for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
            if block["edit"]:
                edit(project / block["file"], block["edit"])
            elif wanted(block["command"]):
                yield block["command"], block["output"], plain_output(block["command"], project)


def picture() -> str:
    """A terminal with the output of a command, as SVG that loads no fonts."""
    console = Console(record=True, width=WIDE, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$ {PICTURE_SHOWS}")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(shutil.copytree(PAGES[ROOT / "README.md"], Path(folder, "project")))
        text = Text.from_ansi(output(PICTURE_SHOWS, project, COLUMNS=str(WIDE), PY_COLORS="1"))
        console.print(Text("\n").join(line for line in text.split("\n") if " passed" not in line.plain))
    console.print()  # the clip path of Rich cuts the descenders of the last line
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="regcheck", code_format=form, unique_id="terminal")


def main() -> None:
    """Rewrite the pages and the picture."""
    PICTURE.write_text(picture(), encoding="utf-8")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for command, shown, now in runs(page):
            head = f"```console\n$ {command}\n"
            text = text.replace(f"{head}{shown}```", f"{head}{now}```", 1)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
