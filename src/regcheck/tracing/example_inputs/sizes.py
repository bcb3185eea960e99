"""Image sizes and sequence lengths for a model, most likely first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

USUAL = {1: (64, 256, 1024, 16000), 2: (224, 64, 32, 28, 256, 299, 512, 384, 128, 96), 3: (32, 64, 16, 96)}
"""Extents to try for signals, images and volumes."""
NAMED = ("img_size", "image_size", "input_resolution", "input_img_size", "sample_size", "resolution", "input_size")
LENGTHS = (
    "seq_len seq_length sequence_length max_len max_length max_seq_len max_seq_length max_sequence_length block_size "
    "context_length n_ctx max_position_embeddings n_positions num_positions window_size num_tokens input_length "
    "max_positions"
).split()
LENGTH = 16
"""The default length of a sequence."""


def extents(model: nn.Module, rank: int, channels: int | None = None) -> list[tuple[int, ...]]:
    """Spatial sizes of that rank (heights and widths for rank 2), most likely first."""
    usual: list[tuple[int, ...]] = [(size,) * rank for size in USUAL[rank]]
    if rank == 3 and channels == 3:
        usual = [(16, 112, 112), (16, 224, 224), (8, 64, 64), *usual]
    solved = [(size,) * rank for size in fitting(model, rank)]
    return [*dict.fromkeys([*_named(model, rank), *_tabled(model, rank), *solved, *usual])]


def pretrained_size(model: nn.Module) -> tuple[int, ...] | None:
    """Channels, height and width in a timm model's `pretrained_cfg`."""
    declared = attribute(model, "pretrained_cfg") or attribute(model, "default_cfg")
    size = declared.get("input_size") if isinstance(declared, Mapping) else None
    if not isinstance(size, (tuple, list)) or not all(isinstance(each, int) for each in size):
        return None
    return tuple(size)


def attribute(owner: Any, name: str) -> Any:
    """An attribute's value; None where it is missing, or where its property raises."""
    try:
        return getattr(owner, name, None)
    except Exception:
        return None


def _named(model: nn.Module, rank: int) -> Iterator[tuple[int, ...]]:
    """Sizes that the model or a part of it stores under a conventional name."""
    for module in itertools.islice(model.modules(), 400):
        size: Any = pretrained_size(module) if rank == 2 else None
        if size is not None:
            yield size[-2:]
        for name in NAMED:
            size = _whole(attribute(module, name), rank)
            if size is not None and not (name == "input_size" and isinstance(module, (nn.RNNBase, nn.RNNCellBase))):
                yield size
        spatial, temporal = attribute(module, "spatial_size"), attribute(module, "temporal_size")
        stem = _first_convolution(model)
        if rank == 3 and isinstance(spatial, (tuple, list)) and isinstance(temporal, int) and stem is not None:
            sizes = (temporal, *spatial)
            if len(sizes) == 3:
                yield tuple(size * stride for size, stride in zip(sizes, stem.stride, strict=True))


def _whole(value: Any, rank: int) -> tuple[int, ...] | None:
    if isinstance(value, int) and not isinstance(value, bool) and 4 <= value <= 1024:
        return (value,) * rank
    if isinstance(value, (tuple, list, torch.Size)) and len(value) >= rank:
        sizes = tuple(value)[-rank:]
        if all(isinstance(each, int) and 4 <= each <= 4096 for each in sizes):
            return sizes
    return None


def _tabled(model: nn.Module, rank: int) -> Iterator[tuple[int, ...]]:
    """Sizes whose number of patches equals the rows of a learned table of positions."""
    stem = _first_convolution(model)
    if rank == 1 or stem is None or tuple(stem.kernel_size) != tuple(stem.stride) or stem.stride[0] < 2:
        return
    for name, table in _tables(model):
        if "pos" in name.lower() and "relative" not in name and stem.out_channels == table.shape[-1]:
            for extra in (0, 1, 2):
                side = round((table.shape[-2] - extra) ** (1 / rank))
                if side > 1 and side**rank == table.shape[-2] - extra:
                    yield tuple(side * step for step in stem.stride)


def _tables(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers that may have a row per position, with their paths; without the weights of layers."""
    for path, module in itertools.islice(model.named_modules(), 400):
        if isinstance(module, (nn.Embedding, nn.Linear)):
            continue
        for name, each in itertools.chain(module._parameters.items(), module._buffers.items()):
            if each is not None and not nn.parameter.is_lazy(each) and each.dim() in (2, 3):
                yield (f"{path}.{name}" if path else name), each


def _first_convolution(model: nn.Module) -> Any:
    return next((each for each in model.modules() if isinstance(each, nn.modules.conv._ConvNd)), None)


def fitting(model: nn.Module, rank: int) -> list[int]:
    """Sizes at which the output of the convolutions fits the linear layer after them.

    It assumes that layers run in the order of their construction. Functional poolings are invisible, so it also tries
    halving after each convolution, and after each but the last.
    """
    layers: list[nn.Module] = []
    linear: nn.Linear | None = None
    for layer in itertools.islice(model.modules(), 200):
        if isinstance(layer, nn.Linear):
            linear = layer
            break
        if _reach(layer, rank) is not None or "Adaptive" in type(layer).__name__:
            layers.append(layer)
    convolutions = [each for each in layers if isinstance(each, nn.modules.conv._ConvNd)]
    if linear is None or not convolutions or any("Adaptive" in type(each).__name__ for each in layers):
        return []
    last = convolutions[-1].out_channels
    if linear.in_features == last or linear.in_features % last:
        return []
    positions = linear.in_features // last
    tries = dict.fromkeys([224, 32, 28, 64, 128, 96, 84, 48, 256, 227, 299, 16, 8, 40, 50, 100, 112, 160, 512, 1024])
    return [size for halving in range(3) for size in tries if _left(layers, rank, size, halving) == positions]


def _left(layers: list[nn.Module], rank: int, size: int, halving: int) -> int:
    """The positions left of a size; `halving` 1 assumes a pooling after each convolution, 2 after all but the last."""
    total = sum(isinstance(each, nn.modules.conv._ConvNd) for each in layers)
    count = 0
    for layer in layers:
        reach = _reach(layer, rank)
        if reach is None:
            continue
        kernel, stride, padding, dilation = reach
        size = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        if isinstance(layer, nn.modules.conv._ConvNd):
            count += 1
            if halving == 1 or (halving == 2 and count < total):
                size //= 2
        if size < 1:
            return 0
    return int(math.pow(size, rank))


def _reach(layer: nn.Module, rank: int) -> tuple[int, int, int, int] | None:
    """Kernel, stride, padding and dilation of a convolution or pooling of that rank, along its first axis."""
    name = type(layer).__name__
    if not name.endswith(f"{rank}d") or not ("Conv" in name or "Pool" in name) or "Adaptive" in name or "Trans" in name:
        return None
    values = [attribute(layer, each) for each in ("kernel_size", "stride", "padding", "dilation")]
    if values[2] == "same":
        values[2] = (_one(values[0]) - 1) // 2
    kernel, stride, padding, dilation = (
        _one(value, default) for value, default in zip(values, (1, 1, 0, 1), strict=True)
    )
    return kernel, stride or kernel, padding, dilation


def _one(value: Any, default: int = 1) -> int:
    value = value[0] if isinstance(value, (tuple, list)) and value else value
    return value if isinstance(value, int) else default


def lengths(model: nn.Module, width: int | None = None) -> list[int]:
    """Lengths of a token sequence: short ones that learned positions and size attributes allow."""
    named = [
        value
        for module in itertools.islice(model.modules(), 400)
        for value in (attribute(module, name) for name in LENGTHS)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4096
    ]
    tables = [table.shape for name, table in _tables(model) if "pos" in name or "." not in name]
    rows = [shape[-2] for shape in tables if shape[-1] == width and shape[-2] <= 1024]
    short = min([LENGTH, *named[:1]])
    return [*dict.fromkeys([*rows, short, *named[:2], 8, 1])]
