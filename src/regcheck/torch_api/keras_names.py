"""Names of Keras in source: the public name of an object, and the calls that construct layers."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping

from regcheck.files.syntax import walk

from .layers import KERAS_LAYERS

LAYERS = "keras.layers"
_HOMES = frozenset(("keras", "tf_keras"))
_RENAMED = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "MaxPool1D": "MaxPooling1D",
    "MaxPool2D": "MaxPooling2D",
    "MaxPool3D": "MaxPooling3D",
    "AvgPool1D": "AveragePooling1D",
    "AvgPool2D": "AveragePooling2D",
    "AvgPool3D": "AveragePooling3D",
    "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
    "GlobalMaxPool3D": "GlobalMaxPooling3D",
    "GlobalAvgPool1D": "GlobalAveragePooling1D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalAvgPool3D": "GlobalAveragePooling3D",
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
}
"""Second names of layers."""
_BUILDERS = frozenset(
    (f"{LAYERS}.Input", *(f"keras.{home}" for home in ("models.Sequential", "models.Model", "Input")))
)
"""What models are built with beside layers."""


def public_name(dotted: str) -> str:
    """The public name of an object of Keras: `keras.layers.Dense` for `tensorflow.keras.layers.Dense`; else empty."""
    parts = dotted.split(".")
    at = next((index for index, each in enumerate(parts) if each in _HOMES), None)
    if at is None or (at and parts[0] != "tensorflow"):
        return ""
    inside = [each for each in parts[at + 1 :] if each not in ("api", "src", "_v2", "v2")]
    if inside and inside[0] == "layers" and len(inside) > 1:
        return f"{LAYERS}.{_RENAMED.get(inside[-1], inside[-1])}"
    return ".".join(("keras", *inside))


def is_public(dotted: str) -> bool:
    """Whether a dotted name is that of a layer in the table, or of what models are built with."""
    public = public_name(dotted)
    return public in KERAS_LAYERS or public in _BUILDERS


def layer_calls(tree: ast.Module, resolve: Callable[[ast.expr], object]) -> Iterator[tuple[ast.Call, str]]:
    """The calls that construct layers of Keras which the table lists, each with the layer's public name.

    `resolve` looks a dotted name up in the files that this one imports.
    """
    nodes = [*walk(tree)]
    names = _imported(nodes)
    for node in nodes:
        if isinstance(node, ast.Call):
            dotted = _dotted(node.func, names) or getattr(resolve(node.func), "name", "")
            name = public_name(dotted)
            if name in KERAS_LAYERS:
                yield node, name


def _imported(nodes: list[ast.AST]) -> Mapping[str, str]:
    """The dotted names that imports anywhere in a file bind."""
    full_names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                full_names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.names[0].name == "*" and public_name(f"{node.module}.*") == f"{LAYERS}.*":
                full_names |= {name.rpartition(".")[2]: name for name in KERAS_LAYERS}
            full_names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in nodes:  # `layers = keras.layers`
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
            dotted = _dotted(node.value, full_names)
            if public_name(dotted):
                full_names |= {each.id: dotted for each in node.targets if isinstance(each, ast.Name)}
    return full_names


def _dotted(node: ast.expr, names: Mapping[str, str]) -> str:
    """The dotted name of an expression, from the imports; empty for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join((names[node.id], *reversed(parts)))
