"""Facts about torch's classes stand in `torch_api/`, and in no second list."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from regcheck.torch_api.layers import FOREIGN_LAYERS, LAYERS
from regcheck.torch_api.losses import LOSS_LAYERS
from regcheck.torch_api.optimizers import OPTIMIZERS

PACKAGE = Path(__file__).parents[2] / "src" / "regcheck"
CLASSES = {*LAYERS, *FOREIGN_LAYERS, *LOSS_LAYERS, *OPTIMIZERS}
MANY = 3
"""So many classes of torch in one collection are a list of their own."""

ALLOWED = {
    "reference/optimizers.py": "the papers' methods, each under the name of the class that it is a reference for",
    "tracing/call_profiler.py": "the operators that some layers run, as torch's profiler names them",
    "tracing/onnx_graph.py": "ONNX's operators, some of which are named like layers of torch",
    "tracing/example_inputs/layer_inputs.py": "what each family of layers takes as input",
    "tracing/example_inputs/following.py": "layers that other libraries derive theirs from, at which following ends",
}
"""Files with such a collection that says something else than the table does."""


def collections(tree: ast.AST) -> Iterator[list[str]]:
    """The names in each tuple, list, set and dict, and the words of each string."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            yield [_name(each) for each in node.elts]
        elif isinstance(node, ast.Dict):
            yield [_name(each) for each in node.keys if each is not None]
        elif isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            words = (node.value if isinstance(node.value, str) else node.value.decode("latin-1")).split()
            if sum(word in CLASSES for word in words) * 2 > len(words):  # otherwise it is prose
                yield words


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value).rpartition(".")[2]
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_no_other_package_lists_classes_of_torch() -> None:
    """No collection outside `torch_api/` names several layers, losses or optimizers, but for those with a reason."""
    listing = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if file.parent.name != "torch_api"
        for names in collections(ast.parse(file.read_text(encoding="utf-8")))
        if len(CLASSES.intersection(names)) >= MANY
    }
    assert listing == ALLOWED.keys()
