"""Switch a model's mode as its user does."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from regcheck.core.errors import stops
from regcheck.core.graph import Mode


def switch_mode(model: nn.Module, mode: Mode) -> None:
    """Call `train()`, and for eval mode `eval()` after it: what `train()` leaves behind stays in predictions.

    Raises whatever the model's own methods raise; a model that refuses to train still has an eval mode.
    """
    try:
        _train(model)
    except BaseException as error:
        if mode is Mode.TRAIN or stops(error):
            raise
    if mode is Mode.EVAL:
        model.eval()


def _train(model: nn.Module) -> None:
    """Call a model's `train()`; where its class has a training loop of that name, torch's own."""
    arguments = _arguments(model.train)
    if arguments is None:
        nn.Module.train(model)
    else:
        model.train(*arguments)


def _arguments(train: Any) -> tuple[bool, ...] | None:
    """The arguments that request train mode; None if the method switches no mode."""
    try:
        signature = inspect.signature(train)
    except (TypeError, ValueError):
        return ()
    parameters = [
        each for each in signature.parameters.values() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    required = [each for each in parameters if each.default is each.empty]
    if len(required) > 1 or any(each.kind is each.KEYWORD_ONLY for each in required):
        return None
    if required:
        return (True,)
    return () if not parameters or isinstance(parameters[0].default, bool) else None
