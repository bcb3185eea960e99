"""The libraries of the zoo. Each module has `entries()`, and imports its library there."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from zoo.entry import Entry

LIBRARIES = {
    "torch": "layers",
    "torchvision": "torchvision",
    "timm": "timm",
    "timm-rates": "timm",
    "segmentation": "segmentation",
    "transformers": "transformers",
    "diffusers": "diffusers",
    "open_clip": "open_clip",
    "braindecode": "braindecode",
    "keras": "keras",
    "monai": "monai",
    "pyg": "pyg",
}
"""The names of the libraries, and the module of each."""


def entries(library: str) -> Iterator[Entry]:
    """Returns all models of a library, in a fixed order."""
    module = importlib.import_module(f"zoo.libraries.{LIBRARIES[library]}")
    found: Iterator[Entry] = module.entries(library)
    return found
