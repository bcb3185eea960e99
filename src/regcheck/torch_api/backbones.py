"""torchvision's classifiers with batch norm: the parts that programs take, freeze and replace, by their names.

Each part that has batch norm lists its first convolution and its first batch norm, which stand for the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Parts = Mapping[str, "Parts | tuple[Any, ...]"]
"""Parts by name: a layer of torch.nn as its class and its arguments, or the parts of a part."""

_CONV, _NORM = ("Conv2d", 3, 64, 3), ("BatchNorm2d", 64)
_RELU, _POOL = ("ReLU",), ("AdaptiveAvgPool2d", 1)
_BLOCK: Parts = {"0": _CONV, "1": _NORM}
_STAGE: Parts = {"0": {"conv1": _CONV, "bn1": _NORM}}
_BRANCHES: Parts = {"0": {"branch2": _BLOCK}}
_LINEAR = ("Linear", 512, 1000)
_DROPPED: Parts = {"0": ("Dropout", 0.2), "1": _LINEAR}
_RESNET: Parts = {
    "conv1": _CONV,
    "bn1": _NORM,
    "relu": _RELU,
    "maxpool": ("MaxPool2d", 3),
    **{f"layer{number}": _STAGE for number in range(1, 5)},
    "avgpool": _POOL,
    "fc": _LINEAR,
}
_HIDDEN: Parts = {"0": _LINEAR, "1": _RELU, "2": ("Dropout", 0.5), "3": _LINEAR}

BACKBONES: Mapping[str, Parts] = {
    r"(wide_)?resnet\d+(_2)?|resnext\d+_\d+x\d+d": _RESNET,
    r"densenet\d+": {"features": {"conv0": _CONV, "norm0": _NORM}, "classifier": _LINEAR},
    r"mobilenet_v2": {"features": {"0": _BLOCK}, "classifier": _DROPPED},
    r"mobilenet_v3_(large|small)": {
        "features": {"0": _BLOCK},
        "avgpool": _POOL,
        "classifier": {"0": _LINEAR, "1": ("Hardswish",), "2": ("Dropout", 0.2), "3": _LINEAR},
    },
    r"efficientnet_(b\d|v2_[sml])": {"features": {"0": _BLOCK}, "avgpool": _POOL, "classifier": _DROPPED},
    r"mnasnet\d_\d+": {"layers": _BLOCK, "classifier": _DROPPED},
    r"shufflenet_v2_x\d_\d": {
        "conv1": _BLOCK,
        "maxpool": ("MaxPool2d", 3),
        **{f"stage{number}": _BRANCHES for number in range(2, 5)},
        "conv5": _BLOCK,
        "fc": _LINEAR,
    },
    r"regnet_[xy]_\w+": {
        "stem": _BLOCK,
        "trunk_output": {"block1": {"block1-0": {"f": {"a": _BLOCK}}}},
        "avgpool": _POOL,
        "fc": _LINEAR,
    },
    r"vgg\d+_bn": {
        "features": _BLOCK,
        "avgpool": _POOL,
        "classifier": {**_HIDDEN, "4": _RELU, "5": ("Dropout", 0.5), "6": _LINEAR},
    },
}
"""The parts of each family, by a pattern that the names of its functions match, in the order of registration."""

_PACKAGE = re.compile(
    r"torchvision\.models(\.(resnet|densenet|mobilenet\w*|efficientnet|mnasnet|shufflenetv2|regnet|vgg))?"
)


def backbone_named(name: str) -> Parts | None:
    """The parts of the model that a function of torchvision builds, by its dotted name; None for any other function."""
    package, _, function = name.rpartition(".")
    if not _PACKAGE.fullmatch(package):
        return None
    return next((parts for pattern, parts in BACKBONES.items() if re.fullmatch(pattern, function)), None)
