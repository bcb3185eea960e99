"""What the adapters of regcheck's doors share: options, and reading a JSON report."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

REPORT = "field-report.json"
LIVE = ("engine", "probe", "runtime", "session", "suite", "tracing")
REPORTED = ("warning", "error")


def prepare_source() -> None:
    """Import what a scan needs."""
    import regcheck.cli.main
    import regcheck.engine.scan
    import regcheck.plugins
    import regcheck.report.json
    import regcheck.rules
    import regcheck.static.reading

    regcheck.rules.load()


def prepare_torch() -> None:
    """Import torch with what its optimizers load at their first step, and regcheck with all that meets a model."""
    import torch._dynamo  # noqa: F401

    import regcheck

    prepare_source()
    for package in LIVE:
        for module in pkgutil.walk_packages([f"{regcheck.__path__[0]}/{package}"], f"regcheck.{package}."):
            importlib.import_module(module.name)


def advice_code(task: dict[str, Any]) -> str:
    """The code of the rule that is asked for beyond the default ones, or ""."""
    from regcheck.rules import load

    return next((rule.code for rule in load() if rule.name == task["advice"]), "")


def options(task: dict[str, Any]) -> list[str]:
    code = advice_code(task)
    return [*(["--extend-select", code] if code else []), "--output-format", "json", "--output-file", REPORT]


def messages(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The report's findings from warning up, and those of the rule that was asked for."""
    report = json.loads(Path(REPORT).read_text(encoding="utf-8"))
    asked = advice_code(task)
    return [
        {
            "file": Path(finding["path"] or "").name,
            "line": finding["line"],
            "kind": finding["name"],
            "text": f"{finding['code']} {finding['message']}",
        }
        for finding in report["findings"]
        if finding["severity"] in REPORTED or finding["code"] == asked
    ]
