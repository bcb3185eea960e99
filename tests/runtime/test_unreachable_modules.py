"""REG204: modules that `eval()` does not reach."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

ROWS = {
    "dropout in a plain list": Row(
        """
        class Listed(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 2)
                self.drops = [nn.Dropout(0.5)]
            def forward(self, x):
                return self.head(self.drops[0](self.body(x)))  # <-
        def scores(model):
            model.eval()
            with torch.no_grad():
                return model(x)
        scores(Listed())
        """,
        ("REG204 error",),
    ),
    "train() keeps dropout on": Row(
        """
        class Stubborn(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.drop, self.head = nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 2)
            def train(self, mode=True):
                super().train(mode)
                self.drop.training = True
                return self
            def forward(self, x):
                return self.head(self.drop(self.body(x)))  # <-
        model = Stubborn()
        model.eval()
        model(x)
        """,
        ("REG204 error",),
    ),
    "train() keeps batch norm frozen": Row(
        """
        class Frozen(Net):
            def train(self, mode=True):
                super().train(mode)
                self.norm.eval()
                return self
        model = Frozen()
        model.train()
        fit(model, sgd(model))
        model.eval()
        with torch.no_grad():
            print(model(x))
        """
    ),
    "a teacher kept out of reach, in eval mode": Row(
        """
        class Taught(nn.Module):
            def __init__(self):
                super().__init__()
                self.head = nn.Linear(8, 2)
                self.teacher = [nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).eval()]
            def forward(self, x):
                return self.head(self.teacher[0](x))
        model = Taught().eval()
        with torch.no_grad():
            print(model(x))
        """
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
