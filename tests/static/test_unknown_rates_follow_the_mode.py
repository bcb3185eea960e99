"""A dropout of unknown rate counts as acting, so a program that leaves its model in the wrong mode is reported."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

from regcheck.engine.scan import scan

HEADER = """\
import torch
import torch.nn.functional as F
from torch import nn, optim
from settings import load, rate_of, read
"""

PROGRAMS = {
    "a rate that a study suggests": """
        def build(trial):
            layers = []
            for index in range(trial.suggest_int("layers", 1, 3)):
                layers += [nn.Linear(8, 8), nn.ReLU(), nn.Dropout(trial.suggest_float(f"rate{index}", 0.2, 0.5))]
            return nn.Sequential(*layers, nn.Linear(8, 2))

        def objective(trial):
            net = build(trial).to("cuda")
            optimizer = optim.SGD(net.parameters(), lr=0.1)
            net.train()
            for epoch in range(10):
                for x, y in load("train"):
                    optimizer.zero_grad()
                    F.nll_loss(net(x), y).backward()  # <- REG206
                    optimizer.step()
                net.eval()
                with torch.no_grad():
                    for x, y in load("test"):
                        print(net(x).argmax(dim=1).eq(y).sum().item())
        """,
    "the same study with train() in each epoch": """
        def objective(trial):
            net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(trial.suggest_float("rate", 0.2, 0.5)), nn.Linear(8, 2))
            optimizer = optim.SGD(net.parameters(), lr=0.1)
            for epoch in range(10):
                net.train()
                for x, y in load("train"):
                    optimizer.zero_grad()
                    F.nll_loss(net(x), y).backward()
                    optimizer.step()
                net.eval()
                with torch.no_grad():
                    for x, y in load("test"):
                        print(net(x).argmax(dim=1).eq(y).sum().item())
        """,
    "a rate in a file of settings": """
        class Net(nn.Module):
            def __init__(self, settings):
                super().__init__()
                self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 2)
                self.drop = nn.Dropout(settings.rate)

            def forward(self, x):
                return self.head(self.drop(torch.relu(self.body(x))))

        @torch.no_grad()
        def evaluate(net):
            return [net(x).argmax(1) for x, _ in load("test")]  # <- REG201

        def main():
            net = Net(read("settings.json"))
            optimizer = optim.SGD(net.parameters(), lr=0.1)
            for x, y in load("train"):
                F.cross_entropy(net(x), y).backward()
                optimizer.step()
            print(evaluate(net))

        main()
        """,
    "a rate of zero": """
        class Net(nn.Module):
            def __init__(self, rate=0.0):
                super().__init__()
                self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 2)
                self.drop = nn.Dropout(rate)

            def forward(self, x):
                return self.head(self.drop(torch.relu(self.body(x))))

        @torch.no_grad()
        def evaluate(net):
            return [net(x).argmax(1) for x, _ in load("test")]

        print(evaluate(Net()))
        """,
    "a recurrent net of unknown depth": """
        class Net(nn.Module):
            def __init__(self, depth):
                super().__init__()
                self.cells, self.head = nn.LSTM(8, 8, num_layers=depth, dropout=0.3), nn.Linear(8, 2)

            def forward(self, x):
                return self.head(self.cells(x)[0])

        @torch.no_grad()
        def evaluate(net):
            return [net(x).argmax(1) for x, _ in load("test")]  # <- REG201

        print(evaluate(Net(read("depth"))))
        """,
    "a recurrent net of one layer": """
        class Net(nn.Module):
            def __init__(self, rate):
                super().__init__()
                self.cells, self.head = nn.LSTM(8, 8, num_layers=1, dropout=rate), nn.Linear(8, 2)

            def forward(self, x):
                return self.head(self.cells(x)[0])

        @torch.no_grad()
        def evaluate(net):
            return [net(x).argmax(1) for x, _ in load("test")]

        print(evaluate(Net(rate_of("cells"))))
        """,
    "a functional dropout of unknown rate": """
        class Net(nn.Module):
            def __init__(self, rate):
                super().__init__()
                self.rate, self.body, self.head = rate, nn.Linear(8, 8), nn.Linear(8, 2)

            def forward(self, x):
                return self.head(F.dropout(torch.relu(self.body(x)), self.rate, self.training))

        @torch.no_grad()
        def evaluate(net):
            return [net(x).argmax(1) for x, _ in load("test")]  # <- REG201

        print(evaluate(Net(rate_of("body"))))
        """,
    "an option that is zero by default": """
        import argparse

        class Net(nn.Module):
            def __init__(self, rate):
                super().__init__()
                self.body, self.head, self.drop = nn.Linear(8, 8), nn.Linear(8, 2), nn.Dropout(rate)

            def forward(self, x):
                return self.head(self.drop(torch.relu(self.body(x))))

        @torch.no_grad()
        def evaluate(net):
            return [net(x).argmax(1) for x, _ in load("test")]

        def main():
            parser = argparse.ArgumentParser()
            parser.add_argument("--dropout", type=float, default=0)
            print(evaluate(Net(parser.parse_args().dropout)))

        main()
        """,
    "an option that is not zero by default": """
        import argparse

        class Net(nn.Module):
            def __init__(self, rate):
                super().__init__()
                self.rate, self.body, self.head = rate, nn.Linear(8, 8), nn.Linear(8, 2)

            def forward(self, x):
                return self.head(F.dropout(torch.relu(self.body(x)), self.rate, self.training))

        @torch.no_grad()
        def evaluate(net):
            return [net(x).argmax(1) for x, _ in load("test")]  # <- REG201

        def main():
            parser = argparse.ArgumentParser()
            parser.add_argument("--dropout", type=float, default=0.1)
            print(evaluate(Net(parser.parse_args().dropout)))

        main()
        """,
    "the same net in eval mode": """
        class Net(nn.Module):
            def __init__(self, rate):
                super().__init__()
                self.rate, self.body, self.head = rate, nn.Linear(8, 8), nn.Linear(8, 2)

            def forward(self, x):
                return self.head(F.dropout(torch.relu(self.body(x)), self.rate, self.training))

        @torch.no_grad()
        def evaluate(net):
            return [net(x).argmax(1) for x, _ in load("test")]

        print(evaluate(Net(rate_of("body")).eval()))
        """,
}


def test_an_unknown_rate_is_assumed_to_act(tmp_path: Path) -> None:
    """Wrong modes are reported for a dropout of unknown rate and a recurrent net of unknown depth, but not at zero."""
    expected, names = set(), {}
    for index, (name, source) in enumerate(PROGRAMS.items()):
        text, path = HEADER + dedent(source), tmp_path / f"program{index}.py"
        path.write_text(text)
        names[str(path)] = name
        for number, line in enumerate(text.splitlines(), 1):
            expected |= {(name, number, code) for code in re.findall(r"# <- (REG\d+)$", line)}
    findings = [each for each in scan([tmp_path], {"select": ["REG201", "REG206"]}).findings if each.path]
    assert {(names[each.path or ""], each.line, each.code) for each in findings} == expected
