"""Arguments of a forward that hold the mode, and that a program's predictions leave to a default which trains."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.state import State
from regcheck.static.interpreter.values import OPEN, Constant, Instance, Maybe, Several, Value
from regcheck.static.project.names import parameters_of
from regcheck.torch_api.mode_arguments import FLAGS


def note_prediction(state: State, model: Instance, args: Args, kwargs: Kwargs) -> None:
    """Notes in a model the arguments that a call of it in eval mode leaves to a default of train mode."""
    for name, default in _training_defaults(model, args, kwargs):
        state.set(model.cells, _key(name), default)


def argument_of_predictions(model: Instance, name: str) -> Value | None:
    """The default that predictions leave an argument of the forward to; None for any other argument."""
    return model.cells.get(_key(name))


def _key(name: str) -> str:
    """The key, which no attribute has, under which a model holds the default of an argument."""
    return f"forward({name})"


def _training_defaults(model: Instance, args: Args, kwargs: Kwargs) -> Iterator[tuple[str, Constant]]:
    forward = model.definition.method("forward")
    if forward is None or OPEN in kwargs or any(isinstance(each, (Several, Maybe)) for each in args):
        return
    for position, (parameter, default) in enumerate([*parameters_of(forward.node.args)][1:]):
        flag = FLAGS.get(parameter.arg)
        if flag is None or position < len(args) or parameter.arg in kwargs:
            continue
        if isinstance(default, ast.Constant) and default.value is flag.value_in(training=True):
            yield parameter.arg, Constant(default.value)
