"""REG201: predictions with gradients enabled."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from regcheck.core.finding import Verdict
from regcheck.runtime.recorder import EventRecorder
from regcheck.session.session import Session

from .conftest import PRELUDE
from .watched_rows import PARTS, CheckRow, Row

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


EARLIER = {
    "that trains the structure": "trained()\n",
    "that predicts and trains in eval mode": "model = Net().eval()\nmodel(x)\nfit(model, sgd(model))\n",
}


@pytest.mark.parametrize("earlier", EARLIER)
@pytest.mark.parametrize("case", ["predict() detaches, after training", "evaluate() counts hits, after training"])
def test_what_ran_before_does_not_change_the_proof(tmp_path: Path, earlier: str, case: str) -> None:
    """A prediction is confirmed on its own inputs, also if the run had a model of its structure before."""
    session = Session({"select": ["REG201"], "devices": ["cpu"]})
    verdicts = []
    with EventRecorder(root=str(tmp_path)) as recorder:
        names: dict[str, object] = {"__name__": "program"}
        for number, source in enumerate((PRELUDE + PARTS, EARLIER[earlier], textwrap.dedent(ROWS[case].program))):
            path = tmp_path / f"piece_{number}.py"
            path.write_text(source, encoding="utf-8")
            exec(compile(source, str(path), "exec"), names)
            report = session.examine(recorder.drain(path.name)).ledger.report()
            verdicts.append([each.evidence.verdict for each in report.findings])
    assert verdicts == [[], [], [Verdict.CONFIRMED]]
