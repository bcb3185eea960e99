"""The files of the user's project, told apart from those of installed distributions and of the standard library."""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

_INSTALLED = frozenset(("site-packages", "dist-packages"))
_INTERPRETER = tuple(os.path.join(sysconfig.get_path(each), "") for each in ("stdlib", "platstdlib", "scripts"))
_PACKAGES = frozenset(sysconfig.get_path(each) for each in ("purelib", "platlib"))


class ProjectFiles:
    """Decides which files belong to the project in `root`.

    A file belongs to a library if it lies in the standard library, in a folder of installed packages, or in the folder
    of another project's editable installation. A package that was installed from the project's own folder, as tox does,
    is the project's.

    Args:
        root: the project's folder.
        packages: the folders with the metadata of installed distributions.
    """

    def __init__(self, root: str, packages: Collection[str] = _PACKAGES) -> None:
        self._root, self._packages = os.path.abspath(root), packages
        self._memo: dict[str, bool] = {}

    def __contains__(self, path: str) -> bool:
        answer = self._memo.get(path)
        if answer is None:
            answer = self._memo[path] = self._is_own(path)
        return answer

    def _is_own(self, path: str) -> bool:
        if path.startswith("<"):
            return not path.startswith("<frozen ")
        path = os.path.abspath(path)
        parts = Path(os.path.relpath(path, self._root) if _is_below(path, self._root) else path).parts
        installed = [number for number, part in enumerate(parts) if part in _INSTALLED]
        if installed:
            return parts[installed[-1] + 1 :][:1] in self._own_packages
        if path.startswith(_INTERPRETER):
            return False
        return _is_below(path, self._root) or not any(_is_below(path, each) for each in self._other_editables)

    @cached_property
    def _own_packages(self) -> frozenset[tuple[str, ...]]:
        """The first part of each path that a distribution built from the project's folder has installed."""
        rows = (
            row
            for metadata, source, _ in _local_distributions(self._packages)
            if _is_below(source, self._root) or _is_below(self._root, source)
            for row in _text(metadata / "RECORD").splitlines()
        )
        return frozenset((row.split(",")[0].split("/")[0],) for row in rows)

    @cached_property
    def _other_editables(self) -> tuple[str, ...]:
        """The folders of editable installations, except those around the project or in it."""
        return tuple(
            source
            for _, source, editable in _local_distributions(self._packages)
            if editable and not _is_below(source, self._root) and not _is_below(self._root, source)
        )


def _local_distributions(packages: Collection[str]) -> Iterator[tuple[Path, str, bool]]:
    """The metadata folder, the source and whether it is editable, of each distribution installed from a local path."""
    for folder in packages:
        for file in Path(folder).glob("*.dist-info/direct_url.json"):
            try:
                document = json.loads(_text(file))
                url = urlsplit(document["url"])
                editable = bool(document.get("dir_info", {}).get("editable"))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if url.scheme == "file":
                yield file.parent, os.path.abspath(unquote(url.path)), editable


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _is_below(path: str, folder: str) -> bool:
    return os.path.join(path, "").startswith(os.path.join(folder, ""))
