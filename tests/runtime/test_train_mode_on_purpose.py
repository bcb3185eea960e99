"""REG201: train mode that the program requests, or that changes nothing."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

ROWS = {
    "a mode that the caller hands in": Row(
        """
        class Trainer:
            def __init__(self, model):
                self.model = model
            def switch(self, training):
                self.model.train(training)
            def evaluation_step(self, training=False):
                with torch.no_grad():
                    self.switch(training)
                    return self.model(x).argmax(1)
        trainer = Trainer(trained())
        trainer.evaluation_step()
        trainer.evaluation_step(training=True)
        """
    ),
    "update_bn": Row("torch.optim.swa_utils.update_bn([x], trained())"),
    "statistics taken anew by hand": Row(
        """
        def recalibrate(model):
            for each in model.modules():
                if isinstance(each, nn.BatchNorm1d):
                    each.reset_running_stats()
            with torch.no_grad():
                for _ in range(3):
                    unread = model(x)
        recalibrate(trained())
        """
    ),
    "statistics taken anew after train()": Row(
        """
        def recalibrate(model):
            model.train()
            with torch.no_grad():
                return [model(x).mean() for _ in range(3)]
        recalibrate(trained())
        """
    ),
    "Monte-Carlo dropout by train()": Row(
        """
        def spread(model):
            model.eval()
            model.drop.train()
            with torch.no_grad():
                return torch.stack([model(x) for _ in range(8)]).std(0)
        spread(trained())
        """
    ),
    "the width of the features": Row(
        """
        def width(model):
            with torch.no_grad():
                return model(x).shape[1]
        width(Net())
        """
    ),
    "nothing depends on the mode": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)
        scores(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Dropout(0.0), nn.Linear(8, 2)))
        """
    ),
    "a rate of zero, functional": Row(
        """
        class Functional(nn.Module):
            def __init__(self):
                super().__init__()
                self.dropout, self.head = 0.0, nn.Linear(8, 2)
            def forward(self, x):
                return self.head(F.dropout(x, self.dropout, self.training))
        def scores(model):
            with torch.no_grad():
                return model(x)
        scores(Functional())
        """
    ),
    "a test that wants train mode and asserts about it": Row(
        """
        def test_dropout_acts():
            model = Net().train()
            with torch.no_grad():
                assert not torch.equal(model(x), model(x))
        test_dropout_acts()
        """,
        name="test_program.py",
    ),
    "a test that asks train mode of the code under test": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)
        def test_dropout_acts():
            model = Net()
            model.train()
            assert not torch.equal(scores(model), scores(model))
        test_dropout_acts()
        """,
        name="test_program.py",
    ),
    "SimCSE": Row(
        """
        def step(model, optimizer):
            one, other = model(x), model(x)
            F.cross_entropy(one @ other.T, torch.arange(4)).backward()
            optimizer.step()
        model = Net()
        step(model, sgd(model))
        """
    ),
    "gradient checkpointing": Row(
        """
        from torch.utils.checkpoint import checkpoint
        def step(model, optimizer, reentrant):
            given = x.clone().requires_grad_()
            F.cross_entropy(checkpoint(model, given, use_reentrant=reentrant), y).backward()
            optimizer.step()
        model = Net()
        for reentrant in (True, False):
            step(model, sgd(model), reentrant)
        """
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
