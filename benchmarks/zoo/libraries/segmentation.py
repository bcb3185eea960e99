"""segmentation-models-pytorch: each architecture on several encoders."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from zoo.entry import Arguments, Entry
from zoo.libraries.torchvision import imported

ARCHITECTURES = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet DeepLabV3 DeepLabV3Plus PAN UPerNet Segformer".split()
ENCODERS = "resnet18 mobilenet_v2 efficientnet-b0 mit_b0".split()
UNDILATED = {"mit_b0": {"DeepLabV3", "DeepLabV3Plus", "PAN", "UnetPlusPlus", "Linknet"}}
"""Encoders that some architectures refuse."""
TRANSFORMERS = "tu-vit_tiny_patch16_224 tu-deit_tiny_patch16_224 tu-vit_small_patch16_224".split()


def entries(library: str) -> Iterator[Entry]:
    """Encoders without their weights."""
    imported()
    import segmentation_models_pytorch

    pairs = [(a, e) for a in ARCHITECTURES for e in ENCODERS if a not in UNDILATED.get(e, ())]
    pairs += [("DPT", encoder) for encoder in TRANSFORMERS]
    for architecture, encoder in pairs:
        build = getattr(segmentation_models_pytorch, architecture)
        yield Entry(library, f"{architecture}-{encoder}", partial(build, encoder, encoder_weights=None), images)


def images(model: nn.Module) -> Arguments:
    return (torch.rand(2, 3, 224, 224),), {}
