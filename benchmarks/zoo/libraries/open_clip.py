"""open_clip: pairs of towers, from the library's own configurations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.entry import Arguments, Entry
from zoo.libraries.torchvision import imported

NAMES = (
    "RN50 ViT-S-32 ViT-S-16 ViT-S-32-alt ViT-M-32 ViT-M-16-alt ViT-B-32 ViT-B-32-quickgelu ViT-B-16 ViT-B-16-SigLIP"
    " coca_base coca_ViT-B-32 convnext_tiny EVA02-B-16 ViTamin-S MobileCLIP-S1 ViT-B-16-quickgelu"
    " swin_base_patch4_window7_224"
).split()


def entries(library: str) -> Iterator[Entry]:
    """Returns the names that this version has."""
    imported()
    import open_clip

    for name in NAMES:
        if name in open_clip.list_models():
            yield Entry(library, name, partial(open_clip.create_model, name), arguments)


def arguments(model: nn.Module) -> Arguments:
    visual: Any = model.visual
    size = visual.image_size if isinstance(visual.image_size, tuple) else (visual.image_size, visual.image_size)
    holder: Any = model if hasattr(model, "context_length") else model.text
    return (torch.rand(2, 3, *size), torch.randint(1, 400, (2, holder.context_length))), {}
