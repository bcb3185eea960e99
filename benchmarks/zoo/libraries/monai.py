"""MONAI: networks for volumes and images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.entry import Arguments, Entry
from zoo.libraries.torchvision import imported

VOLUME = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
IMAGE = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
STAGES = {"channels": (8, 16, 32), "strides": (2, 2)}
STEPS = {"channels": (8, 16), "strides": (2, 2)}
PATCHES = {"img_size": (32, 32, 32), "hidden_size": 48, "mlp_dim": 64, "num_heads": 4}


def of(*sizes: int) -> Callable[[nn.Module], Arguments]:
    """Arguments: one tensor of two samples of that shape."""
    return lambda model: ((torch.randn(2, *sizes),), {})


PICTURE, SCAN, COLOURS = of(1, 32, 32), of(1, 32, 32, 32), of(3, 64, 64)
MODELS: tuple[tuple[str, dict[str, Any], Callable[[nn.Module], Arguments]], ...] = (
    ("UNet", {**VOLUME, **STAGES, "dropout": 0.1}, SCAN),
    ("UNet", {**IMAGE, **STAGES}, PICTURE),
    ("BasicUNet", {**VOLUME, "features": (8, 8, 16, 16, 32, 8), "dropout": 0.1}, SCAN),
    ("BasicUNetPlusPlus", {**IMAGE, "features": (8, 8, 16, 16, 32, 8)}, PICTURE),
    ("AttentionUnet", {**VOLUME, **STAGES, "dropout": 0.1}, SCAN),
    ("UNETR", {**PATCHES, "in_channels": 1, "out_channels": 2, "feature_size": 8, "dropout_rate": 0.1}, SCAN),
    ("SwinUNETR", {**IMAGE, "feature_size": 12, "drop_rate": 0.1}, of(1, 64, 64)),
    ("VNet", {}, SCAN),
    ("SegResNet", {"init_filters": 8, "dropout_prob": 0.1}, SCAN),
    ("SegResNetVAE", {"input_image_size": (32, 32, 32), "init_filters": 8}, SCAN),
    (
        "DynUNet",
        {
            **VOLUME,
            "kernel_size": [3] * 3,
            "strides": [1, 2, 2],
            "upsample_kernel_size": [2, 2],
            "filters": [8, 16, 32],
        },
        SCAN,
    ),
    ("DenseNet121", {**VOLUME, "dropout_prob": 0.1}, of(1, 64, 64, 64)),
    ("EfficientNetBN", {"model_name": "efficientnet-b0", "pretrained": False, "spatial_dims": 2}, COLOURS),
    ("ViT", {**PATCHES, "in_channels": 1, "patch_size": (16, 16, 16), "num_layers": 2, "classification": True}, SCAN),
    ("ViTAutoEnc", {**PATCHES, "in_channels": 1, "patch_size": (16, 16, 16), "num_layers": 2}, SCAN),
    ("HighResNet", {"dropout_prob": 0.1}, of(1, 16, 16, 16)),
    ("resnet10", {"spatial_dims": 3, "n_input_channels": 1}, SCAN),
    ("SEResNet50", {"spatial_dims": 2, "in_channels": 3}, COLOURS),
    ("Classifier", {**STEPS, "in_shape": (1, 32, 32), "classes": 3, "dropout": 0.1}, PICTURE),
    ("Regressor", {**STEPS, "in_shape": (1, 32, 32), "out_shape": (1,)}, PICTURE),
    ("Discriminator", {**STEPS, "in_shape": (1, 32, 32)}, PICTURE),
    ("Generator", {"latent_shape": (8,), "start_shape": (8, 4, 4), "channels": (8, 1), "strides": (2, 2)}, of(8)),
    ("AutoEncoder", {**VOLUME, **STEPS, "dropout": 0.1}, SCAN),
    (
        "VarAutoEncoder",
        {**STEPS, "spatial_dims": 2, "in_shape": (1, 32, 32), "out_channels": 1, "latent_size": 8},
        PICTURE,
    ),
    ("FlexibleUNet", {"in_channels": 3, "out_channels": 2, "backbone": "efficientnet-b0"}, COLOURS),
    ("MILModel", {"num_classes": 2, "pretrained": False}, of(4, 3, 64, 64)),
    ("MedNeXt", {**VOLUME, "init_filters": 8}, SCAN),
)


def entries(library: str) -> Iterator[Entry]:
    """The classes that this version has."""
    imported()
    import monai.networks.nets as nets

    for index, (name, configuration, arguments) in enumerate(MODELS):
        if hasattr(nets, name):
            yield Entry(library, f"{name}-{index}", partial(getattr(nets, name), **configuration), arguments)
