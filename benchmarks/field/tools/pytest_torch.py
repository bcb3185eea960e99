"""pytest-torch: the inference contract of each model, with the inputs of the program's last call."""

from __future__ import annotations

import importlib
from typing import Any

from . import _calls

REQUIREMENTS = ("pytest-torch==1.1.1", "torch", "numpy", "pytest")
WAY = "model"
KINDS = {
    "eval_mode": "missing-eval",
    "deterministic": "dropout-ignores-mode",
    "batch_invariance": "batch-dependent-prediction",
}


def prepare() -> None:
    importlib.import_module("pytest_torch")
    importlib.import_module("torch._dynamo")


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    """A prediction's mode is that of the call; the other checks follow after `eval()`, as the tool's hint says.

    A model that cannot run on one sample links its rows, and its batch means something else.
    """
    from pytest_torch import check_inference_contract

    found = []
    for call in _calls.calls_of("main.py"):
        checks = ["deterministic", "batch_invariance"]
        call.restore_modes()
        modes = check_inference_contract(call.model, call.inputs, checks=["eval_mode"], raise_on_failure=False)
        call.model.eval()
        others = check_inference_contract(call.model, call.inputs, checks=checks, raise_on_failure=False)
        failures = [*(modes.failures if call.predicts else []), *others.failures]
        found += [
            {"kind": KINDS[one.name], "text": f"{one.name}: {one.message}"}
            for one in failures
            if "fails on a single sample" not in one.message
        ]
    return found
