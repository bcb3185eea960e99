"""Finds dropout, regularization and train/eval mistakes in PyTorch models, and proves each one by measuring the model.

`import regcheck` is cheap: the first use of a name loads what the name needs (torch, for `audit`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from regcheck.core.version import __version__

if TYPE_CHECKING:
    from regcheck import reference
    from regcheck.core.finding import Finding
    from regcheck.core.report import Report
    from regcheck.core.rule import Rule
    from regcheck.engine.audit import audit
    from regcheck.engine.scan import scan
    from regcheck.probe.graph_execution import graph_module
    from regcheck.session.block import watch
    from regcheck.suppression.declare import ignore

__all__ = ["Finding", "Report", "Rule", "__version__", "audit", "graph_module", "ignore", "reference", "scan", "watch"]

_HOME = {
    "Finding": "core.finding",
    "Report": "core.report",
    "Rule": "core.rule",
    "audit": "engine.audit",
    "graph_module": "probe.graph_execution",
    "ignore": "suppression.declare",
    "reference": "reference",
    "scan": "engine.scan",
    "watch": "session.block",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = import_module(f"{__name__}.{_HOME[name]}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"regcheck.{name} needs torch: `pip install 'regcheck[torch]'`") from error
    return home if name == _HOME[name] else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
