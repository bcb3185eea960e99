"""Audits of the models and optimizers that a recorded program uses."""

from __future__ import annotations

from pathlib import Path

from regcheck.core.finding import Verdict
from regcheck.session.session import Session

from .conftest import See
from .watched_rows import PARTS

EVERYTHING = """
class Sampled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm = nn.Linear(8, 16), nn.BatchNorm1d(16, track_running_stats=False)
        self.head = nn.Linear(16, 2)
    def forward(self, x):
        x = self.norm(self.body(x))  # <- REG205
        x = F.dropout(x, 0.5)  # <- REG202
        return self.head(x + torch.randn_like(x))  # <- REG203


def run():
    model = Sampled()
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)  # <- REG301 REG302
    F.cross_entropy(model(torch.randn(8, 8)), y.repeat(2)).backward()
    optimizer.step()


run()
"""


def test_structures_and_optimizers_are_judged_as_the_program_used_them(see: See, tmp_path: Path) -> None:
    """What a watched program ran is audited on the program's own inputs, and each optimizer that it stepped."""
    codes = ("REG202", "REG203", "REG205", "REG301", "REG302")
    report = (
        Session({"select": codes, "devices": ["cpu"], "budget": 20}).examine(see(PARTS + EVERYTHING)).ledger.report()
    )
    lines = enumerate((tmp_path / "program.py").read_text(encoding="utf-8").splitlines(), 1)
    marked = {(code, number) for number, line in lines for code in line.partition("# <- ")[2].split()}
    assert {(each.code, each.line) for each in report.findings} == marked
    assert all(each.evidence.verdict is Verdict.CONFIRMED for each in report.findings), str(report)
    assert [each.inputs for each in report.coverage] == ["captured"]


def test_a_call_that_takes_longer_than_the_budget_is_not_made_again(see: See) -> None:
    """Where one call took more than its budget, nothing is run for it, and the reason is said."""
    seen = see("""
        class Slow(Net):
            def forward(self, x):
                for _ in range(200):
                    self.head(self.hidden(x))
                return super().forward(x)
        def scores(model):
            with torch.no_grad():
                return model(x)
        scores(Slow())
    """)
    report = Session({"select": ["REG201", "REG202"], "budget": 1e-6, "devices": ["cpu"]}).examine(seen).ledger.report()
    assert [(each.code, "its budget" in each.evidence.because) for each in report.findings] == [("REG201", True)]
    assert ["its budget" in each.reason for each in report.not_checked] == [True]
