"""Load the files that people deploy: exported programs and TorchScript.

A file is data: it is recognized by its contents, and nothing in it is unpickled that could run code.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from regcheck.core.errors import CannotBuild, UsageError, format_error

T = TypeVar("T")
SUFFIXES = frozenset(".pt2 .pt .pth .ts .torchscript .ptc .onnx .so .ckpt .bin .safetensors".split())
NAME_THE_MODEL = "audit the model itself: `file.py:function`, where the function builds it and loads this file"
PICKLED = ("custom_obj", "opaque_obj")
"""How the files in an exported program begin that hold objects."""
_ONLY_WEIGHTS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def is_artifact(target: str) -> bool:
    """Whether a target of `regcheck audit` is written as the path of a file that holds a model."""
    return Path(target).suffix.lower() in SUFFIXES


def load(path: str) -> Any:
    """Returns the program in a file: an `ExportedProgram` or a `ScriptModule`.

    Raises:
        UsageError: there is no such file.
        CannotBuild: the file holds something else, or cannot be loaded; the error says what to do.
    """
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path!r}")
    names = _members(path)
    if any(name.endswith("code") or "/code/" in name for name in names) and _has(names, "constants.pkl"):
        shapes = _has(names, "traced_inputs.pkl")
        return _loaded(lambda: torch.jit.load(path, "cpu", _restore_shapes=shapes))  # type: ignore[no-untyped-call]
    if _has(names, "archive_format", "serialized_exported_program.json"):
        if any("/aotinductor/" in name for name in names):
            raise CannotBuild(
                "holds machine code that AOTInductor compiled, of which no op can be followed or replaced",
                "audit the exported program that it was compiled from",
            )
        if any(name.rpartition("/")[2].startswith(PICKLED) for name in names):
            raise CannotBuild("contains pickled objects, which could run code and are not loaded", NAME_THE_MODEL)
        with _weights_only():
            return _loaded(lambda: torch.export.load(path))
    if Path(path).suffix.lower() == ".onnx":
        raise CannotBuild(
            "is an ONNX graph, and not a module of torch",
            "audit it by `regcheck audit`, or the model that it was exported from",
        )
    if Path(path).suffix.lower() == ".so":
        raise CannotBuild("holds machine code, of which no op can be followed", "audit the model that it was made from")
    if Path(path).suffix.lower() == ".safetensors":
        raise CannotBuild("holds weights without a model", NAME_THE_MODEL)
    raise CannotBuild(
        "is neither an exported program nor TorchScript; a state_dict, or a model saved whole, is a pickle, which could"
        " run code and is not loaded",
        NAME_THE_MODEL,
    )


def _members(path: str) -> list[str]:
    """The names of the files in an archive; none for a file that is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def _has(names: list[str], *wanted: str) -> bool:
    return any(name.rpartition("/")[2] in wanted for name in names)


def _loaded(read: Callable[[], T]) -> T:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates formats that it still reads
            return read()
    except Exception as error:
        raise CannotBuild(f"cannot be loaded: {format_error(error)}", "load it with torch on its own first") from error


@contextmanager
def _weights_only() -> Iterator[None]:
    """Within the block torch refuses to unpickle anything but tensors, also where it would retry without the limit."""
    before = os.environ.get(_ONLY_WEIGHTS)
    os.environ[_ONLY_WEIGHTS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ONLY_WEIGHTS]
        else:
            os.environ[_ONLY_WEIGHTS] = before
