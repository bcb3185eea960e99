"""A `train()` of its own ahead of predictions, where `eval()` was meant: in source."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from regcheck.core.finding import Severity
from regcheck.engine.scan import scan

from ..faulty_and_right import marked, marked_form

HEADER = """\
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from data import read, picture, board

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.drop(x))

class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        return self.head(self.body(x)), x

"""

ONE_SAMPLE = {
    "a demo that shows one picture": """
net = Normed().to("cpu")
state = torch.load("weights.pt")
if "model" in state:
    net.load_state_dict(state["model"])
else:
    net.load_state_dict(state)
&net.train()
#net.eval()
with torch.no_grad():
    x = picture("in.png")
    x = x.to("cpu").unsqueeze(dim=0)
    mask, _ = net(x)  # <-
    mask = mask.mul(255)
    Image.fromarray(mask.squeeze().cpu().detach().numpy()).save("out.png")
""",
    "a class that predicts": """
class Segmenter:
    def __init__(self, path):
        self.net = Normed()
        self.net.load_state_dict(torch.load(path))
        &self.net.train()
        #self.net.train(False)

    @torch.no_grad()
    def mask_of(self, path):
        x = torch.unsqueeze(picture(path), 0)
        scores, _ = self.net(x)  # <-
        return (scores > 0).cpu().numpy()

print(Segmenter("weights.pt").mask_of("in.png"))
""",
    "a folder of pictures, one at a time": """
import argparse

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights")
    args = parser.parse_args()
    net = Normed()
    net.load_state_dict(torch.load(args.weights))
    &net = net.train()
    #net = net.eval()
    for path in read("folder"):
        batch = np.expand_dims(picture(path), 0)
        with torch.inference_mode():
            mask = net(torch.from_numpy(batch))[0]  # <-
        np.save(path + ".npy", mask.cpu().numpy())

if __name__ == "__main__":
    main()
""",
    "a closure": """
def serve(weights):
    net = Normed()
    net.load_state_dict(torch.load(weights))
    &net.train()
    #net.eval()

    def answer(x):
        with torch.no_grad():
            return net(x[None])[0].argmax(1).tolist()  # <-

    return answer(picture("in.png"))

serve("weights.pt")
""",
    "dropout, and one row": """
net = Plain()
net.load_state_dict(torch.load("weights.pt"))
&net.train()
#net.eval()
row = torch.as_tensor(read("row")).view(1, -1)
with torch.no_grad():
    print(net(row).argmax(-1).item())  # <-
""",
}

FIT = """
class Dice(nn.Module):
    def forward(self, scores, y):
        return 1 - (scores.sigmoid() * y).mean()

def learn(net, batches, optimizer):
    net.train()
    dice = Dice()
    for x, y in batches:
        optimizer.zero_grad()
        dice(net(x), y).backward()
        optimizer.step()
"""
EVALUATION = {
    "a function beside the one that trains, of a model built elsewhere": FIT
    + """
import importlib

def eval_one_epoch(net, batches):
    &net.train()
    #net.eval()
    hits = []
    for x, y in batches:
        kinds = torch.sigmoid(net(x)) > 0.5  # <-
        hits.append((kinds == y).float().mean().item())
    return np.array(hits).mean()

def main(options):
    net = importlib.import_module(options.net).build()
    optimizer = torch.optim.Adam(net.parameters())
    for epoch in range(options.epochs):
        learn(net, read("train"), optimizer)
        with torch.no_grad():
            print(eval_one_epoch(net, read("test")))

main(read("options"))
""",
    "methods of a trainer": """
class Trainer:
    def __init__(self, net, batches, held_out):
        self.net, self.batches, self.held_out = net, batches, held_out
        self.optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def fit(self):
        for epoch in range(10):
            self.net.train()
            for x, y in self.batches:
                loss = F.cross_entropy(self.net(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            print(epoch, self.validate())

    @torch.no_grad()
    def validate(self):
        &self.net.train()
        #self.net.eval()
        return sum((self.net(x).argmax(1) == y).sum().item() for x, y in self.held_out)  # <-

Trainer(Plain(), read("train"), read("test")).fit()
""",
    "at the top of a script, after the epochs": """
net = Plain()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(10):
    net.train()
    for x, y in read("train"):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
&net.train()
#net.eval()
hits = 0
with torch.no_grad():
    for x, y in read("test"):
        hits += (net(x).argmax(1) == y).sum().item()  # <-
print(hits)
""",
    "in the loop over epochs": """
def main():
    net = Plain()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(10):
        net.train()
        for x, y in read("train"):
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        &net.train()
        #net.eval()
        with torch.no_grad():
            losses = [F.cross_entropy(net(x), y).item() for x, y in read("test")]  # <-
        print(sum(losses))

main()
""",
    "closures": """
def run(net, optimizer):
    def epoch():
        net.train()
        for x, y in read("train"):
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()

    @torch.no_grad()
    def test():
        &net.train(True)
        #net.train(False)
        for x, y in read("test"):
            board.add((net(x).argmax(1) == y).sum())  # <-

    for _ in range(5):
        epoch()
        test()

run(Plain(), torch.optim.SGD(Plain().parameters(), lr=0.1))
""",
    "an evaluation that a mode runs alone": FIT
    + """
def evaluate(net):
    &net.train()
    #net.eval()
    with torch.no_grad():
        return [F.mse_loss(net(x), y).item() for x, y in read("test")]  # <-

def main(mode):
    net = Plain()
    if mode == "train":
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            learn(net, read("train"), optimizer)
            print(evaluate(net))
    else:
        net.load_state_dict(torch.load("weights.pt"))
        print(evaluate(net))

main(read("mode"))
""",
}

MEANT = {
    "batch statistics of whole batches": """
net = Normed()
net.load_state_dict(torch.load("weights.pt"))
net.train()
with torch.no_grad():
    for x in read("pictures"):
        print(net(x)[0].argmax(1))
""",
    "twenty passes of one picture": """
net = Normed()
net.load_state_dict(torch.load("weights.pt"))
net.train()
x = picture("in.png").unsqueeze(0)
with torch.no_grad():
    print(torch.stack([net(x)[0] for _ in range(20)]).std(0).numpy())
""",
    "statistics counted anew, results thrown away": """
net = Normed()
net.load_state_dict(torch.load("weights.pt"))
net.train()
with torch.no_grad():
    for x in read("pictures"):
        net(x.unsqueeze(0))
net.eval()
with torch.no_grad():
    print(net(picture("in.png").unsqueeze(0))[0].numpy())
""",
    "twenty evaluations after each epoch": FIT
    + """
def evaluate(net):
    net.train()
    with torch.no_grad():
        return torch.stack([net(x).argmax(1) for x, _ in read("test")])

def main():
    net = Plain()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        learn(net, read("train"), optimizer)
        print(torch.stack([evaluate(net) for _ in range(20)]).float().mean(0))

main()
""",
    "twenty passes of each input after each epoch": FIT
    + """
def evaluate(net):
    net.train()
    with torch.no_grad():
        for x, y in read("test"):
            votes = torch.stack([net(x) for _ in range(20)])
            print((votes.mean(0).argmax(1) == y).sum())

def main():
    net = Plain()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        learn(net, read("train"), optimizer)
        evaluate(net)

main()
""",
    "a name that says dropout is wanted": FIT
    + """
def evaluate_with_dropout(net):
    net.train()
    with torch.no_grad():
        return sum((net(x).argmax(1) == y).sum() for x, y in read("test"))

def main():
    net = Plain()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        learn(net, read("train"), optimizer)
        print(evaluate_with_dropout(net))

main()
""",
    "a teacher in train mode": """
def main():
    net, teacher = Plain(), Plain()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(3):
        net.train()
        teacher.train()
        for x, _ in read("train"):
            with torch.no_grad():
                target = teacher(x).argmax(1)
            optimizer.zero_grad()
            F.cross_entropy(net(x), target).backward()
            optimizer.step()

main()
""",
    "labels drawn ahead of each epoch": """
def main():
    net = Plain()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(3):
        net.train()
        with torch.no_grad():
            batches = [(x, net(x).argmax(1)) for x in read("unlabelled")]
        net.train()
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()

main()
""",
    "actions of a policy": """
def act(net, state):
    net.train()
    with torch.no_grad():
        return net(state).argmax(1)

def main():
    net = Plain()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    state = read("state")
    for step in range(1000):
        state, reward = read(act(net, state))
        net.train()
        loss = F.mse_loss(net(state), reward)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

main()
""",
}


def _forms(programs: dict[str, str]) -> list[ParameterSet]:
    return [
        pytest.param(marked_form(HEADER + text, faulty), id=f"{name}, {'faulty' if faulty else 'right'}")
        for name, text in programs.items()
        for faulty in (True, False)
    ]


@pytest.mark.parametrize("program", _forms({**ONE_SAMPLE, **EVALUATION}))
def test_a_train_call_ahead_of_predictions_is_found(tmp_path: Path, program: str) -> None:
    """`train()` ahead of predictions alone is reported, and the same program with `eval()` there is not."""
    (tmp_path / "program.py").write_text(program)
    found = scan([tmp_path]).findings
    assert {(each.code, each.line) for each in found} == {("REG201", line) for line in marked(program)}
    assert all(each.severity >= Severity.WARNING for each in found)


@pytest.mark.parametrize("program", [pytest.param(text, id=name) for name, text in MEANT.items()])
def test_train_mode_ahead_of_predictions_that_may_be_meant_is_left_alone(tmp_path: Path, program: str) -> None:
    """Statistics of a batch, Monte-Carlo dropout, teachers, pseudo-labels and policies are silent."""
    (tmp_path / "program.py").write_text(HEADER + program)
    assert [(each.code, each.line) for each in scan([tmp_path]).findings] == []
