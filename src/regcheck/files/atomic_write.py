"""Write a file completely or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from stat import S_IMODE, S_ISREG

_DEVICES = ("/dev/", "/proc/")
_FIXED = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV)
"""Errors that forbid replacing a file but not writing to it: a folder's permissions, a mount."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file's content in one step: concurrent readers, and readers after a failure, see the old content.

    The file keeps its permissions, and a symbolic link stays one. Anything but a regular file is written in place.

    Raises:
        OSError: the file cannot be written.
    """
    there = os.path.exists(path)
    if os.path.abspath(path).startswith(_DEVICES) or (there and not S_ISREG(os.stat(path).st_mode)):
        Path(path).write_bytes(content)
        return
    file = os.path.realpath(path)
    unfinished = os.path.join(os.path.dirname(file), f".regcheck-{os.urandom(8).hex()}.new")
    try:
        try:
            with open(unfinished, "xb") as new:
                new.write(content)
            if there:
                os.chmod(unfinished, S_IMODE(os.stat(file).st_mode))
            os.replace(unfinished, file)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
    except OSError as error:
        if not there or error.errno not in _FIXED:
            raise
        Path(file).write_bytes(content)
