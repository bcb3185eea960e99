"""Validation with gradients on and no `eval()`: source shows it where the program trains the model elsewhere."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from regcheck.engine.scan import scan

HEADER = """\
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from data import loader, held_out, batch_of, report


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(20, 4)

    def forward(self, x):
        return self.head(self.body(x))


"""

WRONG = {
    "script with a loop over test data": """
        net = Net()
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        hits = 0
        for x, y in held_out:
            scores = net(x)  # <-
            _, best = torch.max(scores.data, 1)
            hits += (best == y).sum().item()
        print(hits)
        """,
    "function that evaluates after each epoch": """
        def evaluate(net):
            hits = 0
            for x, y in held_out:
                hits += (net(x).max(1)[1] == y).sum().item()  # <-
            return hits

        def main(epochs=3):
            net = Net()
            optimizer = optim.SGD(net.parameters(), lr=0.1)
            for _ in range(epochs):
                for x, y in loader:
                    loss = F.cross_entropy(net(x), y)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                print(evaluate(net))

        main()
        """,
    "forward called by its name": """
        net = Net()
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net.forward(x), y).backward()
            optimizer.step()
        for x, y in held_out:
            report((net.forward(x).argmax(1) == y).sum().item())  # <-
        """,
    "threshold of a probability": """
        def eval_net(net, pairs):
            total = 0
            for x, mask in pairs:
                marked = (torch.sigmoid(net(x)) > 0.5).float()  # <-
                total += (marked * mask).sum().item()
            return total

        def train_net(net):
            criterion = nn.BCEWithLogitsLoss()
            optimizer = optim.Adam(net.parameters())
            for _ in range(5):
                for x, mask in loader:
                    optimizer.zero_grad()
                    criterion(net(x), mask).backward()
                    optimizer.step()
                print(eval_net(net, held_out))

        if __name__ == "__main__":
            train_net(net=Net())
        """,
    "trainer class that predicts by NumPy": """
        class Trainer:
            def __init__(self):
                self.net = nn.DataParallel(Net())
                self.optimizer = optim.SGD(self.net.parameters(), lr=0.1)

            def fit(self):
                for epoch in range(4):
                    self.net.train()
                    for x, y in loader:
                        self.optimizer.zero_grad()
                        F.cross_entropy(self.net(x), y).backward()
                        self.optimizer.step()
                    print(self.validate())

            def validate(self):
                hits = []
                for x, y in held_out:
                    guesses = np.argmax(self.net(x).detach().cpu().numpy(), axis=1)  # <-
                    hits.append((guesses == y.numpy()).mean())
                return np.mean(hits)

        Trainer().fit()
        """,
    "closure that sums the loss of held-out data": """
        def main():
            net, criterion = Net(), nn.CrossEntropyLoss()
            optimizer = optim.SGD(net.parameters(), lr=0.1)

            def held_out_loss():
                total = 0.0
                for x, y in held_out:
                    total += criterion(net(x), y).item()  # <-
                return total

            for epoch in range(4):
                for x, y in loader:
                    loss = criterion(net(x), y)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                print(epoch, held_out_loss())

        main()
        """,
    "decoder of another class": """
        class Greedy:
            def decode(self, scores):
                return torch.topk(scores, 1)[1].tolist()

        def main():
            net, greedy = Net().cuda(), Greedy()
            optimizer = optim.SGD(net.parameters(), lr=0.1)
            for epoch in range(4):
                net.train()
                for x, y in loader:
                    F.cross_entropy(net(x), y).backward()
                    optimizer.step()
                errors = 0
                for x, y in held_out:
                    out = net(x)  # <-
                    errors += len(set(greedy.decode(out.data)) ^ set(y))
                print(errors)

        main()
        """,
}

LOOP = """
net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
"""

RIGHT = {
    "eval() before the loop over test data": LOOP
    + """
net.eval()
for x, y in held_out:
    print((torch.max(net(x).data, 1)[1] == y).sum().item())
""",
    "train() before it, on purpose": LOOP
    + """
def evaluate(net):
    net.train()
    return [(net(x).max(1)[1] == y).sum().item() for x, y in held_out]

evaluate(net)
""",
    "a loss of several calls, by stack": LOOP
    + """
for batches in loader:
    losses = []
    for x, y in batches:
        losses.append(F.cross_entropy(net(x), y))
    torch.stack(losses).mean().backward()
    optimizer.step()
""",
    "a loss of several calls, by sum": LOOP
    + """
def validated_step(batches):
    losses = [F.cross_entropy(net(x), y) for x, y in batches]
    sum(losses).backward()
    optimizer.step()

for batches in loader:
    validated_step(batches)
""",
    "a loss in a dictionary": LOOP
    + """
def test_step(batches):
    losses = {}
    for name, (x, y) in batches.items():
        losses[name] = F.cross_entropy(net(x), y)
    return losses

for batches in loader:
    losses = test_step(batches)
    total = sum(losses.values())
    total.backward()
    optimizer.step()
""",
    "a loss kept by an object": LOOP
    + """
class Step:
    def forward(self, x, y):
        self.loss = F.cross_entropy(net(x), y)

    def backward(self):
        self.loss.backward()
        optimizer.step()

step = Step()
for x, y in held_out:
    step.forward(x, y)
    step.backward()
""",
    "forward called by its name in eval mode": LOOP
    + """
net.eval()
for x, y in held_out:
    report((net.forward(x).argmax(1) == y).sum().item())
""",
    "a loss back-propagated by a library": LOOP
    + """
from accelerate import Accelerator
accelerator = Accelerator()
for x, y in held_out:
    loss = F.cross_entropy(net(x), y)
    accelerator.backward(loss)
    optimizer.step()
""",
    "an accuracy beside each training step": """
net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
    print((net(x).argmax(1) == y).float().mean())
""",
    "an attack on the inputs of a training step": """
net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.1)

def perturbed(x, y):
    x = x.clone().requires_grad_()
    for _ in range(10):
        loss = F.cross_entropy(net(x), y)
        x = x + torch.autograd.grad(loss, [x])[0].sign()
    return x

for x, y in loader:
    optimizer.zero_grad()
    F.cross_entropy(net(perturbed(x, y)), y).backward()
    optimizer.step()
""",
    "an attack on the trained net": LOOP
    + """
def test_attack(x, y):
    for _ in range(10):
        loss = F.cross_entropy(net(x), y)
        x = x + torch.autograd.grad(loss, [x])[0].sign()
    return x

for x, y in held_out:
    report(test_attack(x, y))
""",
    "pseudo-labels for the next epoch": """
net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.1)

def predict_labels():
    return [net(x).argmax(1).detach() for x, _ in held_out]

for epoch in range(3):
    labels = predict_labels()
    for (x, _), y in zip(held_out, labels):
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
""",
    "actions of a policy": """
net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.1)
state = batch_of(1)
for step in range(1000):
    action = net(state).argmax(1)
    state, reward = report(action)
    x, y = batch_of(32)
    F.mse_loss(net(x), y).backward()
    optimizer.step()
""",
    "an encoder whose result another net uses": """
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)

net, head = Net(), Head()
optimizer = optim.SGD([*net.parameters(), *head.parameters()], lr=0.1)
for x, y in loader:
    F.cross_entropy(head(net(x)), y).backward()
    optimizer.step()
for x, y in held_out:
    F.cross_entropy(head(net(x).max(1, keepdim=True)[0].expand(-1, 4)), y).backward()
    optimizer.step()
""",
    "a net without dropout and batch norm": """
net = nn.Linear(4, 2)
optimizer = optim.SGD(net.parameters(), lr=0.1)
for x, y in loader:
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
for x, y in held_out:
    report(net(x).argmax(1))
""",
    "a step that a closure takes": LOOP
    + """
for x, y in held_out:
    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        return loss
    optimizer.step(closure)
""",
}


def found(folder: Path, sources: dict[str, str]) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """The lines of REG201 in a scan, and the marked ones; each with the name of its source."""
    marked = set()
    for index, (name, source) in enumerate(sources.items()):
        text = HEADER + dedent(source)
        (folder / f"program{index}.py").write_text(text)
        marked |= {(name, number) for number, line in enumerate(text.splitlines(), 1) if line.endswith("# <-")}
    names = {str(folder / f"program{index}.py"): name for index, name in enumerate(sources)}
    findings = scan([folder]).findings
    return {(names[each.path], each.line) for each in findings if each.path and each.code == "REG201"}, marked


def test_a_decision_of_a_trained_model_in_train_mode_is_found(tmp_path: Path) -> None:
    """A validation with gradients on is found at the model's call, in a script, a class, a closure and below `main`."""
    reported, marked = found(tmp_path, WRONG)
    assert reported == marked


def test_calls_that_may_train_are_no_validation(tmp_path: Path) -> None:
    """A call whose loss may be back-propagated later, or that feeds a training step, is no validation."""
    reported, _ = found(tmp_path, RIGHT)
    assert reported == set()


OBSERVED = {
    "a summary before the training": """
        from torchsummary import summary
        import wandb

        net = Net()
        summary(net, (20,))
        wandb.watch(net)

        @torch.no_grad()
        def evaluate(net):
            for x, y in held_out:
                report(net(x).argmax(1))  # <-

        for x, y in loader:
            F.cross_entropy(net(x), y).backward()
        evaluate(net)
        """,
    "phases without a mode after a summary": """
        from torchinfo import summary

        def fit(net, loaders):
            optimizer = optim.SGD(net.parameters(), lr=0.1)
            criterion = nn.CrossEntropyLoss()
            for epoch in range(10):
                for phase in ("train", "val"):
                    for x, y in loaders[phase]:
                        scores = net(x)  # <-
                        best = torch.max(scores, 1)[1]
                        loss = criterion(scores, y)
                        if phase == "train":
                            optimizer.zero_grad()
                            loss.backward()
                            optimizer.step()
                        else:
                            print((best == y).sum().item())

        net = Net()
        summary(net, (8, 20))
        fit(net, {"train": loader, "val": held_out})
        """,
    "a function of another package that may call eval()": """
        from elsewhere import prepare

        net = Net()
        prepare(net)

        @torch.no_grad()
        def evaluate(net):
            for x, y in held_out:
                report(net(x).argmax(1))

        for x, y in loader:
            F.cross_entropy(net(x), y).backward()
        evaluate(net)
        """,
}


def test_a_summary_leaves_the_mode_alone(tmp_path: Path) -> None:
    """A function that only describes a model does not hide its mode; any other function of a package may set it."""
    reported, marked = found(tmp_path, OBSERVED)
    assert reported == marked
