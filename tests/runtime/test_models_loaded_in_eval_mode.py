"""REG206: models that a library loads in eval mode, and their training."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

ROWS = {
    "fine-tuned as from_pretrained returned it": Row(
        """
        class Pretrained(Net):
            def train(self, mode=True):
                return super().train(mode)
            @classmethod
            def from_pretrained(cls):
                model = cls()
                model.eval()
                return model
        def fine_tune(model, optimizer):
            F.cross_entropy(model(x), y).backward()  # <-
            optimizer.step()
        model = Pretrained.from_pretrained()
        fine_tune(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "fine-tuned after from_pretrained and train()": Row(
        """
        class Pretrained(Net):
            @classmethod
            def from_pretrained(cls):
                model = cls()
                model.eval()
                return model
        model = Pretrained.from_pretrained()
        model.train()
        fit(model, sgd(model))
        """
    ),
    "a backbone stays as it was loaded, below a new head": Row(
        """
        def fine_tune(model, optimizer):
            F.cross_entropy(model(x), y).backward()  # <-
            optimizer.step()
        model = Classifier(Pretrained.from_pretrained())
        fine_tune(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "a compiled model stays as it was loaded": Row(
        """
        def fine_tune(model, optimizer):
            F.cross_entropy(model(x), y).backward()  # <-
            optimizer.step()
        model = torch.compile(Pretrained.from_pretrained(), backend="eager")
        fine_tune(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "a backbone stays as it was loaded until the first validation is over": Row(
        """
        def fine_tune(model, optimizer):
            for _ in range(2):
                F.cross_entropy(model(x), y).backward()  # <-
                optimizer.step()
                model.eval()
                with torch.no_grad():
                    print(model(x).argmax(1))
                model.train()
        model = Classifier(Pretrained.from_pretrained())
        fine_tune(model, sgd(model))
        """,
        ("REG206 warning",),
    ),
    "a backbone as it was loaded, below a trainer that gives modes back by hand": Row(
        """
        def fine_tune(model, optimizer):
            F.cross_entropy(model(x), y).backward()  # <-
            optimizer.step()
        def validate(model):
            was = [(each, each.training) for each in model.modules()]
            model.eval()
            with torch.no_grad():
                print(model(x).argmax(1))
            for each, training in was:
                each.training = training
        model = Classifier(Pretrained.from_pretrained())
        optimizer = sgd(model)
        for _ in range(2):
            validate(model)
            fine_tune(model, optimizer)
        """,
        ("REG206 warning",),
    ),
    "a backbone as it was loaded, in a whole that is trained in eval mode": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        model.eval()
        fit(model, sgd(model))
        """
    ),
    "a backbone as it was loaded, and train()": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        model.train()
        fit(model, sgd(model))
        """
    ),
    "a backbone that does not want gradients": Row(
        """
        model = Classifier(Pretrained.from_pretrained().requires_grad_(False))
        fit(model, sgd(model))
        """
    ),
    "a backbone with adapters": Row(
        """
        backbone = Pretrained.from_pretrained().requires_grad_(False)
        backbone.head = nn.Sequential(backbone.head, nn.Linear(2, 2))
        model = Classifier(backbone)
        fit(model, sgd(model))
        """
    ),
    "a backbone of which the lower layers are frozen": Row(
        """
        backbone = Pretrained.from_pretrained()
        backbone.hidden.requires_grad_(False)
        model = Classifier(backbone)
        fit(model, sgd(model))
        """
    ),
    "a backbone that the optimizer does not hold": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        fit(model, sgd(model.top))
        """
    ),
    "a backbone whose features are taken without gradients": Row(
        """
        class Probed(Classifier):
            def forward(self, x):
                with torch.no_grad():
                    features = self.backbone(x)
                return self.top(self.drop(features))
        model = Probed(Pretrained.from_pretrained())
        fit(model, sgd(model))
        """
    ),
    "a backbone put in eval mode, too": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        model.backbone.eval()
        fit(model, sgd(model))
        """
    ),
    "a backbone put in eval mode where it is built in": Row(
        """
        class Kept(Classifier):
            def __init__(self, backbone):
                super().__init__(backbone)
                self.backbone.eval()
        model = Kept(Pretrained.from_pretrained())
        fit(model, sgd(model))
        """
    ),
    "a backbone put in eval mode once it is trained": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        optimizer = sgd(model)
        for _ in range(2):
            fit(model, optimizer)
            model.backbone.eval()
        """
    ),
    "a backbone that train() keeps in eval mode": Row(
        """
        class Kept(Classifier):
            def train(self, mode=True):
                super().train(mode)
                self.backbone.eval()
                return self
        model = Kept(Pretrained.from_pretrained())
        model.train()
        fit(model, sgd(model))
        """
    ),
    "a backbone whose batch norm is put in eval mode by name": Row(
        """
        model = Classifier(Pretrained.from_pretrained())
        for name, each in model.named_modules():
            if "norm" in name:
                each.eval()
        fit(model, sgd(model))
        """
    ),
    "a backbone on which nothing depends on the mode": Row(
        """
        class Plain(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Linear(8, 2)
            def forward(self, x):
                return self.body(x)
            @classmethod
            def from_pretrained(cls):
                return cls().eval()
        model = Classifier(Plain.from_pretrained())
        fit(model, sgd(model))
        """
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
