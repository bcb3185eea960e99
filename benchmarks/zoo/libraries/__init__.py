"""The libraries whose models make up the zoo. Each module has `entries()`, and imports its library there."""

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
    "monai": "monai",
    "pyg": "pyg",
}
"""The names of the libraries, and the module of each."""


def entries(library: str) -> Iterator[Entry]:
    """All models of a library, in an order that stays the same."""
    module = importlib.import_module(f"zoo.libraries.{LIBRARIES[library]}")
    found: Iterator[Entry] = module.entries(library)
    return found
