"""REG206: models trained in eval mode."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

ROWS = {
    "validation never switches back": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                return model(x)
        def train(model, optimizer):
            for _ in range(2):
                F.cross_entropy(model(x), y).backward()  # <-
                optimizer.step()
                validate(model)
        model = Net()
        train(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "validation never switches back, another function goes back": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                return model(x)
        def loss(model):
            return F.cross_entropy(model(x), y)  # <-
        def backward(value, optimizer):
            value.backward()
            optimizer.step()
        model = Net()
        for _ in range(2):
            backward(loss(model), sgd(model))
            validate(model)
        """,
        ("REG206 warning",),
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
