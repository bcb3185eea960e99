"""The files of modules that a program has imported, read without running any code of theirs."""

from __future__ import annotations


def file_of(module: object) -> str | None:
    """The file of a loaded module; None if it has none.

    A lazy module imports what it stands for when an attribute of it is asked for, so only its dictionary is read.
    """
    try:
        file = object.__getattribute__(module, "__dict__").get("__file__")
    except AttributeError:
        return None
    return file if isinstance(file, str) else None
