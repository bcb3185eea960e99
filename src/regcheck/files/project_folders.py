"""The folders of the project that a file belongs to."""

from __future__ import annotations

import os
from pathlib import Path

SKIPPED = frozenset("venv env node_modules build dist site-packages __pycache__ __pypackages__".split())
"""Names of folders that hold nothing of a project's own."""

INSTALLATION = ("pyproject.toml", "setup.py", "setup.cfg")
"""The files that say how to install what is beside them."""

_PROJECT = (*INSTALLATION, ".git")


def is_project(folder: Path) -> bool:
    """Whether a folder has a file that marks a project."""
    return any((folder / each).exists() for each in _PROJECT)


def project_folders(folder: Path) -> list[Path]:
    """A folder and those above it in its project, from the outermost one.

    That is the outermost folder, inside the repository, with a file that marks a project; else the working directory,
    if it is above; else the folder of the package.
    """
    above: list[Path] = []
    for each in (folder, *folder.parents):
        if each.name in SKIPPED:
            break
        above.append(each)
        if (each / ".git").exists():
            break
    marked = [n for n, each in enumerate(above) if is_project(each)]
    here = Path(os.path.realpath(os.curdir))
    if marked:
        last = marked[-1]
    elif here in above:
        last = above.index(here)
    else:
        last = next((n for n, each in enumerate(above) if not (each / "__init__.py").exists()), len(above) - 1)
    return above[last::-1] if above else []
