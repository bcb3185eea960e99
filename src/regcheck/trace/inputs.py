"""Guess example inputs for a model that came without any."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

SAMPLES = 4


@dataclass(frozen=True)
class Inputs:
    """Arguments of a forward, and where they come from (for the report)."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "given"


def home_of(model: nn.Module) -> torch.device:
    """The device a model is on: that of its first parameter or buffer."""
    return next((each.device for each in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def candidates(model: nn.Module) -> Iterator[Inputs]:
    """Inputs to try, on the model's device, most trustworthy first. Nothing is run here."""
    home = home_of(model)
    for each in _guesses(model):
        yield Inputs(moved(each.args, home), moved(each.kwargs, home), each.origin)


def moved(value: Any, device: torch.device | str | None = None) -> Any:
    """A copy of nested inputs, on `device` or where they are, detached from any autograd graph."""

    def move(tensor: torch.Tensor) -> torch.Tensor:
        copied = tensor.detach().to(device or tensor.device, copy=True)
        return copied.requires_grad_(tensor.requires_grad) if tensor.is_leaf else copied

    return mapped(value, move)


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Nested inputs with `change` applied to every tensor; containers are new ones of the same kind."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(each, change) for each in value))
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(each, change) for each in value)
    if isinstance(value, dict):
        twin = copy.copy(value)
        twin.update((key, mapped(each, change)) for key, each in value.items())
        return twin
    return value


def _guesses(model: nn.Module) -> Iterator[Inputs]:
    yield from _declared(model)
    required = _required(model)
    if not required:
        yield Inputs(origin="forward takes no arguments")
        return
    for shape, origin in _shapes(model):
        first = shape if isinstance(shape, torch.Tensor) else smooth(shape)
        if len(required) == 1:
            yield Inputs((first,), origin=origin)
        else:
            yield Inputs((first, *(first.clone() for _ in required[1:])), origin=f"{origin}, for every argument")


def smooth(shape: tuple[int, ...]) -> torch.Tensor:
    """Low-frequency waves of that shape, different in every sample and channel, of about unit variance.

    A trained network sees smooth images, not white noise; neighbouring positions resemble each other here as there.
    """
    generator = torch.Generator().manual_seed(0)
    if len(shape) <= 2:
        return torch.randn(shape, generator=generator)
    lead = math.prod(shape[:2])
    result = torch.zeros(lead, *shape[2:])
    for _ in range(4):
        phase = torch.rand(lead, generator=generator) * 2 * math.pi
        wave = phase.view(-1, *[1] * (len(shape) - 2))
        for axis, size in enumerate(shape[2:]):
            grid = torch.linspace(0, 2 * math.pi, size).view([-1 if i == axis else 1 for i in range(len(shape) - 2)])
            cycles = torch.randint(0, 4, (lead,), generator=generator).view(-1, *[1] * (len(shape) - 2))
            wave = wave + cycles * grid
        result += torch.sin(wave)
    return (result / math.sqrt(2)).view(shape)


def _declared(model: nn.Module) -> Iterator[Inputs]:
    """What the model itself says of its inputs."""
    for name in ("example_inputs", "example_input_array", "dummy_inputs"):
        value = getattr(model, name, None)
        if isinstance(value, Mapping):
            yield Inputs((), dict(value), name)
        elif isinstance(value, (tuple, list)):
            yield Inputs(tuple(value), {}, name)
        elif isinstance(value, torch.Tensor):
            yield Inputs((value,), {}, name)
    declared = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    size = declared.get("input_size") if isinstance(declared, Mapping) else None
    if isinstance(size, (tuple, list)) and all(isinstance(each, int) for each in size):
        yield Inputs((smooth((SAMPLES, *size)),), {}, "pretrained_cfg")


def _required(model: nn.Module) -> list[str]:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return ["input"]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [each.name for each in parameters if each.kind in positional and each.default is inspect.Parameter.empty]
    optional = [each.name for each in parameters if each.kind in (*positional, inspect.Parameter.VAR_POSITIONAL)]
    return needed or optional[:1]


def _shapes(model: nn.Module) -> Iterator[tuple[tuple[int, ...] | torch.Tensor, str]]:
    """Shapes that the first layers with weights would take; several sizes where the layer leaves the size open."""
    for path, layer in model.named_modules():
        origin = f"shape of {path or 'the model'} ({type(layer).__name__})"
        if isinstance(layer, nn.Linear):
            yield (SAMPLES, layer.in_features), origin
            yield (SAMPLES, 16, layer.in_features), origin
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            rank = len(layer.kernel_size)
            for size in (224, 64, 32, 28, 256, 299, 512) if rank == 2 else (64, 256, 1024) if rank == 1 else (16, 32):
                yield (SAMPLES, layer.in_channels, *[size] * rank), origin
        elif isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
            for length in (16, *_lengths(model, layer), 8, 1):
                yield torch.arange(SAMPLES * length).view(SAMPLES, length) % layer.num_embeddings, origin
        elif isinstance(layer, nn.RNNBase):
            yield (SAMPLES, 16, layer.input_size), origin
        elif isinstance(layer, nn.MultiheadAttention):
            yield (SAMPLES, 16, layer.embed_dim), origin
        elif isinstance(layer, (nn.LayerNorm, nn.modules.batchnorm._BatchNorm)) and not path:
            width = layer.normalized_shape if isinstance(layer, nn.LayerNorm) else (layer.num_features,)
            yield (SAMPLES, *width), origin
        else:
            continue
        return


def _lengths(model: nn.Module, embedding: nn.Embedding | nn.EmbeddingBag) -> list[int]:
    """Sequence lengths that parameters as wide as the embedding, one row per position, may ask for."""
    shapes = [tuple(each.shape) for each in model.parameters(recurse=False)]
    return [shape[-2] for shape in shapes if len(shape) > 1 and shape[-1] == embedding.embedding_dim]
