"""The input tensors that a layer accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from . import sizes
from .argument_flow import FirstUse
from .drawing import Spec


def specs_of(model: nn.Module, meeting: FirstUse, rank: int | None = None) -> list[Spec]:
    """Specs of an argument, from its first use in a layer and the reshapings before it."""
    at_use = _function(meeting) if meeting.layer is None else accepted_by(model, meeting.layer, meeting.argument)
    if meeting.shared > 1:
        at_use = [*_split(at_use, meeting), *at_use]
    specs = [each for spec in at_use if (each := _before(spec, meeting.way)) is not None] or at_use
    if rank is not None:
        specs.sort(key=lambda each: len(each.dims) != rank)
        specs = _padded(specs, rank)
    return [*dict.fromkeys(specs)]


def accepted_by(model: nn.Module, layer: nn.Module, argument: str = "input") -> list[Spec]:
    """Specs that a layer accepts, most likely first; empty for a module that is no layer with weights."""
    return [*dict.fromkeys(_accepted_by(model, layer, argument))]


def _accepted_by(model: nn.Module, layer: Any, argument: str) -> Iterator[Spec]:
    name = type(layer).__name__
    if isinstance(layer, nn.Bilinear):
        yield Spec((None, layer.in2_features if argument == "input2" else layer.in1_features))
    elif hasattr(layer, "kernel_size") and hasattr(layer, "in_channels"):
        yield from _convolved(model, layer, name)
    elif hasattr(layer, "num_embeddings") and hasattr(layer, "embedding_dim"):
        padding = sizes.attribute(layer, "padding_idx")
        avoid = frozenset([padding] if isinstance(padding, int) else ())
        for length in sizes.lengths(model, layer.embedding_dim):
            yield Spec((None, length), layer.num_embeddings, avoid)
        yield Spec((None,), layer.num_embeddings, avoid)
    elif isinstance(layer, (nn.RNNBase, nn.RNNCellBase)):
        yield from _recurrent(layer, argument)
    elif isinstance(layer, nn.MultiheadAttention):
        width = {"key": layer.kdim, "value": layer.vdim}.get(argument, layer.embed_dim)
        yield _sequence(width or layer.embed_dim, layer.batch_first)
    elif name in ("Transformer", "TransformerEncoderLayer", "TransformerDecoderLayer"):
        attention = next(each for each in layer.modules() if isinstance(each, nn.MultiheadAttention))
        yield _sequence(attention.embed_dim, attention.batch_first)
    elif name in ("TransformerEncoder", "TransformerDecoder"):
        yield from _accepted_by(model, layer.layers[0], argument)
    elif isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        yield Spec((None, sizes.LENGTH, *layer.normalized_shape))
        yield Spec((None, *layer.normalized_shape))
    elif isinstance(layer, (nn.modules.batchnorm._NormBase, nn.GroupNorm)):
        width = layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features
        rank = {"2d": 2, "3d": 3}.get(name[-2:], 2 if isinstance(layer, nn.GroupNorm) else 0)
        if rank == 0:
            yield Spec((None, width))
            yield Spec((None, width, sizes.LENGTH))
        for extent in sizes.extents(model, rank, width) if rank else ():
            yield Spec((None, width, *extent))
    elif isinstance(sizes.attribute(layer, "in_features"), int):
        width = layer.in_features or sizes.LENGTH  # a lazy layer accepts any
        yield Spec((None, width))
        for length in (sizes.LENGTH, *sizes.lengths(model, width)[:3]):
            yield Spec((None, length, width))


def _convolved(model: nn.Module, layer: Any, name: str) -> Iterator[Spec]:
    rank = len(layer.kernel_size) if isinstance(layer.kernel_size, tuple) else 2
    channels = layer.in_channels or 3  # a lazy layer takes any
    if "Transpose" in name:
        for size in (1, 4, 8, 16):
            yield Spec((None, channels, *[size] * rank))
        return
    for extent in sizes.extents(model, rank, channels):
        yield Spec((None, channels, *extent))


def _recurrent(layer: Any, argument: str) -> Iterator[Spec]:
    if isinstance(layer, nn.RNNCellBase):
        yield Spec((None, layer.hidden_size if argument == "hx" else layer.input_size))
    elif argument == "hx":
        yield Spec((layer.num_layers * (2 if layer.bidirectional else 1), None, layer.hidden_size))
    else:
        yield _sequence(layer.input_size, layer.batch_first)


def _sequence(width: int, batch_first: bool) -> Spec:
    return Spec((None, sizes.LENGTH, width) if batch_first else (sizes.LENGTH, None, width))


def _function(meeting: FirstUse) -> list[Spec]:
    """Specs that a function accepts, by the shape of its weight argument."""
    weight = meeting.weight
    if weight is None or weight.dim() < 2:
        return []
    name = meeting.function
    if name == "embedding":
        return [Spec((None, sizes.LENGTH), weight.shape[0])]
    if name.startswith("conv"):
        rank, channels = weight.dim() - 2, weight.shape[0 if "transpose" in name else 1]
        return [Spec((None, channels, *[size] * rank)) for size in sizes.USUAL[rank]]
    width = weight.shape[-1] if name == "linear" else weight.shape[-2]
    return [Spec((None, width)), Spec((None, sizes.LENGTH, width))]


def _split(specs: list[Spec], meeting: FirstUse) -> list[Spec]:
    """Equal parts, for several arguments that are joined along the layer's feature axis."""
    axis = 1 if isinstance(meeting.layer, nn.modules.conv._ConvNd) else -1
    parts = []
    for spec in specs:
        dims = list(spec.dims)
        width = dims[axis]
        if spec.below is None and width is not None and width % meeting.shared == 0:
            dims[axis] = width // meeting.shared
            parts.append(Spec(tuple(dims)))
    return parts


def _before(spec: Spec, way: tuple[tuple[str, tuple[Any, ...]], ...]) -> Spec | None:
    """The spec that the reshapings turn into `spec`; None where they cannot."""
    dims: list[int | None] | None = list(spec.dims)
    for name, arguments in reversed(way):
        dims = _undone(dims or [], name, arguments)
        if dims is None:
            return None
    return Spec(tuple(dims or ()), spec.below, spec.avoid)


def _undone(dims: list[int | None], name: str, arguments: tuple[Any, ...]) -> list[int | None] | None:
    whole = all(isinstance(each, int) for each in arguments)
    if name == "transpose" and whole and len(arguments) == 2:
        one, other = arguments
        if max(one, other) >= len(dims) or min(one, other) < -len(dims):
            return None
        dims[one], dims[other] = dims[other], dims[one]
    elif name == "permute" and whole:
        if len(arguments) != len(dims):
            return None
        before: list[int | None] = [None] * len(dims)
        for at, axis in enumerate(arguments):
            before[axis] = dims[at]
        return before
    elif name == "unsqueeze" and whole and len(arguments) == 1:
        axis = arguments[0] if arguments[0] >= 0 else len(dims) + arguments[0]
        if not 0 <= axis < len(dims) or dims[axis] not in (1, sizes.LENGTH):
            return None
        del dims[axis]
    elif name == "squeeze" and whole and len(arguments) == 1:
        dims.insert(arguments[0] if arguments[0] >= 0 else len(dims) + 1 + arguments[0], 1)
    return dims


def _padded(specs: list[Spec], rank: int) -> list[Spec]:
    """Images before vectors where forward unpacks a tensor of rank 4, as before `x.flatten(1)`."""
    if any(len(each.dims) == rank for each in specs) or rank != 4:
        return specs
    images = []
    for spec in specs:
        width = spec.dims[-1]
        if len(spec.dims) != 2 or width is None:
            continue
        for channels in (1, 3):
            side = round((width / channels) ** 0.5)
            if side * side * channels == width:
                images.append(Spec((None, channels, side, side)))
    return [*images, *specs]


def entrances(model: nn.Module) -> Iterator[nn.Module]:
    """The layers with weights that an argument may reach first, in the order of construction."""
    for module in model.modules():
        if any(True for _ in module.children()) and not isinstance(module, (nn.MultiheadAttention, nn.Transformer)):
            continue
        if isinstance(next(module.parameters(recurse=False), None), torch.Tensor) or isinstance(module, nn.Embedding):
            yield module
