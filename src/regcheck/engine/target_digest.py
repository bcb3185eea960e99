"""A digest of what a target's model is built from, by which a resumed audit sees that the target has changed."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from regcheck.engine.artifacts import is_artifact
from regcheck.engine.import_folders import import_folders
from regcheck.static.project.discovery import files_around

PACKAGES = {"hf": "transformers", "timm": "timm", "torchvision": "torchvision"}
"""The packages of the zoos that targets name."""


def digest(target: str) -> str:
    """The digest of a target: of the file, of the source around the module, or of the library's version.

    It is that of the name alone where nothing more can be found, as for a plugin's target.
    """
    where, _, name = target.rpartition(":")
    if is_artifact(target):
        return _digest_of_files((target,))
    if where in PACKAGES:
        files = tuple(map(str, sorted(Path(name).glob("*.json")))) if where == "hf" and os.path.isdir(name) else ()
        return f"{_version(PACKAGES[where])} {_digest_of_files(files)}"
    file = where if where.endswith(".py") else _file_of(where)
    return _digest_of_project(os.path.abspath(file)) if file else ""


def _file_of(module: str) -> str:
    """The file of a dotted name, found without importing its package; empty where there is none."""
    parts = module.split(".")
    for folder in (Path.cwd(), *import_folders(Path.cwd()), *map(Path, sys.path)):
        for file in (folder.joinpath(*parts[:-1], f"{parts[-1]}.py"), folder.joinpath(*parts, "__init__.py")):
            if file.is_file():
                return str(file)
    return ""


@cache
def _digest_of_project(file: str) -> str:
    return _digest_of_files(tuple(sorted({file, *map(os.path.abspath, files_around([file]))})))


def _digest_of_files(files: tuple[str, ...]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for each in files:
        digest.update(f"{os.path.relpath(each)}\0".encode(errors="surrogateescape"))
        try:
            with open(each, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            digest.update(str(error).encode())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
