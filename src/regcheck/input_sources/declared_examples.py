"""Inputs that a model declares: the examples that it stores, and the image size of a timm model's configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from regcheck.hookspecs import hookimpl
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.example_inputs.drawing import Spec, affordable
from regcheck.tracing.example_inputs.sizes import attribute, pretrained_size


@hookimpl
def regcheck_inputs(model: nn.Module) -> Iterator[Inputs]:
    """The examples stored on a model, then images of the size that its weights were trained with."""
    yield from examples(model)
    yield from pretrained_images(model)


def examples(model: nn.Module) -> Iterator[Inputs]:
    for name in ("example_inputs", "example_input_array", "dummy_inputs"):
        value = attribute(model, name)
        if isinstance(value, Mapping):
            yield Inputs((), dict(value), name)
        elif isinstance(value, (tuple, list)) and value:
            yield Inputs(tuple(value), {}, name)
        elif isinstance(value, torch.Tensor):
            yield Inputs((value,), {}, name)


def pretrained_images(model: nn.Module) -> Iterator[Inputs]:
    size = pretrained_size(model)
    if size is not None:
        for samples in (affordable(size), 1):
            yield Inputs((Spec((None, *size)).drawn(samples),), {}, "pretrained_cfg")
