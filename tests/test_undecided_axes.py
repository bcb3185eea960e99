"""Dropouts behind ops whose effect on a map's axes is unknown: listed as not checked, once for each file or model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from regcheck.core.finding import NotChecked
from regcheck.engine.audit import audit
from regcheck.engine.scan import scan

from .faulty_and_right import form

TEXT = """\
import torch
from torch import nn
from torch.nn import functional as F
from elsewhere import Mixer, mixed


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.mixer = Mixer(16)
        self.drop, self.spatial, self.volume = nn.Dropout(0.2), nn.Dropout2d(0.2), nn.Dropout3d(0.2)
        self.second = nn.Conv2d(16, 8, 3)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        b, _, h, w = x.shape
        x = torch.relu(self.first(x))
{body}
        return self.head(self.second(x).mean((2, 3)))
"""

BODIES = {
    "channels regrouped by views": """
        &x = self.drop(x.view(b, 4, 4, h, w).transpose(1, 2).reshape(b, 16, h, w))
        #x = self.spatial(x.view(b, 4, 4, h, w).transpose(1, 2).reshape(b, 16, h, w))
""",
    "a function of another library": """
        &x = self.drop(mixed(x))
        #x = mixed(F.max_pool2d(x, 2))
""",
    "a module of another library": """
        &x = F.dropout(self.mixer(x), 0.1, self.training)
        #x = F.dropout(self.mixer(x), 0.0, self.training)
""",
    "an index that is computed": """
        &x = self.drop(x[:, torch.randperm(16)])
        #x = self.drop(x.mean((2, 3)))[:, :, None, None]
""",
    "an order that is computed": """
        &x = self.volume(x.permute(*order(x)))
        #x = self.spatial(x.permute(0, 1, 3, 2))
""",
    "an ignore in the line": """
        &x = self.drop(mixed(x))
        #x = self.drop(mixed(x))  # regcheck: ignore[REG102] these are tokens
""",
}
RIGHT = {
    "a reduction over computed axes": "        x = self.drop(x.mean(tuple(range(2, x.ndim))))[:, :, None, None]",
    "weights of attention between positions": """\
        q = x.flatten(2)
        weights = self.drop(torch.softmax(q @ q.transpose(1, 2), -1))
        x = (weights @ q).view(b, 16, h, w)""",
    "a linear layer after the unknown call": """\
        x = self.drop(self.head(mixed(x)))""",
    "tokens made by a view": """\
        x = self.drop(x.view(b, 16, -1).permute(0, 2, 1))
        x = x.permute(0, 2, 1).reshape(b, 16, h, w)""",
}
FORMS = [(name, faulty) for name in BODIES for faulty in (True, False)] + [(name, False) for name in RIGHT]
SELECT = {"select": ["REG102", "REG105"], "devices": ("cpu",)}


def questions(not_checked: tuple[NotChecked, ...]) -> list[NotChecked]:
    return [each for each in not_checked if each.reason.startswith("whether REG10")]


@pytest.mark.parametrize(("name", "faulty"), FORMS)
def test_a_scan_lists_what_the_source_does_not_decide(name: str, faulty: bool, tmp_path: Path) -> None:
    """A dropout that would be reported if an unknown op kept the map is not checked; a decided one is not listed."""
    body = form(BODIES[name], faulty).strip("\n") if name in BODIES else RIGHT[name]
    file = tmp_path / "net.py"
    file.write_text(TEXT.format(body=body))
    report = scan([file], SELECT)
    assert not report.findings
    assert len(questions(report.not_checked)) == faulty


def test_a_file_has_one_entry_with_its_count(tmp_path: Path) -> None:
    """Undecided dropouts of a file make one entry, which counts them and names the first op of unknown effect."""
    body = "\n".join(["        x = self.drop(mixed(x))"] * 3)
    file = tmp_path / "net.py"
    file.write_text(TEXT.format(body=body))
    (entry,) = questions(scan([file], SELECT).not_checked)
    assert entry.line == 19
    assert "at 3 dropouts" in entry.reason
    assert "line 19" in entry.reason


class Projected(nn.Module):
    """A 1x1 convolution written as a contraction; the `equation` decides whether its result is a map."""

    def __init__(self, equation: str) -> None:
        super().__init__()
        self.equation = equation
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(6, 5))
        self.drop = nn.Dropout(0.3)
        self.second = nn.LazyConv2d(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.drop(torch.einsum(self.equation, torch.relu(self.first(x)), self.weight))
        return self.second(h).mean((2, 3)) if h.ndim == 4 else h


@pytest.mark.parametrize(("equation", "undecided"), [("bchw,cd->bdhw", True), ("bchw,cd->bd", False)])
def test_an_audit_lists_what_the_shapes_do_not_decide(equation: str, undecided: bool) -> None:
    """A result of the map's rank leaves the question open; one of a lower rank answers it."""
    report = audit(Projected(equation), torch.rand(4, 3, 8, 8), options=SELECT)
    assert len(questions(report.not_checked)) == undecided
    assert not [each for each in report.findings if each.code == "REG102"]
