"""The mode of a model whose class is not known: handed in, built by name, or by another package."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.rule import Example
from regcheck.engine.scan import scan

HEADER = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"

STEP = """
def step(net, optimizer, x, y):
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
"""

FORGOTTEN = {
    "handed in, scored by a function of its own": """
def fit(net, data, optimizer):
    net.train()
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

def score(net, data):
    {eval}
    with torch.no_grad():
        return sum((net(x).argmax(1) == y).sum().item() for x, y in data)  # <-

def main(net, data, held_out, optimizer):
    fit(net, data, optimizer)
    print(score(net, held_out))
""",
    "built by another package, at the top of a script": """
import timm
net = timm.create_model("resnet18", num_classes=10)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(3):
    net.train()
    for x, y in load("train"):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
{eval}
hits = 0
with torch.no_grad():
    for x, y in load("test"):
        hits += (net(x).argmax(1) == y).sum().item()  # <-
print(hits)
""",
    "built by a registry, in a main function with arguments": """
import argparse
from models import REGISTRY

def validate(net, loader, device):
    hits = 0
    with torch.inference_mode():
        for x, y in loader:
            hits += (net(x.to(device)).argmax(1) == y.to(device)).sum().item()  # <-
    return hits

def main():
    args = argparse.ArgumentParser().parse_args()
    net = REGISTRY[args.arch](args.classes).to(args.device)
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr)
    for epoch in range(args.epochs):
        net.train()
        for x, y in args.loader:
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        {eval}
        print(epoch, validate(net, args.held_out, args.device))

if __name__ == "__main__":
    main()
""",
    "an attribute of a trainer": """
class Trainer:
    def __init__(self, net, optimizer, train_loader, val_loader):
        self.net, self.optimizer = net, optimizer
        self.train_loader, self.val_loader = train_loader, val_loader

    def train_epoch(self):
        self.net.train()
        for x, y in self.train_loader:
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(x), y).backward()
            self.optimizer.step()

    @torch.no_grad()
    def validate(self):
        {eval}
        total = 0.0
        for x, y in self.val_loader:
            total += F.cross_entropy(self.net(x), y).item()  # <-
        return total

    def fit(self, epochs):
        for epoch in range(epochs):
            self.train_epoch()
            print(epoch, self.validate())
""",
    "closures": """
def run(net, loader, held_out, optimizer):
    def learn():
        net.train()
        for x, y in loader:
            loss = F.mse_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def evaluate():
        with torch.no_grad():
            return sum(F.mse_loss(net(x), y).item() for x, y in held_out)  # <-

    for _ in range(5):
        learn()
        {eval}
        print(evaluate())
""",
    "wrapped, and moved to its device": """
from hydra.utils import instantiate

def main(cfg):
    net = nn.DataParallel(instantiate(cfg.model)).cuda()
    net.train()
    optimizer = instantiate(cfg.optimizer, params=net.parameters())
    for x, y in instantiate(cfg.data):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    {eval}
    predictions = []
    with torch.no_grad():
        for x in instantiate(cfg.test):
            predictions.append(net(x).argmax(1))  # <-
    return torch.cat(predictions)
""",
    "train mode by its argument": """
def learn(model, batches, optimizer):
    model.train(True)
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

def main(model, batches, optimizer):
    learn(model, batches, optimizer)
    {eval}
    with torch.no_grad():
        for x, y in batches:
            print((model(x).argmax(-1) == y).float().mean())  # <-
""",
    "one of two models": """
def build(name):
    if name == "small":
        return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1), nn.Linear(8, 2))
    return nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.Linear(64, 2))

def evaluate(net, loader):
    with torch.no_grad():
        return sum((net(x).argmax(1) == y).sum().item() for x, y in loader)  # <-

def main(args, loader, held_out):
    net = build(args.name)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        {eval}
        print(evaluate(net, held_out))
""",
}
"""Programs that set train mode, train, and predict; in place of `{eval}` the sound twin sets eval mode."""

EVAL = {
    "an attribute of a trainer": "self.net.eval()",
    "train mode by its argument": "model.eval()",
    "handed in, scored by a function of its own": "net.train(False)",
}

LINGERING = {
    "handed in": """
def validate(net, held_out):
    net.eval()
    with torch.no_grad():
        return sum(F.mse_loss(net(x), y).item() for x, y in held_out)

def train(net, data, held_out, optimizer):
    net.train()
    for epoch in range(3):
        for x, y in data:
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)  # <-
            loss.backward()
            optimizer.step()
        print(epoch, validate(net, held_out))
        {train}
""",
    "at the top of a script": """
from transformers import AutoModelForSequenceClassification
net = AutoModelForSequenceClassification.from_pretrained("bert-base-uncased")
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
net.train()
for step, batch in enumerate(load()):
    loss = net(**batch).loss  # <-
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        net.eval()
        with torch.no_grad():
            for other in load():
                print(net(**other).loss.item())
        {train}
""",
    "an attribute of a trainer": """
class Trainer:
    def __init__(self, net, loader, held_out):
        self.net = net
        self.loader, self.held_out = loader, held_out
        self.optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def check(self):
        self.net.eval()
        with torch.no_grad():
            return [self.net(x).argmax(1) for x, _ in self.held_out]

    def run(self, epochs):
        self.net.train()
        for _ in range(epochs):
            for x, y in self.loader:
                loss = F.cross_entropy(self.net(x), y)  # <-
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            self.check()
            {train}
""",
    "closures": """
def experiment(factory, batches, optimizer_of):
    net = factory()
    optimizer = optimizer_of(net.parameters())

    def look():
        net.eval()
        with torch.no_grad():
            print([F.cross_entropy(net(x), y).item() for x, y in batches])

    net.train()
    for epoch in range(4):
        for x, y in batches:
            loss = F.cross_entropy(net(x), y)  # <-
            loss.backward()
            optimizer.step()
        look()
        {train}
""",
    "a main function with arguments": """
import argparse
from zoo import build_model

def evaluate(model, loader):
    model.eval()
    hits = 0
    for x, y in loader:
        with torch.no_grad():
            hits += (model(x).argmax(1) == y).sum()
    return hits

def main():
    args = argparse.ArgumentParser().parse_args()
    model = build_model(args)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    model.train()
    for epoch in range(args.epochs):
        for x, y in args.train:
            loss = F.cross_entropy(model(x), y)  # <-
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(evaluate(model, args.val))
        {train}

main()
""",
    "a step in a function of its own": """
def update(net, optimizer, x, y):
    loss = F.cross_entropy(net(x), y)  # <-
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

def fit(net, optimizer, batches, held_out):
    net.train()
    for index, (x, y) in enumerate(batches):
        update(net, optimizer, x, y)
        if index % 50 == 0:
            net.eval()
            with torch.no_grad():
                print([net(x).argmax(1) for x, _ in held_out])
            {train}
""",
}
"""Programs whose validation leaves eval mode on; in place of `{train}` the sound twin sets train mode."""

TRAIN = {"an attribute of a trainer": "self.net.train()", "a main function with arguments": "model.train()"}

SOUND = {
    "nobody asks for a mode": """
def fit(net, data, held_out, optimizer):
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        print([(net(x).argmax(1) == y).float().mean().item() for x, y in held_out])
""",
    "nobody asks for train mode": """
def validate(net, held_out):
    net.eval()
    with torch.no_grad():
        return sum(F.mse_loss(net(x), y).item() for x, y in held_out)

def train(net, data, held_out, optimizer):
    for epoch in range(3):
        for x, y in data:
            optimizer.zero_grad()
            F.mse_loss(net(x), y).backward()
            optimizer.step()
        print(epoch, validate(net, held_out))
""",
    "a validation that nobody calls": """
def train_epoch(net, data, optimizer):
    net.train()
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

def validate(net, held_out):
    with torch.no_grad():
        return sum((net(x).argmax(1) == y).sum().item() for x, y in held_out)
""",
    "a teacher of its own": """
import copy

def distill(student, data, optimizer):
    teacher = copy.deepcopy(student)
    student.train()
    teacher.train()
    for x in data:
        with torch.no_grad():
            target = teacher(x).softmax(-1)
        loss = F.kl_div(student(x).log_softmax(-1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    "pseudo-labels of each batch by a helper": """
def guess(net, x):
    with torch.no_grad():
        return net(x).argmax(1)

def learn(net, data, optimizer):
    net.train()
    for x in data:
        labels = guess(net, x)
        loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    "a generator and a discriminator": """
def train(generator, discriminator, data, g_optimizer, d_optimizer):
    generator.train()
    discriminator.train()
    for real in data:
        with torch.no_grad():
            fake = generator(torch.randn(8, 16))
        loss = discriminator(fake).mean() - discriminator(real).mean()
        d_optimizer.zero_grad()
        loss.backward()
        d_optimizer.step()
        loss = -discriminator(generator(torch.randn(8, 16))).mean()
        g_optimizer.zero_grad()
        loss.backward()
        g_optimizer.step()
""",
    "statistics estimated again": """
def recalibrate(net, data):
    net.train()
    with torch.no_grad():
        for x, _ in data:
            net(x)

def fit(net, data, optimizer):
    net.train()
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    recalibrate(net, data)
""",
    "a framework sets the mode": """
def fit(engine, net, data, optimizer):
    net.train()
    for x, y in data:
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    engine.before_validation(net)
    with torch.no_grad():
        print([net(x).argmax(1) for x, _ in data])
""",
    "another object has the model": """
from elsewhere import Engine

def fit(net, data, optimizer):
    engine = Engine(net)
    net.train()
    for x, y in data:
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    engine.switch("test")
    with torch.no_grad():
        print([net(x).argmax(1) for x, _ in data])
""",
    "a context manager of the program": """
from contextlib import contextmanager

@contextmanager
def evaluating(net):
    net.eval()
    try:
        yield
    finally:
        net.train()

def fit(net, data, held_out, optimizer):
    net.train()
    for x, y in data:
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    with evaluating(net), torch.no_grad():
        print([net(x).argmax(1) for x, _ in held_out])
""",
    "a class of context managers": """
class Evaluating:
    def __init__(self, net):
        self.net = net

    def __enter__(self):
        self.net.eval()

    def __exit__(self, *error):
        self.net.train()

def fit(net, data, held_out, optimizer):
    net.train()
    for x, y in data:
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    with Evaluating(net), torch.no_grad():
        print([net(x).argmax(1) for x, _ in held_out])
""",
    "a decorator of the program": """
import functools

def in_eval_mode(method):
    @functools.wraps(method)
    def run(self, *args):
        self.net.eval()
        try:
            return method(self, *args)
        finally:
            self.net.train()
    return run

class Trainer:
    def __init__(self, net, optimizer):
        self.net, self.optimizer = net, optimizer

    @in_eval_mode
    @torch.no_grad()
    def validate(self, held_out):
        return [self.net(x).argmax(1) for x, _ in held_out]

    def fit(self, data, held_out):
        self.net.train()
        for x, y in data:
            F.cross_entropy(self.net(x), y).backward()
            self.optimizer.step()
        print(self.validate(held_out))
""",
    "a mode that follows the phase": """
def run(net, loaders, optimizer):
    for epoch in range(3):
        for phase in ("train", "val"):
            net.train(phase == "train")
            for x, y in loaders[phase]:
                with torch.set_grad_enabled(phase == "train"):
                    loss = F.cross_entropy(net(x), y)
                if phase == "train":
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                print(loss.item())
""",
    "all models of a trainer": """
class Trainer:
    def __init__(self, encoder, decoder, optimizer):
        self.models = {"encoder": encoder, "decoder": decoder}
        self.encoder, self.decoder, self.optimizer = encoder, decoder, optimizer

    def set_train(self):
        for each in self.models.values():
            each.train()

    def set_eval(self):
        for each in self.models.values():
            each.eval()

    def run(self, loader, held_out):
        self.set_train()
        for x, y in loader:
            F.mse_loss(self.decoder(self.encoder(x)), y).backward()
            self.optimizer.step()
        self.set_eval()
        with torch.no_grad():
            print([F.mse_loss(self.decoder(self.encoder(x)), y).item() for x, y in held_out])
""",
    "a base class elsewhere sets the mode": """
from elsewhere import Base

class Trainer(Base):
    def __init__(self, net, optimizer):
        self.net, self.optimizer = net, optimizer

    def fit(self, data, held_out):
        self.net.train()
        for x, y in data:
            F.cross_entropy(self.net(x), y).backward()
            self.optimizer.step()
        self.before_validation()
        with torch.no_grad():
            print([self.net(x).argmax(1) for x, _ in held_out])
""",
    "eval by another name": """
def fit(net, data, held_out, optimizer, mode):
    net.train()
    for x, y in data:
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    {switch}
    with torch.no_grad():
        print([net(x).argmax(1) for x, _ in held_out])
""",
    "fine-tuned on fixed statistics": """
def tune(net, data, held_out, optimizer):
    net.train()
    net.eval()
    for x, y in data:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        print([net(x).argmax(1) for x, _ in held_out])
""",
    "a part is kept in eval mode": """
def tune(net, data, held_out, optimizer):
    net.train()
    net.backbone.eval()
    for x, y in data:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        print([net(x).argmax(1) for x, _ in held_out])
""",
    "eval mode for the model within": """
def tune(accelerator, net, data, held_out, optimizer):
    net, optimizer = accelerator.prepare(net, optimizer)
    net.train()
    for x, y in data:
        accelerator.backward(F.cross_entropy(net(x), y))
        optimizer.step()
    accelerator.unwrap_model(net).eval()
    with torch.no_grad():
        print([net(x).argmax(1) for x, _ in held_out])
""",
}

SWITCHES = ("net.eval()", "off = net.eval; off()", "getattr(net, 'eval')()", "getattr(net, mode)()", "mode(net.eval)")


def switches(program: str) -> tuple[str, ...]:
    """The ways to set eval mode that a program is written with: one where it does not matter."""
    return SWITCHES if "{switch}" in program else SWITCHES[:1]


PROGRAMS = {
    **{f"forgotten: {name}": text.replace("{eval}", "pass") for name, text in FORGOTTEN.items()},
    **{
        f"not forgotten: {n}": t.replace("{eval}", EVAL.get(n, "net.eval()")).replace("# <-", "")
        for n, t in FORGOTTEN.items()
    },
    **{f"lingering: {name}": text.replace("{train}", "pass") for name, text in LINGERING.items()},
    **{
        f"not lingering: {n}": t.replace("{train}", TRAIN.get(n, "net.train()")).replace("# <-", "")
        for n, t in LINGERING.items()
    },
    **{
        f"{name}: {switch}": text.replace("{switch}", switch)
        for name, text in SOUND.items()
        for switch in switches(text)
    },
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, int]]]:
    """The findings in each program, from one scan of all."""
    folder = tmp_path_factory.mktemp("programs")
    paths = {folder / f"program_{index}.py": name for index, name in enumerate(PROGRAMS)}
    for path, name in paths.items():
        path.write_text(HEADER + PROGRAMS[name])
    findings: dict[str, set[tuple[str, int]]] = {name: set() for name in PROGRAMS}
    report = scan([folder])
    assert not report.not_checked
    for each in report.findings:
        findings[paths[Path(each.path)]].add((each.code, each.line))
    return findings


@pytest.mark.parametrize("name", PROGRAMS)
def test_exactly_the_marked_lines_are_reported(found: dict[str, set[tuple[str, int]]], name: str) -> None:
    """A mode that its own `train()` contradicts is reported, whatever the model is; its twin is not."""
    code = "REG206" if name.startswith("lingering") else "REG201"
    assert found[name] == {(code, line) for line in Example(HEADER + PROGRAMS[name]).marked}
