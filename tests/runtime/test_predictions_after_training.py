"""Predictions after training: scores by hand, loops with gradients on, averages of weights, modes that are restored."""

from __future__ import annotations

import textwrap

import pytest

from .watched_rows import CheckRow, Row

COMMON = """
import copy
from contextlib import contextmanager
from torch.optim.swa_utils import AveragedModel, update_bn
torch.manual_seed(0)
rows, held = torch.randn(3, 4, 8), 1 + torch.randn(3, 4, 8)
goals = torch.randn(4, 2)
model = Net()
optimizer = sgd(model)

def step(row):
    optimizer.zero_grad()
    F.cross_entropy(model(row), y).backward()
    optimizer.step()
"""

ROWS = {
    "a score by hand, after each epoch": Row(
        """
        for epoch in range(2):
            for row in rows:
                step(row)
            with torch.no_grad():
                print(sum(((model(row) - goals) ** 2).mean().item() for row in held))  # <-
        """,
        ("REG201 error",),
    ),
    "the mean error at the end": Row(
        """
        def main():
            for row in rows:
                F.mse_loss(model(row), goals).backward()
                optimizer.step()
            with torch.no_grad():
                guesses = model(held[0])  # <-
                gap = (guesses - goals).abs()
            print(torch.mean(gap))
        main()
        """,
        ("REG201 error",),
    ),
    "a picture that is scaled back": Row(
        """
        scale, shift = torch.tensor(2.0), torch.tensor(1.0)
        def main():
            for row in rows:
                F.mse_loss(model(row), goals).backward()
                optimizer.step()
            with torch.no_grad():
                print(list(model(torch.randn(4, 8)) * scale + shift))  # <-
        main()
        """,
        ("REG201 info",),
    ),
    "a network that is fitted to one picture": Row(
        """
        fitted = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2))
        fitting = sgd(fitted)
        for _ in range(3):
            F.mse_loss(fitted(held[0]), goals).backward()
            fitting.step()
        picture = held[0]
        F.mse_loss(fitted(picture), goals).backward()
        with torch.no_grad():
            print(((fitted(picture) - goals) ** 2).mean().item())  # <-
        """,
        ("REG201 info",),
    ),
    "samples of a generator, whose name a training step uses for others": Row(
        """
        critic, generator = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)), model
        noise, judging = torch.randn(4, 8), sgd(critic)
        pictures = []
        for number, row in enumerate(rows):
            fake = generator(row)
            F.cross_entropy(critic(fake.detach()), y).backward()
            judging.step()
            verdict = critic(fake)
            F.cross_entropy(verdict, y).backward()
            optimizer.step()
            if number == 2:
                with torch.no_grad():
                    fake = generator(noise).detach()  # <-
                pictures.append(fake)
        """,
        ("REG201 info",),
    ),
    "the share of results beyond a threshold": Row(
        """
        for row in rows:
            step(row)
        with torch.no_grad():
            print((model(held[0]) > 0).float().mean())  # <-
        """,
        ("REG201 error",),
    ),
    "a test loop with gradients on": Row(
        """
        for row in rows:
            step(row)
        hits = 0
        for row in held:
            _, best = torch.max(model(row), 1)  # <-
            hits += (best == y).sum().item()
        """,
        ("REG201 error",),
    ),
    "draws of one input with gradients on": Row("""
        for row in rows:
            step(row)
        draws = [model(held[0].clone()).argmax(1) for _ in range(5)]
        """),
    "an average that is recalibrated": Row(
        """
        average = AveragedModel(model)
        for row in rows:
            step(row)
            average.update_parameters(model)
        average.train()
        update_bn(rows, average)
        with torch.no_grad():
            print(average(held[0]).argmax(1))  # <-
        """,
        ("REG201 error",),
    ),
    "an average that is recalibrated, then in eval mode": Row("""
        average = AveragedModel(model)
        for row in rows:
            step(row)
            average.update_parameters(model)
        update_bn(rows, average)
        average.eval()
        with torch.no_grad():
            print(average(held[0]).argmax(1))
        """),
    "a test that begins with train()": Row(
        """
        def fit_epoch():
            model.train()
            for row in rows:
                step(row)

        def test_epoch():
            model.train()
            with torch.no_grad():
                return sum((model(row).argmax(1) == y).sum().item() for row in held)  # <-

        for _ in range(2):
            fit_epoch()
            test_epoch()
        """,
        ("REG201 warning",),
    ),
    "Monte-Carlo dropout that begins with train()": Row("""
        def fit_epoch():
            model.train()
            for row in rows:
                step(row)

        def votes(draws=4):
            model.train()
            with torch.no_grad():
                return [[model(row).argmax(1) for row in held] for _ in range(draws)]

        fit_epoch()
        votes()
        """),
    "statistics of the new data, by name": Row("""
        def fit_epoch():
            model.train()
            for row in rows:
                step(row)

        def adapt_and_label():
            model.train()
            with torch.no_grad():
                return [model(row).argmax(1) for row in held]

        fit_epoch()
        adapt_and_label()
        """),
    "a mode that is restored too late": Row(
        """
        @contextmanager
        def evaluating():
            model.eval()
            yield
            model.train(model.training)

        model.train()
        for row in rows:
            step(row)
            with evaluating(), torch.no_grad():
                print(model(held[0]).argmax(1))
        """.replace(
            "step(row)",
            "loss = F.cross_entropy(model(row), y)  # <-\n            loss.backward()\n            optimizer.step()",
        ),
        ("REG206 warning",),
    ),
    "a mode that is restored": Row("""
        @contextmanager
        def evaluating():
            before = model.training
            model.eval()
            yield
            model.train(before)

        model.train()
        for row in rows:
            step(row)
            with evaluating(), torch.no_grad():
                print(model(held[0]).argmax(1))
        """),
    "eval mode on purpose after a baseline": Row("""
        model.eval()
        with torch.no_grad():
            print(model(held[0]).argmax(1))
        model.train(False)
        for row in rows:
            step(row)
        """),
    "a function train() that gets the model": Row(
        """
        def train(model):
            model.train()
            for row in rows:
                step(row)

        @torch.no_grad()
        def evaluate(model):
            return model(held[0]).argmax(1)  # <-

        train(model)
        evaluate(model)
        """,
        ("REG201 error",),
    ),
}


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])
def test_predictions_after_training(check_row: CheckRow, row: Row) -> None:
    """A prediction in the mode of the training before it is an error where it decides; deliberate modes are silent."""
    check_row(Row(COMMON + textwrap.dedent(row.program), row.reports))
