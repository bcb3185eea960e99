"""torch-audit: its rules on a training step of each model, with the program's optimizer."""

from __future__ import annotations

import importlib
from typing import Any

from . import _calls

REQUIREMENTS = ("torch-audit==0.3.0", "torch", "numpy")
WAY = "run"
KINDS = {"TA401": "coupled-l2-adaptive", "TA402": "decay-on-norm-or-bias", "TA500": "inert-dropout"}
ADVICE = ("TA402", "TA500")


def prepare() -> None:
    importlib.import_module("torch._dynamo")
    importlib.import_module("torch_audit")


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    from torch_audit import audit_dynamic

    found = []
    rules = {rule for rule, kind in KINDS.items() if rule not in ADVICE or kind == task["advice"]}
    for call in _calls.calls_of("main.py"):
        with audit_dynamic(call.model, optimizer=call.optimizer, every_n_steps=1, select_rules=rules) as auditor:
            call.model.train()
            outputs = auditor.forward(*call.args, **call.kwargs)
            while not hasattr(outputs, "sum"):
                outputs = next(iter(outputs.values() if isinstance(outputs, dict) else outputs))
            auditor.backward(outputs.sum())
            if call.optimizer is not None:
                auditor.optimizer_step()
        result = auditor.finish(report=False)
        found += [{"kind": KINDS[one.rule_id], "text": f"{one.rule_id} {one.message}"} for one in result.findings]
    return found
