"""Whether the source names the width of a layer as a number of classes: `nn.Linear(width, num_classes)`."""

from __future__ import annotations

import ast

from regcheck.files.syntax import walk
from regcheck.static.interpreter.values import LayerValue
from regcheck.torch_api.head_names import counts_classes
from regcheck.torch_api.layers import layer_named

_WIDTHS = ("out_features", "out_channels")


def width_counts_classes(layer: LayerValue) -> bool:
    """Whether the call that constructs a layer gives its width by a name for classes, alone or in an expression."""
    width = _width(layer)
    return width is not None and any(counts_classes(name) for each in walk(width) for name in _names(each))


def _width(layer: LayerValue) -> ast.expr | None:
    """The expression of a layer's width; None where the call does not show it."""
    signature = layer_named(layer.name).arguments
    argument = next((signature[name] for name in _WIDTHS if name in signature), None)
    if argument is None or layer.call is None:
        return None
    arguments = layer.call.args
    if argument.position < len(arguments) and not any(isinstance(each, ast.Starred) for each in arguments):
        return arguments[argument.position]
    return next((each.value for each in layer.call.keywords if each.arg == argument.name), None)


def _names(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        return (node.attr,)
    return (node.value,) if isinstance(node, ast.Constant) and isinstance(node.value, str) else ()
