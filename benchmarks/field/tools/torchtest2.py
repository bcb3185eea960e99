"""torchtest2: its checks of one batch, with the inputs of the program's last call and the program's optimizer."""

from __future__ import annotations

import importlib
from typing import Any

from . import _calls

REQUIREMENTS = ("torchtest2==0.1.0", "torch", "numpy")
WAY = "model"
KINDS = {"eval_determinism": "dropout-ignores-mode", "batch_independence": "batch-dependent-prediction"}


def prepare() -> None:
    importlib.import_module("torch._dynamo")
    importlib.import_module("torchtest2")


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    import torchtest2

    found = []
    for call in _calls.calls_of("main.py"):
        report = torchtest2.check_model(call.model, call.inputs, optimizer=call.optimizer, overfit_steps=0)
        found += [
            {"kind": KINDS[result.name], "text": f"{result.name}: {result.message}"}
            for result in report.results
            if result.name in KINDS and result.status.name in ("FAIL", "WARN")
        ]
    return found
