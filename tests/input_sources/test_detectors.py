"""Example inputs of detection models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from regcheck.plugins import example_inputs

from ..accepted_inputs import first


class Detector(nn.Module):
    """Takes a list of images, and targets in train mode, as torchvision's detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        features = self.stem(torch.stack(images))
        if not self.training:
            return [{"boxes": features.mean()}]
        assert targets is not None and len(targets) == len(images)
        for each in targets:
            boxes = each["boxes"]
            assert (boxes[:, 2:] > boxes[:, :2]).all() and len(each["labels"]) == len(boxes)
            assert each["masks"].shape == (len(boxes), *images[0].shape[1:])
        return {"loss": features.mean()}


def test_a_detector_gets_images_and_targets() -> None:
    """A detector runs in both modes: the inputs hold the targets that train mode needs."""
    model = Detector()
    images, targets = first(model, example_inputs(model)).args
    assert all(each.shape == (3, 224, 224) for each in images) and len(targets) == 2
