"""Exported programs: the module that one runs as, the inputs and the name of the model that it was exported from."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import fx, nn

from regcheck.core.errors import CannotTrace

EXAMPLE = "regcheck_example"
"""The key in a module's `meta` of the `(args, kwargs)` that its program was exported with."""


def opened(program: torch.export.ExportedProgram) -> nn.Module:
    """The module that an exported program runs as, made for this call, with the program's example in its `meta`.

    Raises:
        CannotTrace: the program is a training step.
    """
    if program.graph_signature.backward_signature is not None:
        raise CannotTrace("is the joint graph of a forward and its backward: a training step, which nobody deploys")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.7 warns of its own graphs
        module = program.module()
    if program.example_inputs is not None:
        module.meta[EXAMPLE] = program.example_inputs
    return module


def class_name(module: fx.GraphModule) -> str:
    """The class of the model that was exported, as the nodes record it; else that of the module itself."""
    stacks: list[dict[str, Any]] = [each.meta.get("nn_module_stack") or {} for each in module.graph.nodes]
    roots = [each for stack in stacks for path, each in stack.values() if path == "" and isinstance(each, str)]
    return roots[0].rpartition(".")[2] if roots else type(module).__name__
