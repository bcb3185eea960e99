"""Layers that a forward builds: at each call they are new and in train mode, unless the first call keeps them."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path

import pytest
import torch

from regcheck import audit
from regcheck.config.options import Options
from regcheck.core.finding import Severity
from regcheck.engine.scan import scan

HEADER = """
import functools
import torch
from torch import nn

def cached(build):
    @functools.wraps(build)
    def wrapper(self):
        if self.drop is None:
            self.drop = build(self)
        return self.drop
    return wrapper

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.drop = nn.Linear(6, 6), None
"""

NEW = {
    "assigned at each call": """
        def forward(self, x):
            self.drop = nn.Dropout(0.3)
            return self.layer(self.drop(x).relu())
    """,
    "beside a condition on something else": """
        def forward(self, x):
            if x.dim() > 2:
                x = x.flatten(1)
            self.drop = nn.Dropout(0.3)
            return self.layer(self.drop(x).relu())
    """,
    "by a method": """
        def build(self):
            return nn.Dropout(0.3)
        def forward(self, x):
            return self.layer(self.build()(x).relu())
    """,
    "by a method under torch's decorator": """
        @torch.enable_grad()
        def build(self):
            return nn.Dropout(0.3)
        def forward(self, x):
            return self.layer(self.build()(x).relu())
    """,
}
KEPT = {
    "under a test for None": """
        def forward(self, x):
            if self.drop is None:
                self.drop = nn.Dropout(0.3)
            return self.layer(self.drop(x).relu())
    """,
    "by `or`": """
        def forward(self, x):
            self.drop = self.drop or nn.Dropout(0.3)
            return self.layer(self.drop(x).relu())
    """,
    "by a method that tests": """
        def build(self):
            if self.drop is None:
                self.drop = nn.Sequential(nn.Dropout(0.3), nn.Identity())
        def forward(self, x):
            self.build()
            return self.layer(self.drop(x).relu())
    """,
    "by a decorator": """
        @cached
        def build(self):
            return nn.Dropout(0.3)
        def forward(self, x):
            return self.layer(self.build()(x).relu())
    """,
}


@pytest.mark.parametrize(("name", "faulty"), [*((each, True) for each in NEW), *((each, False) for each in KEPT)])
def test_only_layers_that_are_new_at_each_call_ignore_the_mode(tmp_path: Path, name: str, faulty: bool) -> None:
    """Source and a measurement agree: REG202 where each call builds the dropout, nothing where the first one does."""
    path = tmp_path / "net.py"
    path.write_text(HEADER + textwrap.indent(textwrap.dedent((NEW | KEPT)[name]), "    "), encoding="utf-8")
    expected = ["REG202"] if faulty else []
    assert [each.code for each in scan([path], Options()).findings] == expected
    spec = importlib.util.spec_from_file_location("built_in_forward", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Net()
    report = audit(model, torch.randn(16, 6))
    assert [(each.code, each.severity) for each in report.findings] == [(each, Severity.ERROR) for each in expected]
    assert model.drop is None and report.not_checked == ()
