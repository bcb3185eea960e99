"""Which calls of a running program are taken for predictions in train mode, and which never are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

MissingEvals = Callable[..., list[str]]

PREDICTIONS = {
    "fresh model": (
        """
        def evaluate(model):
            with torch.no_grad():
                return model(x)
        evaluate(Net())
        """,
        ["return model(x)"],
    ),
    "inference mode, by decorator": (
        """
        @torch.inference_mode()
        def evaluate(model):
            scores = model(x)
            return scores
        evaluate(Net())
        """,
        ["scores = model(x)"],
    ),
    "after training": (
        """
        def train(model, optimizer):
            model.train()
            for _ in range(3):
                optimizer.zero_grad()
                model(x).sum().backward()
                optimizer.step()
        def evaluate(model):
            with torch.no_grad():
                return [model(each) for each in (x, x)]
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            train(model, optimizer)
            evaluate(model)
        """,
        ["return [model(each) for each in (x, x)]"],
    ),
    "training switched back on between validations": (
        """
        def evaluate(model):
            with torch.no_grad():
                return model(x)
        model = Net().eval()
        evaluate(model)
        model.train()
        model(x).sum().backward()
        evaluate(model)
        """,
        ["return model(x)"],
    ),
    "batch norm frozen, dropout left on": (
        """
        def evaluate(model):
            with torch.no_grad():
                return model(x)
        model = Net()
        model.norm.eval()
        evaluate(model)
        """,
        ["return model(x)"],
    ),
    "the root's flag says eval, a part trains": (
        """
        def evaluate(model):
            with torch.no_grad():
                return model(x)
        model = Net()
        model.training = False
        evaluate(model)
        """,
        ["return model(x)"],
    ),
    "in another thread": (
        """
        import threading
        def evaluate(model):
            with torch.no_grad():
                model(x).sum()
        thread = threading.Thread(target=evaluate, args=(Net(),))
        thread.start()
        thread.join()
        """,
        ["model(x).sum()"],
    ),
    "compiled": (
        """
        def evaluate(model):
            with torch.no_grad():
                return model(x)
        evaluate(torch.compile(Net(), backend="eager"))
        """,
        ["return model(x)"],
    ),
}

INTENDED = {
    "eval": """
        def evaluate(model):
            model.eval()
            with torch.no_grad():
                return model(x)
        evaluate(Net())
    """,
    "update_bn": """
        torch.optim.swa_utils.update_bn([x], Net())
    """,
    "batch norm recalibration, result dropped": """
        @torch.no_grad()
        def recalibrate(model):
            for _ in range(2):
                model(x)
        recalibrate(Net())
    """,
    "batch norm recalibration, result bound to _": """
        @torch.no_grad()
        def recalibrate(model):
            for _ in range(2):
                _ = model(x)
        recalibrate(Net())
    """,
    "mean teacher in a training step": """
        def step(student, teacher, optimizer):
            with torch.no_grad():
                target = teacher(x)
            loss = (student(x) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        student, teacher = Net(), Net()
        optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
        for _ in range(3):
            step(student, teacher, optimizer)
    """,
    "generator in a training step": """
        def step(generator, critic, optimizer):
            optimizer.zero_grad()
            with torch.no_grad():
                fake = generator(x)
            critic(fake).mean().backward()
            optimizer.step()
        generator, critic = Net(), nn.Linear(2, 1)
        step(generator, critic, torch.optim.SGD(critic.parameters(), lr=0.1))
    """,
    "Monte-Carlo dropout after train()": """
        def sample(model):
            model.train()
            with torch.no_grad():
                return torch.stack([model(x) for _ in range(4)])
        sample(Net())
    """,
    "Monte-Carlo dropout, only dropout switched on": """
        def sample(model):
            model.eval()
            for each in model.modules():
                if isinstance(each, nn.Dropout):
                    each.train()
            with torch.no_grad():
                return torch.stack([model(x) for _ in range(4)])
        sample(Net())
    """,
    "Monte-Carlo dropout, switched on from around": """
        class Around(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = Net()
        def sample(around):
            around.train()
            with torch.no_grad():
                return around.net(x)
        sample(Around())
    """,
    "gradients on": """
        def shape(model):
            return model(x).shape
        shape(Net())
    """,
    "nothing that depends on the mode": """
        def evaluate(model):
            with torch.no_grad():
                return model(x)
        evaluate(nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Dropout(0.0), nn.Linear(16, 2)))
    """,
    "batch norm without running statistics": """
        def evaluate(model):
            with torch.no_grad():
                return model(x)
        evaluate(nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16, track_running_stats=False)))
    """,
    "a lone batch norm": """
        def evaluate(layer):
            with torch.no_grad():
                return layer(x)
        evaluate(nn.BatchNorm1d(8))
    """,
    "a lone layer with normalized weights": """
        def evaluate(layer):
            with torch.no_grad():
                return layer(torch.ones(3, 2, 8))
        layer = nn.LSTM(8, 8, num_layers=2, dropout=0.5)
        evaluate(nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0"))
    """,
    "a lone recurrent layer with dropout": """
        def evaluate(layer):
            with torch.no_grad():
                return layer(x)
        evaluate(nn.LSTM(8, 8, num_layers=2, dropout=0.5))
    """,
    "a lone DropPath": """
        class DropPath(nn.Module):
            def __init__(self):
                super().__init__()
                self.drop_prob = 0.5
            def forward(self, x):
                return x * (torch.rand(len(x), 1) > self.drop_prob) if self.training else x
        def evaluate(layer):
            with torch.no_grad():
                return layer(x)
        evaluate(DropPath())
    """,
    "restored by the callee": """
        class Careful(Net):
            def forward(self, x):
                return super().forward(x)
            def predict(self, x):
                was = self.training
                self.eval()
                with torch.no_grad():
                    scores = self(x)
                self.train(was)
                return scores
        Careful().predict(x)
    """,
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_prediction_in_train_mode_is_reported_at_the_call(case: str, missing_evals: MissingEvals) -> None:
    """A kept prediction made while a layer acts as in training is reported once, at the line of the call."""
    source, lines = PREDICTIONS[case]
    assert missing_evals(source) == lines


@pytest.mark.parametrize("case", INTENDED)
def test_intended_train_mode_is_left_alone(case: str, missing_evals: MissingEvals) -> None:
    """Passes that need train mode, or that nothing depends on, are never reported."""
    assert missing_evals(INTENDED[case]) == []


@pytest.mark.parametrize("name", ["test_net.py", "net_test.py", "conftest.py", "tests/support.py"])
def test_smoke_test_under_no_grad_is_left_alone(name: str, missing_evals: MissingEvals) -> None:
    """A test's own call is a test of the forward, not a prediction, also in the files that tests share."""
    source = """
        def test_shape():
            with torch.no_grad():
                assert Net()(x).isfinite().all()
        test_shape()
    """
    assert missing_evals(source, name) == []
    assert missing_evals(source, "program.py") == ["assert Net()(x).isfinite().all()"]
