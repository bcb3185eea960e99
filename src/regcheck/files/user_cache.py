"""Small files in the user's cache folder: written in one step, read only if their checksum matches."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

from regcheck.lazy_dataclass import dataclass

from .atomic_write import write_atomically


@dataclass(frozen=True)
class UserCache:
    """A folder of entries in the user's cache folder; of more than `most` the oldest are deleted."""

    name: str
    most: int = 200

    @property
    def folder(self) -> Path:
        """The folder, which exists once an entry is written."""
        home = os.environ.get("XDG_CACHE_HOME")
        if home:
            base = Path(home)
        elif sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path.home() / ".cache"
        return base / "regcheck" / self.name

    def read(self, name: str) -> bytes | None:
        """The content of an entry; None if there is none, or its checksum does not match."""
        try:
            checksum, _, content = (self.folder / name).read_bytes().partition(b"\n")
        except (OSError, RuntimeError):
            return None
        return content if checksum == _checksum(name, content) else None

    def write(self, name: str, content: bytes) -> None:
        """Writes an entry, and deletes the oldest ones; a failure to write only costs time."""
        with suppress(OSError, RuntimeError):
            here = self.folder
            here.mkdir(parents=True, exist_ok=True)
            write_atomically(here / name, _checksum(name, content) + b"\n" + content)
            entries = sorted(here.iterdir(), key=lambda each: each.stat().st_mtime)
            for each in entries[: -self.most]:
                each.unlink()


def _checksum(name: str, content: bytes) -> bytes:
    """The checksum of an entry and its name."""
    return hashlib.blake2b(name.encode() + content, digest_size=24).hexdigest().encode()
