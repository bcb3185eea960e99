"""Reports to render."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Effect, Evidence, Finding, NotChecked, Severity, Verdict
from regcheck.core.report import Report

SOURCE = """\
import torch.nn.functional as F


def forward(self, q, k, v):
\tx = F.relu(q)
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)
    return y
"""


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Two findings in one file, one refuted suspicion, one model that was not checked."""
    path = tmp_path / "model.py"
    path.write_text(SOURCE, encoding="utf-8")
    confirmed = Finding(
        code="REG202",
        name="dropout-ignores-mode",
        severity=Severity.ERROR,
        message="`scaled_dot_product_attention(dropout_p=0.1)` still drops attention weights after `eval()`",
        module="net.blocks.0.attn",
        path=str(path),
        line=6,
        column=9,
        fix="pass `dropout_p=… if self.training else 0.0`",
        evidence=Evidence(
            Verdict.CONFIRMED,
            measured=0.0312345,
            expected=0.0,
            statistic="std over seeds relative to the output's; exact rank test",
            alpha=1e-6,
            samples=24,
            device="cpu",
            seed=0,
            because="the prediction varies by 3.1 % of its spread between eval runs",
            effect=Effect("spread of the prediction", 0.0312345, "of the prediction's spread", 0.01),
        ),
        docs="https://regcheck.readthedocs.io/rules/dropout-ignores-mode/",
    )
    unmeasured = Finding(
        code="REG301",
        name="coupled-l2-adaptive",
        severity=Severity.WARNING,
        message="`Adam(weight_decay=0.01)` folds the decay into the gradient",
        module="",
        path=None,
        line=None,
        column=None,
        fix="use `torch.optim.AdamW`",
        evidence=Evidence(Verdict.UNMEASURED, because="source only"),
        docs="https://regcheck.readthedocs.io/rules/coupled-l2-adaptive/",
    )
    refuted = Finding(
        code="REG101",
        name="dropout-on-output",
        severity=Severity.WARNING,
        message="`nn.Dropout(p=0.5)` drops the model's output itself",
        module="net.drop",
        path=str(path),
        line=5,
        column=2,
        fix="",
        evidence=Evidence(Verdict.REFUTED, measured=0.0, expected=0.5, device="cpu", because="no unit is constant"),
        docs="https://regcheck.readthedocs.io/rules/dropout-on-output/",
    )
    missed = NotChecked("pkg.net:Net", "takes arguments: width", "name a function that takes none", "pkg/net.py", 3)
    return Report((confirmed, unmeasured), (missed,), (refuted,), devices=("cpu",), seed=0, version="1.2.3")
