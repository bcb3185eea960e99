"""The tree of a live Keras model, and the mode of its running call.

On torch every Keras layer is an `nn.Module`, but a model registers only the layers that are its attributes: those of a
`Sequential`, of a functional model or of a list stand in Keras' own tree. Layers ignore `nn.Module.training`: the
argument `training` of a call holds the mode, and the layers inside of the call inherit it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

_OWN = frozenset(("_torch_params", "_functional"))
"""Modules that a Keras layer registers for its own purposes: its weights, and the model that a `Sequential` runs."""


def layer_class() -> type | None:
    """`keras.layers.Layer` where the program imported Keras on torch, else None."""
    layer = getattr(sys.modules.get("keras.src.layers.layer"), "Layer", None)
    if layer is None:  # asked for each module of each model that a program calls
        return None
    module = getattr(sys.modules.get("torch.nn"), "Module", None)
    return layer if isinstance(layer, type) and module is not None and issubclass(layer, module) else None


def is_layer(value: object) -> bool:
    """Whether a value is a Keras layer or model that runs on torch."""
    layer = layer_class()
    return layer is not None and isinstance(value, layer)


def is_node_class(kind: type) -> bool:
    """Whether objects of a class link the layers of a functional model of Keras."""
    return kind.__module__ == "keras.src.ops.node" and kind.__name__ == "Node"


def sublayers(layer: Any) -> Iterator[tuple[str, Any]]:
    """The direct sublayers of a Keras layer, each once.

    Its name is that of its attribute, or the one that the program chose, else its place in `layers`: the names that
    Keras makes up count all layers of the process.
    """
    seen: set[int] = set()
    named = [(name, each) for name, each in layer._modules.items() if name not in _OWN and each is not None]
    own = vars(layer).get("_layers", ())
    listed = [*getattr(layer, "layers", own), *own]
    for name, each in (*named, *((_name_of(each, place), each) for place, each in enumerate(listed))):
        if id(each) not in seen and type(each).__name__ != "InputLayer":
            seen.add(id(each))
            yield name, each


def _name_of(layer: Any, place: int) -> str:
    return f"layers.{place}" if has_generated_name(layer) else str(layer.name)


def has_generated_name(layer: Any) -> bool:
    """Whether Keras chose the name of a layer, because the program chose none."""
    generated = sys.modules["keras.src.utils.naming"].to_snake_case(type(layer).__name__)
    return re.fullmatch(rf"{generated}(_\d+)?", layer.name) is not None


def named_parts(model: Any) -> Iterator[tuple[str, Any]]:
    """The modules of a model with their paths, as `nn.Module.named_modules` yields them, with all Keras layers."""
    if layer_class() is None or not any(map(is_layer, model.modules())):
        yield from model.named_modules()
        return
    seen: set[int] = set()
    todo = [("", model)]
    while todo:
        path, module = todo.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        children = sublayers(module) if is_layer(module) else module._modules.items()
        below = [(f"{path}.{name}".lstrip("."), each) for name, each in children if each is not None]
        todo += reversed(below)


def in_training(layer: Any) -> bool:
    """Whether a Keras layer that is called now acts as in training; False outside of a call."""
    state = getattr(sys.modules.get("keras.src.backend.common.global_state"), "get_global_attribute", None)
    call = state("current_call_ctx") if state is not None else None
    return bool(getattr(call, "training", None))


def is_symbolic(args: Any, kwargs: Any) -> bool:
    """Whether a call of a Keras layer builds a model or infers shapes, and computes nothing."""
    keras = sys.modules.get("keras.src.backend")
    return keras is not None and bool(keras.any_symbolic_tensors(args, kwargs) or keras.in_symbolic_scope())
