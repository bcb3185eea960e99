"""torchvision: every model it lists."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy
import torch
import torch.nn.functional as F
from torch import nn

from zoo.entry import Arguments, Entry

OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": "(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width,"
    " int sampling_ratio, bool aligned) -> Tensor",
}
SAMPLES = 2
_declared: list[Any] = []


def imported() -> Any:
    """Import torchvision; where its compiled operators do not load (they want CUDA), Python ones stand in."""
    if not _declared and "torchvision" not in sys.modules:
        declare: Any = torch.library.Library
        library = declare("torchvision", "FRAGMENT")
        try:
            import torchvision
        except RuntimeError:
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
            for name, signature in OPERATORS.items():
                library.define(name + signature)
            import torchvision
            from torchvision.ops import boxes

            library.impl("nms", suppressed, "CPU")
            library.impl("roi_align", aligned_regions, "CPU")
            regions: Any = sys.modules["torchvision.ops.roi_align"]
            regions._has_ops = boxes._assert_has_ops = regions._assert_has_ops = lambda: True
        _declared.append(library)
    import torchvision

    return torchvision


def suppressed(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Indices of the boxes that no better one overlaps by more than the threshold, best first."""
    order = scores.argsort(descending=True, stable=True)
    boxes = dets[order].double()
    overlaps = (vars(sys.modules["torchvision.ops.boxes"])["box_iou"](boxes, boxes) > iou_threshold).numpy()
    kept = numpy.ones(len(order), dtype=bool)
    for index, others in enumerate(overlaps):
        if kept[index]:
            kept[index + 1 :] &= ~others[index + 1 :]
    return order[torch.from_numpy(kept)]


def aligned_regions(
    features: torch.Tensor, rois: torch.Tensor, scale: float, height: int, width: int, ratio: int, aligned: bool
) -> torch.Tensor:
    """The mean of some bilinear samples in each bin of each region, as the compiled operator gives away from edges."""
    ratio, (rows, columns) = max(ratio, 0) or 2, features.shape[-2:]
    result = features.new_zeros(len(rois), features.shape[1], height, width)
    for index, image in enumerate(features):
        mine = rois[:, 0] == index
        left, top, right, bottom = (rois[mine, 1:] * scale - 0.5 * aligned).unbind(1)
        x = _samples(left, right, width * ratio, columns, aligned)
        y = _samples(top, bottom, height * ratio, rows, aligned)
        grid = torch.stack([x[:, None, :].expand(-1, y.shape[1], -1), y[:, :, None].expand(-1, -1, x.shape[1])], -1)
        seen = F.grid_sample(image[None], grid.flatten(1, 2)[None], align_corners=False, padding_mode="border")
        seen = seen[0].view(len(image), int(mine.sum()), height, ratio, width, ratio).mean((-3, -1))
        result[mine] = seen.transpose(0, 1)
    return result


def _samples(start: torch.Tensor, end: torch.Tensor, number: int, size: int, aligned: bool) -> torch.Tensor:
    """Evenly spread positions from start to end, in `grid_sample`'s coordinates."""
    length = end - start if aligned else (end - start).clamp(min=1)
    positions = start[:, None] + length[:, None] * (torch.arange(number) + 0.5) / number
    return 2 * (positions + 0.5) / size - 1


def entries(library: str) -> Iterator[Entry]:
    """All models, those with a backbone without its weights."""
    torchvision = imported()
    for name in torchvision.models.list_models():
        family = torchvision.models.get_model_builder(name).__module__.split(".")[2]
        rates: dict[str, Any] = {"weights_backbone": None} if family in ("segmentation", "detection") else {}
        build: Callable[[], nn.Module] = partial(torchvision.models.get_model, name, weights=None, **rates)
        yield Entry(library, name, build, ARGUMENTS.get(family, images))


def images(model: nn.Module) -> Arguments:
    size = 299 if "inception" in type(model).__name__.lower() else 224
    return (torch.rand(SAMPLES, 3, size, size),), {}


def videos(model: nn.Module) -> Arguments:
    return (torch.rand(SAMPLES, 3, 16, 224, 224),), {}


def pairs_of_images(model: nn.Module) -> Arguments:
    return (torch.rand(SAMPLES, 3, 128, 128), torch.rand(SAMPLES, 3, 128, 128)), {}


def scenes(model: nn.Module) -> Arguments:
    """Images with one box each; training needs the boxes, prediction does not mind them."""
    box = torch.tensor([[10.0, 20.0, 90.0, 100.0]])
    target = {"boxes": box, "labels": torch.ones(1, dtype=torch.int64)}
    target["masks"] = torch.ones(1, 128, 128, dtype=torch.uint8)
    target["keypoints"] = torch.tensor([[[50.0, 60.0, 1.0]] * 17])
    return ([torch.rand(3, 128, 128) for _ in range(SAMPLES)], [dict(target) for _ in range(SAMPLES)]), {}


ARGUMENTS: dict[str, Callable[[nn.Module], Arguments]] = {
    "detection": scenes,
    "video": videos,
    "optical_flow": pairs_of_images,
}
