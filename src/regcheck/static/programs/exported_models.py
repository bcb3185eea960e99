"""Exports of models: each exporter of torch calls a model once, in the mode that it writes down."""

from __future__ import annotations

import ast

from regcheck.core.usage import ONNX, ONNX_BY_TRACING
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    NONE,
    VARYING,
    Constant,
    External,
    Module,
    UnknownObject,
    Value,
    argument,
)

from .events import EventLog

_EXPORTERS = {"torch.jit.trace": "func", "torch.export.export": "mod", ONNX: "model"}
"""The first argument of each exporter, the model, by its name."""
_KEEPING_MODES = "torch.onnx.TrainingMode.PRESERVE"
"""With this argument `training`, an exporter that traces to ONNX leaves the model's mode alone."""


class Exports(Part):
    """Records exports as calls of the exported models."""

    def __init__(self, log: EventLog) -> None:
        self.log = log

    def export(self, name: str, args: Args, kwargs: Kwargs, node: ast.AST) -> Value | None:
        """The result of an exporter of torch; None for any other function."""
        if name not in _EXPORTERS:
            return None
        model = argument(args, kwargs, 0, _EXPORTERS[name])
        module = model.model if isinstance(model, UnknownObject) else model
        if name == ONNX and kwargs.get("dynamo") == Constant(False):
            name = ONNX_BY_TRACING
        keeps_mode = name != ONNX_BY_TRACING or kwargs.get("training") == External(_KEEPING_MODES)
        if keeps_mode and isinstance(module, Module) and self.log.is_model(module):
            self.log.add_export(module, name, node)
        return NONE if name in (ONNX, ONNX_BY_TRACING) else VARYING
