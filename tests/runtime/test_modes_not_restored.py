"""REG206, REG208: functions that return with the model in another mode than on entry."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

ROWS = {
    "a validation thaws what was frozen": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                hits = (model(x).argmax(1) == y).sum()
            model.train()  # <-
            return hits
        model = Net()
        model.norm.eval()
        for _ in range(2):
            fit(model, sgd(model))
            validate(model)
        """,
        ("REG208 warning",),
    ),
    "a validation thaws all batch norms, the trainer steps elsewhere": Row(
        """
        class Trainer:
            def __init__(self):
                self.model = nn.Sequential(Net(), nn.BatchNorm1d(2), nn.Linear(2, 2))
                self.optimizer = sgd(self.model)
                for each in self.model.modules():
                    if isinstance(each, nn.BatchNorm1d):
                        each.eval()
            def loss(self):
                return F.cross_entropy(self.model(x), y)
            def step(self):
                self.optimizer.zero_grad()
                self.loss().backward()
                self.optimizer.step()
            def validate(self):
                self.model.eval()
                with torch.no_grad():
                    self.model(x).argmax(1)
                self.model.train()  # <-
            def run(self):
                for _ in range(3):
                    self.step()
                    self.validate()
        Trainer().run()
        """,
        ("REG208 warning",),
    ),
    "what was frozen is frozen again before each epoch": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        model = Net()
        for _ in range(3):
            model.norm.eval()
            fit(model, sgd(model))
            validate(model)
        """
    ),
    "what was frozen is frozen again until it is let go": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        model = Net()
        for epoch in range(4):
            if epoch < 2:
                model.norm.eval()
            fit(model, sgd(model))
            validate(model)
        """
    ),
    "the training itself lets go of what was frozen": Row(
        """
        def train(model, optimizer):
            for epoch in range(3):
                model.train()
                if epoch < 1:
                    model.norm.eval()
                fit(model, optimizer)
                model.eval()
                with torch.no_grad():
                    model(x).argmax(1)
        model = Net()
        train(model, sgd(model))
        """
    ),
    "frozen, and never trained on so": Row(
        """
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        model = Net()
        model.norm.eval()
        validate(model)
        fit(model, sgd(model))
        """
    ),
    "a train() that keeps what is frozen": Row(
        """
        class Kept(Net):
            def train(self, mode=True):
                super().train(mode)
                self.norm.eval()
                return self
        def validate(model):
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            model.train()
        model = Kept()
        model.train()
        for _ in range(2):
            fit(model, sgd(model))
            validate(model)
        """
    ),
    "each part is given its own mode back": Row(
        """
        def validate(model):
            was = [(each, each.training) for each in model.modules()]
            model.eval()
            with torch.no_grad():
                model(x).argmax(1)
            for each, training in was:
                each.training = training
        model = Net()
        model.norm.eval()
        for _ in range(2):
            fit(model, sgd(model))
            validate(model)
        """
    ),
    "an error leaves eval mode behind": Row(
        """
        def validate(model, given):
            model.eval()
            with torch.no_grad():
                model(given).argmax(1)
            model.train()
        def train(model, optimizer, validations):
            for given in validations:
                F.cross_entropy(model(x), y).backward()  # <-
                optimizer.step()
                try:
                    validate(model, given)
                except RuntimeError:
                    print("this epoch cannot be validated")
        model = Net()
        train(model, sgd(model), (x, x[:, :3], x))
        """,
        ("REG206 warning",),
    ),
    "an early return leaves eval mode behind": Row(
        """
        def validate(model, given):
            model.eval()
            with torch.no_grad():
                hits = (model(given).argmax(1) == 0).sum()
            if len(given) < 4:
                return None
            model.train()
            return hits
        def train(model, optimizer, validations):
            for given in validations:
                F.cross_entropy(model(x), y).backward()  # <-
                optimizer.step()
                validate(model, given)
        model = Net()
        train(model, sgd(model), (x, x[:2], x))
        """,
        ("REG206 warning",),
    ),
    "an error passes through a mode that is given back": Row(
        """
        def validate(model, given):
            was = model.training
            model.eval()
            try:
                with torch.no_grad():
                    model(given).argmax(1)
            finally:
                model.train(was)
        def train(model, optimizer, validations):
            for given in validations:
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                try:
                    validate(model, given)
                except RuntimeError:
                    print("this epoch cannot be validated")
        model = Net()
        train(model, sgd(model), (x, x[:, :3], x))
        """
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
