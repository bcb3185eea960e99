"""Whether a class scores its own outputs: a method beside `forward` computes a loss or a prediction from them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from regcheck.files.dotted_name import is_self, last_name
from regcheck.files.syntax import walk
from regcheck.static.project.names import Definition
from regcheck.torch_api.functions import CHOICES
from regcheck.torch_api.losses import is_loss

_SQUASHING = frozenset("softmax log_softmax sigmoid".split())


def scores_itself(definition: Definition) -> bool:
    """Whether a method runs the model once, and takes a class, a probability or a loss from the result."""
    methods = (node for each in definition.mro for name, node in each.methods.items() if name != "forward")
    return definition.method("forward") is not None and any(map(_scores_own_output, methods))


def _scores_own_output(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    calls = [each for each in walk(method) if isinstance(each, ast.Call)]
    runs = [each for each in calls if _runs_self(each)]
    if len(runs) != 1:
        return False
    results = {runs[0], *_names_bound_to(method, runs[0])}
    return any(_scores(each) and not results.isdisjoint(_operands(each)) for each in calls)


def _runs_self(call: ast.Call) -> bool:
    """Whether a call is `self(…)` or `self.forward(…)`."""
    is_forward = isinstance(call.func, ast.Attribute) and call.func.attr == "forward" and is_self(call.func.value)
    return is_self(call.func) or is_forward


def _names_bound_to(method: ast.AST, value: ast.expr) -> Iterator[str]:
    for each in walk(method):
        if isinstance(each, ast.Assign) and each.value is value:
            yield from (target.id for target in each.targets if isinstance(target, ast.Name))


def _scores(call: ast.Call) -> bool:
    name = last_name(call.func)
    return name in CHOICES or name in _SQUASHING or is_loss(name) or name.endswith(("loss", "criterion"))


def _operands(call: ast.Call) -> Iterator[ast.expr | str]:
    """The receiver and the arguments of a call; a variable by its name."""
    arguments = [*call.args, *(each.value for each in call.keywords)]
    if isinstance(call.func, ast.Attribute):
        arguments.append(call.func.value)
    for each in arguments:
        yield each.id if isinstance(each, ast.Name) else each
