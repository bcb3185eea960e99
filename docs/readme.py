"""Put the current output of the three doors into the README.

Runs the command of every `console` block that begins with `$ regcheck` or `$ pytest` in the quickstart project, and
replaces the text below the command by its output. Proofs get a large budget.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
QUICKSTART = ROOT / "fixtures" / "projects" / "quickstart"
BLOCK = re.compile(r"^```console\n\$ ((?:regcheck|pytest) .*)\n((?:.*\n)*?)```$", re.MULTILINE)


def output(command: str) -> str:
    """Returns the output of a command in the quickstart project."""
    module, *words = shlex.split(command)
    quiet = ["-p", "no:randomly", "-p", "no:cacheprovider", "--regcheck-budget=60"] if module == "pytest" else []
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", module, *words, *quiet], cwd=QUICKSTART, env=environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def blocks() -> list[tuple[str, str]]:
    """Returns the README's commands, each with its output there."""
    return BLOCK.findall(README.read_text(encoding="utf-8"))


def main() -> None:
    """Rewrite the README."""
    text = README.read_text(encoding="utf-8")
    new = BLOCK.sub(lambda found: f"```console\n$ {found[1]}\n{output(found[1])}```", text)
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
