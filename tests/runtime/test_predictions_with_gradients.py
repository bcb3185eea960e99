"""REG201: predictions with gradients enabled."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

ROWS = {
    "predict() detaches, after training": Row(
        """
        def predict(model):
            return model(x).softmax(1).detach().numpy()  # <-
        predict(trained())
        """,
        ("REG201 error",),
    ),
    "evaluate() counts hits, after training": Row(
        """
        def evaluate(model):
            scores = model(x)  # <-
            predicted = scores.argmax(dim=1)
            return (predicted == y).sum().item()
        evaluate(trained())
        """,
        ("REG201 error",),
    ),
    "predict() of a model that was never trained": Row(
        """
        def predict(model):
            return model(x).argmax(1)  # <-
        predict(Net())
        """,
        ("REG201 info",),
    ),
    "validation with gradients on in the function that trains": Row(
        """
        def train(model, optimizer):
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            return F.cross_entropy(model(x), y).item()  # <-
        model = Net()
        train(model, sgd(model))
        """,
        ("REG201 info",),
    ),
    "a smoke run with gradients on": Row(
        """
        def smoke(model):
            scores = model(x)
            assert scores.shape == (4, 2)
            assert scores.detach().isfinite().all()
        smoke(Net())
        """
    ),
    "evaluate() of actions that a loss goes back through": Row(
        """
        def evaluate_actions(policy):
            logits = policy(x)
            return logits.log_softmax(1)[:, 0], logits.argmax(1)
        policy = Net()
        optimizer = sgd(policy)
        for _ in range(2):
            likelihood, _ = evaluate_actions(policy)
            likelihood.mean().neg().backward()
            optimizer.step()
        """
    ),
    "accuracy on the batch that is trained on": Row(
        """
        def train(model, optimizer):
            scores = model(x)
            F.cross_entropy(scores, y).backward()
            optimizer.step()
            return (scores.argmax(1) == y).float().mean()
        model = Net()
        train(model, sgd(model))
        """
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
