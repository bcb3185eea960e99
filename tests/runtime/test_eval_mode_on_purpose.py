"""REG206: training in eval mode that the program means."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

ROWS = {
    "fine-tuned in eval mode on purpose": Row(
        """
        model = Net()
        model.eval()
        fit(model, sgd(model))
        """
    ),
    "validation switches back": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        def train(model, optimizer):
            for _ in range(2):
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                validate(model)
        model = Net()
        train(model, sgd(model))
        """
    ),
    "an attack on a model in eval mode": Row(
        """
        class Pretrained(Net):
            @classmethod
            def from_pretrained(cls):
                model = cls()
                model.eval()
                return model
        def attack(model):
            given = x.clone().requires_grad_()
            F.cross_entropy(model(given), y).backward()
            return given.grad.sign()
        attack(Pretrained.from_pretrained())
        """
    ),
    "only a new head is trained on an extractor in eval mode": Row(
        """
        class Pretrained(Net):
            @classmethod
            def from_pretrained(cls):
                model = cls()
                model.eval()
                return model
        extractor, head = Pretrained.from_pretrained(), nn.Linear(2, 2)
        optimizer = sgd(head)
        F.cross_entropy(head(extractor(x)), y).backward()
        optimizer.step()
        """
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
