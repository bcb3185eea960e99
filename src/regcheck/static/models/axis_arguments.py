"""The arguments of calls in source that decide which axes the calls move, as `torch_api.axes` names them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.values import Constant, Items, LayerValue, Value
from regcheck.torch_api.axes import NEW, ONE, REST, SLICE, UNKNOWN, axis_arguments
from regcheck.torch_api.layers import layer_named


def axis_arguments_of(function: str, args: Args, kwargs: Kwargs) -> tuple[tuple[str, Any], ...]:
    """Those of a function's call."""
    return axis_arguments(function, [*map(_plain, args)], {name: _plain(each) for name, each in kwargs.items()})


def axis_arguments_of_layer(layer: LayerValue) -> tuple[tuple[str, Any], ...]:
    """Those of a layer's call: arguments of its constructor."""
    row = layer_named(layer.name)
    arguments: Mapping[str, Any] = {name: _plain(layer.argument(*each)) for name, each in row.arguments.items()}
    return axis_arguments(row.function, (), arguments)


def index_of(key: Value, node: ast.AST) -> Any:
    """An index of a tensor; `node` is the subscription, or the assignment that unpacks the tensor."""
    if not isinstance(node, ast.Subscript):
        return _plain(key)
    if isinstance(node.slice, ast.Tuple):
        values = key.items if isinstance(key, Items) and key.exact else ()
        if len(values) != len(node.slice.elts):
            return UNKNOWN
        return tuple(map(_part, values, node.slice.elts))
    return _part(key, node.slice)


def _part(value: Value, node: ast.expr) -> Any:
    if isinstance(node, ast.Slice):
        return ONE if _is_single(node) else SLICE
    if isinstance(value, Constant):
        return NEW if value.value is None else REST if value.value is ... else _plain(value)
    return UNKNOWN


def _is_single(node: ast.Slice) -> bool:
    """Whether a slice is written as one of length one: `-1:`, `:1`, `i : i + 1`."""
    lower, upper = (ast.unparse(each) if each is not None else "" for each in (node.lower, node.upper))
    return (lower, upper) in (("-1", ""), ("", "1"), ("0", "1")) or (bool(lower) and upper == f"{lower} + 1")


def _plain(value: Value) -> Any:
    if isinstance(value, Constant):
        plain = value.value
        return plain if plain is None or isinstance(plain, (int, float, str)) else UNKNOWN
    return tuple(map(_plain, value.items)) if isinstance(value, Items) and value.exact else UNKNOWN
