"""What every audit loads when it comes to it; a server that forks processes imports this once for all of them."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil

from regcheck.engine import audit, onnx_audit, targets
from regcheck.plugins import catalogue
from regcheck.probe import measurements

__all__ = ["audit", "onnx_audit", "targets"]

for each in pkgutil.iter_modules(measurements.__path__):
    importlib.import_module(f"{measurements.__name__}.{each.name}")
with contextlib.suppress(ImportError):  # torch's copies and seeds use it where it is installed
    importlib.import_module("numpy.random")
catalogue()
