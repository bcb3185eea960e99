"""REG201: predictions without gradients, in functions that do not train."""

from __future__ import annotations

import pytest

from .watched_rows import CheckRow, Row

OWN_CALL = """
        class Processed(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = Net()
            def __call__(self, *given):
                return self.forward(*given)
            def forward(self, x):
                return self.net(x)
"""

ROWS = {
    "a prediction of a fresh model": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        scores(Net())
        """,
        ("REG201 error",),
    ),
    "a prediction after training": Row(
        """
        @torch.inference_mode()
        def scores(model):
            return model(x).softmax(1)  # <-
        scores(trained())
        """,
        ("REG201 error",),
    ),
    "a prediction after training in train mode by request": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        model = Net().train()
        fit(model, sgd(model))
        scores(model)
        """,
        ("REG201 error",),
    ),
    "validation forgets to switch, the next epoch follows": Row(
        """
        def validate(model):
            with torch.no_grad():
                return F.cross_entropy(model(x), y).item()  # <-
        def main(model, optimizer):
            for _ in range(2):
                fit(model, optimizer)
                validate(model)
        model = Net()
        main(model, sgd(model))
        """,
        ("REG201 error",),
    ),
    "eval of a part only": Row(
        """
        def scores(model):
            model.norm.eval()
            with torch.no_grad():
                return model(x)  # <-
        scores(Net())
        """,
        ("REG201 error",),
    ),
    "functional dropout by the model's mode": Row(
        """
        class Functional(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 2)
            def forward(self, x):
                return self.head(F.dropout(self.body(x), 0.5, training=self.training))
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        scores(Functional())
        """,
        ("REG201 error",),
    ),
    "in a thread": Row(
        """
        import threading
        def serve(model):
            with torch.no_grad():
                print(model(x).argmax(1))  # <-
        thread = threading.Thread(target=serve, args=(Net(),))
        thread.start()
        thread.join()
        """,
        ("REG201 error",),
    ),
    "compiled": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        scores(torch.compile(Net(), backend="eager"))
        """,
        ("REG201 error",),
    ),
    "one input again and again": Row(
        """
        def spread(model):
            with torch.no_grad():
                return torch.stack([model(x) for _ in range(8)]).std(0)  # <-
        spread(Net())
        """,
        ("REG201 info",),
    ),
    "a head put on after eval": Row(
        """
        def scores(model):
            with torch.no_grad():
                return model(x)  # <-
        model = Net().eval()
        model.head = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 2))
        scores(model)
        """,
        ("REG201 info",),
    ),
    "by a model that does without torch's own call": Row(
        OWN_CALL
        + """
        model = Processed()
        model.train()
        for _ in range(2):
            F.cross_entropy(model(x), y).backward()
            sgd(model).step()
        def predict(model):
            with torch.no_grad():
                return model(x)  # <-
        predict(model)
        """,
        ("REG201 error",),
    ),
    "by a model that does without torch's own call, in eval mode": Row(
        OWN_CALL
        + """
        model = Processed()
        F.cross_entropy(model(x), y).backward()
        model.eval()
        with torch.no_grad():
            print(model(x).argmax(1))
        """
    ),
    "targets of a model that does without torch's own call": Row(
        OWN_CALL
        + """
        def step(student, teacher, optimizer):
            with torch.no_grad():
                targets = teacher(x).softmax(1)
            F.cross_entropy(student(x), targets).backward()
            optimizer.step()
        student, teacher = Processed(), Processed()
        for _ in range(2):
            step(student, teacher, sgd(student))
        """
    ),
    "by forward itself": Row(
        """
        class Features(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = Net()
            @torch.no_grad()
            def forward(self, x):
                return self.net(x)
        def scores(model):
            return model.forward(x)  # <-
        scores(Features())
        """,
        ("REG201 error",),
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_row(case: str, check_row: CheckRow) -> None:
    """The report names the marked line and no other, with the code and the severity of the row, confirmed."""
    check_row(ROWS[case])
