"""REG203: forwards that draw for a loss or start from noise, and twins in which the draw blurs a prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from regcheck.core.finding import Severity
from regcheck.core.report import Report
from regcheck.engine.audit import audit
from regcheck.engine.scan import scan

from .faulty_and_right import marked, marked_form

PRELUDE = """\
import torch
from torch import nn
from torch.nn import functional as F
"""

FORWARDS = {
    "negatives for a loss": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(16, 32), nn.Linear(32, 5)
    def forward(self, x):
        z = torch.relu(self.body(x))
        &z = z + 0.1 * torch.randn_like(z)  # <-
        others = z[torch.randperm(z.shape[0])]
        return {"loss": F.softplus((z * others).sum(1)).mean(), "logits": self.head(z)}
""",
    "a step of denoising": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 16))
    def forward(self, x):
        noise = torch.randn(x.shape)  # <-
        guess = self.net(0.8 * x + 0.6 * noise)
        #return F.mse_loss(guess, noise)
        &return guess
""",
    "a hidden part to restore": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(16, 32), nn.Linear(32, 16)
    def forward(self, x):
        hidden = torch.rand(x.shape) < 0.4  # <-
        &return self.outer(torch.relu(self.inner(x * ~hidden)))
        #return ((self.outer(torch.relu(self.inner(x * ~hidden))) - x) ** 2 * hidden).mean()
""",
    "a generator with a condition": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.condition = nn.Linear(16, 8)
        self.body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
    def forward(self, x):
        c = self.condition(x)
        z = torch.randn(len(x), 8)  # <-
        #return self.body(torch.cat([z, c], 1))
        &return self.body(torch.cat([c + z, c], 1))
""",
    "a source of tones and breath": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blend, self.out = nn.Linear(2, 8), nn.Linear(8, 1)
    def forward(self, x):
        &x = self.out(self.blend(torch.stack([x, x], -1)))[..., 0]
        tone = torch.sin(torch.cumsum(x, 1))[..., None]
        breath = 0.1 * torch.randn_like(tone)  # <-
        &tone = tone + breath
        return self.out(torch.tanh(self.blend(torch.cat([tone, breath], -1))))
""",
    "a sampler": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 16))
    def forward(self, x):
        #x = torch.randn_like(x)
        for _ in range(3):
            x = x - 0.1 * self.net(x)
            x = x + 0.05 * torch.randn(x.shape)  # <-
        return x
""",
    "an action of a policy": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.policy = nn.Linear(16, 8), nn.Linear(8, 8)
    def forward(self, x):
        x = torch.relu(self.body(x))
        chances = F.softmax(x, dim=-1)
        #action = torch.multinomial(chances, num_samples=1)[:, 0]
        #return F.one_hot(action, 8), self.policy(x)
        &units = torch.multinomial(chances, num_samples=4)  # <-
        &return self.policy(x * torch.zeros_like(x).scatter(1, units, 1.0))
""",
}
END = "\nmodel, inputs = Net(), (torch.randn(8, 16),)\n"
SELECT = {"select": ["REG203"], "devices": ("cpu",)}


def serious(report: Report) -> set[int | None]:
    return {each.line for each in report.findings if each.severity > Severity.INFO}


@pytest.mark.parametrize("faulty", [True, False], ids=["faulty", "right"])
@pytest.mark.parametrize("name", FORWARDS)
def test_only_draws_that_blur_a_prediction_count(name: str, faulty: bool, tmp_path: Path) -> None:
    """Both doors warn of a draw that blurs a prediction, and advise at most where noise is what the forward is for."""
    file = tmp_path / "net.py"
    file.write_text(PRELUDE + marked_form(FORWARDS[name], faulty) + END)
    expected = marked(file.read_text())
    assert bool(expected) == faulty
    assert serious(scan([file], SELECT)) == expected
    program: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), program)
    assert serious(audit(program["model"], *program["inputs"], options=SELECT)) == expected
