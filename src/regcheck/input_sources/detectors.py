"""Inputs of detection models: lists of images, with the targets that train mode needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from regcheck.hookspecs import hookimpl
from regcheck.tracing.example_inputs.arguments import arguments_of
from regcheck.tracing.example_inputs.call_inputs import Inputs
from regcheck.tracing.example_inputs.drawing import smooth

IMAGES = 2
SIDE = 224


@hookimpl
def regcheck_inputs(model: nn.Module) -> Iterator[Inputs]:
    """A list of images and a dict of boxes for each, for a forward `(images, targets)`.

    Both modes get the targets; detectors read them in train mode only.
    """
    arguments = arguments_of(model) or []
    if [each.name for each in arguments[:2]] != ["images", "targets"]:
        return
    annotation = arguments[0].annotation.lower()
    if annotation and "list[" not in annotation:
        return
    images = [*smooth((IMAGES, 3, SIDE, SIDE)) / 4 + 0.5]
    yield Inputs((images, [_target(model) for _ in images]), {}, "the signature of a detector")


def _target(model: nn.Module) -> dict[str, Any]:
    """Two boxes with their labels, masks and keypoints."""
    corners = torch.tensor([[20.0, 30.0, 120.0, 150.0], [60.0, 40.0, 200.0, 190.0]])
    masks = torch.zeros(len(corners), SIDE, SIDE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, corners.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    low, high = corners[:, None, :2], corners[:, None, 2:]
    share = torch.linspace(0.1, 0.9, _points(model))[None, :, None]
    points = torch.cat([low + (high - low) * share, torch.ones(len(corners), share.shape[1], 1)], -1)
    return {"boxes": corners, "labels": torch.ones(len(corners), dtype=torch.long), "masks": masks, "keypoints": points}


def _points(model: nn.Module) -> int:
    """The number of keypoints that a detector predicts: the outputs of the layer that scores them."""
    scores = [each for path, each in model.named_modules() if "keypoint" in path or "kps" in path]
    counts = [each.out_channels for each in scores if isinstance(each, nn.ConvTranspose2d)]
    return counts[-1] if counts else 17
