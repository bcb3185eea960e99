"""Inputs that a model declares: stored examples, its `input_shape`, and the image size of a timm configuration."""

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
    """The examples stored on a model, inputs of its `input_shape`, images of the size of its training."""
    yield from examples(model)
    yield from shaped(model)
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


def shaped(model: nn.Module) -> Iterator[Inputs]:
    """One input of the shape in `input_shape`, with or without an axis of samples; a leading 1 may be either."""
    shape = attribute(model, "input_shape")
    if not isinstance(shape, (tuple, list)) or not shape or not all(type(each) is int and each > 0 for each in shape):
        return
    for size in ([shape[1:]] if shape[0] == 1 and len(shape) > 1 else []) + [shape]:
        yield Inputs((Spec((None, *size)).drawn(affordable(size)),), {}, "input_shape")


def pretrained_images(model: nn.Module) -> Iterator[Inputs]:
    size = pretrained_size(model)
    if size is not None:
        for samples in (affordable(size), 1):
            yield Inputs((Spec((None, *size)).drawn(samples),), {}, "pretrained_cfg")
