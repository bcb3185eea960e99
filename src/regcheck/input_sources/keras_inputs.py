"""Inputs of Keras models, from the shapes and dtypes that a model declares or was built with."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from regcheck.hookspecs import hookimpl
from regcheck.keras_api.layer_tree import is_layer, named_parts
from regcheck.tracing.example_inputs.call_inputs import Inputs
from regcheck.tracing.example_inputs.drawing import affordable, ids, smooth

SIDE = 64
"""The size of an axis that a model leaves open."""


@hookimpl
def regcheck_inputs(model: nn.Module) -> Iterator[Inputs]:
    """Tensors of the declared inputs of a Keras model, or of the shapes that a subclassed one was built with."""
    if not is_layer(model):
        return
    declared = getattr(getattr(model, "_functional", None) or model, "_inputs_struct", None)
    if declared is not None:
        tree = sys.modules["keras.src.tree"]
        drawn = tree.map_structure(lambda each: _drawn(model, tuple(each.shape), str(each.dtype)), declared)
        yield Inputs((drawn,), {}, "the declared inputs")
        return
    built = getattr(model, "_build_shapes_dict", None)
    shapes = [each for each in built.values() if _is_shape(each)] if isinstance(built, Mapping) else []
    if built and len(shapes) == len(built) == 1:
        for dtype in ("int64", "float32") if _ids_below(model) else ("float32",):
            yield Inputs((_drawn(model, (None, *shapes[0][1:]), dtype),), {}, "the shape that it was built with")


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, (tuple, list)) and bool(value) and all(isinstance(each, (int, type(None))) for each in value)
    )


def _drawn(model: nn.Module, shape: tuple[int | None, ...], dtype: str) -> torch.Tensor:
    """A tensor of a shape that begins with the number of samples."""
    sizes = tuple(SIDE if each is None else each for each in shape[1:])
    samples = affordable(sizes)
    if "int" in dtype or dtype == "bool":
        return ids((samples, *sizes), _ids_below(model) or 2).to(getattr(torch, dtype.removeprefix("u"), torch.long))
    if len(sizes) < 2:
        return smooth((samples, *sizes))
    return smooth((samples, sizes[-1], *sizes[:-1])).movedim(1, -1)


def _ids_below(model: nn.Module) -> int:
    """The size of the smallest embedding; 0 without one."""
    sizes = (getattr(each, "input_dim", None) for _, each in named_parts(model))
    return min((each for each in sizes if isinstance(each, int)), default=0)
