"""REG209: programs that fine-tune with frozen norms in train mode, and the same programs with the norms kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Severity, Verdict
from regcheck.engine.scan import scan
from regcheck.session.block import watch

from .faulty_and_right import marked, marked_form

PRELUDE = """\
import argparse
import copy
import itertools

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)


class Stage(nn.Module):
    def __init__(self, inner, outer):
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outer)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Birds(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Stage(3, 6)
        self.features = nn.Sequential(Stage(6, 6), Stage(6, 8))
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.drop(self.features(self.stem(x)).mean((2, 3))))


batches = [(2 + torch.randn(4, 3, 6, 6), torch.tensor([0, 1, 2, 0])) for _ in range(3)]


"""

LOOPS = {
    "an encoder that no optimizer holds": """
encoder = nn.Sequential(Stage(3, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten())
head = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
optimizer = torch.optim.Adam(head.parameters())
&encoder.train()  # <-
#encoder.eval()
for x, y in batches:
    with torch.no_grad():
        features = encoder(x)
    optimizer.zero_grad()
    F.cross_entropy(head(features), y).backward()
    optimizer.step()
""",
    "a frozen encoder with gradients on, below a function train()": """
encoder = nn.Sequential(Stage(3, 6), nn.AdaptiveAvgPool2d(1), nn.Flatten()).requires_grad_(False)
head = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

def train(encoder, head):
    optimizer = torch.optim.Adam(head.parameters())
    &encoder.train()  # <-
    #encoder.eval()
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(head(encoder(x)), y).backward()
        optimizer.step()

train(encoder, head)
""",
    "a script that freezes by name": """
net = Birds()
for name, parameter in net.named_parameters():
    if "head" not in name:
        parameter.requires_grad = False
optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, net.parameters()), lr=0.1)
net.train()  # <-
#net.stem.eval()
#net.features.eval()
for x, y in batches:
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
""",
    "a script that decides by names in a list": """
net = Birds()
trained = ["head.weight", "head.bias"]
for name, parameter in net.named_parameters():
    parameter.requires_grad = name in trained
optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad])
for epoch in range(2):
    net.train()  # <-
    #for each in (net.stem, net.features):
    #    each.eval()
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
""",
    "a trainer class with a method that freezes": """
class Trainer:
    def __init__(self, net):
        self.net = net
        self.freeze()
        self.optimizer = torch.optim.SGD(self.net.head.parameters(), lr=0.1)
    def freeze(self):
        for part in (self.net.stem, self.net.features):
            for parameter in part.parameters():
                parameter.requires_grad_(False)
    def keep(self):
        self.net.stem.eval()
        self.net.features.eval()
    def epoch(self):
        self.net.train()  # <-
        #self.keep()
        for x, y in batches:
            loss = F.cross_entropy(self.net(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
    @torch.no_grad()
    def score(self):
        self.net.eval()
        return sum((self.net(x).argmax(1) == y).float().mean().item() for x, y in batches)
    def fit(self, epochs):
        for _ in range(epochs):
            self.epoch()
            print(self.score())
Trainer(Birds()).fit(2)
""",
    "closures": """
def experiment():
    net = Birds()
    net.requires_grad_(False)
    net.head.requires_grad_(True)
    optimizer = torch.optim.SGD(net.head.parameters(), lr=0.1)
    def begin():
        net.train()  # <-
        #net.stem.eval(), net.features.eval()
    def step(x, y):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    begin()
    return [step(x, y) for x, y in batches]
print(experiment())
""",
    "arguments from a command line": """
def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=2)
    return parser.parse_args([])
def train_one_epoch(net, optimizer):
    net.train()  # <-
    #net.stem.eval()
    #net.features.eval()
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
def main():
    args = parse()
    net = Birds()
    for name, parameter in net.named_parameters():
        if name.startswith(("stem", "features")):
            parameter.requires_grad = False
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=args.lr)
    for epoch in range(args.epochs):
        train_one_epoch(net, optimizer)
main()
""",
    "cells of a notebook, layers counted": """
net = nn.Sequential(
    nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
)
for layer in list(net.children())[:2]:
    for parameter in layer.parameters():
        parameter.requires_grad = False
optimizer = torch.optim.RMSprop(net[5].parameters(), lr=0.01)
net.train()  # <-
#net[1].eval()
losses = []
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
""",
    "a module with training steps and a small trainer": """
class Probe(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(Stage(3, 6), Stage(6, 8))
        self.head = nn.Linear(8, 3)
        for parameter in self.encoder.parameters():
            parameter.requires_grad = False
    def forward(self, x):
        return self.head(self.encoder(x).mean((2, 3)))
    def training_step(self, batch):
        x, y = batch
        return F.cross_entropy(self(x), y)
    def configure_optimizers(self):
        return torch.optim.SGD(self.head.parameters(), lr=0.1)
    def on_train_epoch_start(self):
        #self.encoder.eval()
        pass
class Loop:
    def fit(self, module, epochs=2):
        optimizer = module.configure_optimizers()
        for _ in range(epochs):
            module.train()  # <-
            module.on_train_epoch_start()
            for batch in batches:
                loss = module.training_step(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
Loop().fit(Probe())
""",
    "left out of the optimizer": """
net = Birds()
optimizer = torch.optim.SGD([{"params": net.head.parameters(), "lr": 0.1}])
for epoch in range(2):
    net.train()  # <-
    #net.stem.eval()
    #net.features.eval()
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    "no mode is set": """
net = Birds()
net.stem.requires_grad_(False)
net.features.requires_grad_(False)
#net.stem.eval()
#net.features.eval()
optimizer = torch.optim.SGD(net.head.parameters(), lr=0.1)
for x, y in batches:
    loss = F.cross_entropy(net(x), y)  # <-
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    "the first stages of a network": """
def build():
    net = Birds()
    for index, child in enumerate(net.children()):
        if index < 1:
            for parameter in child.parameters():
                parameter.requires_grad = False
    return net
def fit(net):
    optimizer = torch.optim.SGD((p for p in net.parameters() if p.requires_grad), lr=0.1)
    net.train()  # <-
    #net.stem.eval()
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
fit(build())
""",
    "in eval mode until the first validation": """
net = Birds()
for part in (net.stem, net.features):
    part.requires_grad_(False)
def validate(net):
    net.eval()
    with torch.no_grad():
        return sum((net(x).argmax(1) == y).sum().item() for x, y in batches)
optimizer = torch.optim.SGD(net.head.parameters(), lr=0.1)
net.stem.eval()
net.features.eval()
for epoch in range(2):
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(validate(net))
    net.train()  # <-
    #net.stem.eval()
    #net.features.eval()
""",
    "a validation that restores the whole model": """
net = Birds()
for part in (net.stem, net.features):
    part.requires_grad_(False)
    part.eval()
def validate(net):
    net.eval()
    with torch.no_grad():
        hits = sum((net(x).argmax(1) == y).sum().item() for x, y in batches)
    net.train()  # <-
    #net.stem.eval()
    #net.features.eval()
    return hits
optimizer = torch.optim.SGD(net.head.parameters(), lr=0.1)
for epoch in range(2):
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(validate(net))
""",
    "batch norms frozen in a constructor": """
class Masks(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Stage(3, 6), Stage(6, 6))
        self.out = nn.Conv2d(6, 2, 1)
        self.freeze_bn()
    def freeze_bn(self):
        for module in self.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.eval()
    def forward(self, x):
        return self.out(self.body(x))
masks = Masks()
optimizer = torch.optim.SGD(masks.parameters(), lr=0.01)
for epoch in range(2):
    masks.train()  # <-
    #masks.freeze_bn()
    for x, _ in batches:
        loss = masks(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    "batch norms frozen by a function, weights too": """
def freeze_norms(net):
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.weight.requires_grad = False
            module.bias.requires_grad = False
def fit(net, epochs):
    &freeze_norms(net)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(epochs):
        net.train()  # <-
        #freeze_norms(net)
        for x, y in batches:
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
fit(Birds(), 2)
""",
    "batch norms frozen by apply": """
def set_eval(module):
    if isinstance(module, nn.BatchNorm2d):
        module.eval()
net = Birds()
&net.apply(set_eval)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
net.train()  # <-
#net.apply(set_eval)
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    "batch norms frozen by the names of their classes": """
def fix_norms(module):
    name = module.__class__.__name__
    if name.find("BatchNorm") != -1:
        module.eval()
def main():
    net = Birds()
    &net.apply(fix_norms)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.train()  # <-
    #net.apply(fix_norms)
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
main()
""",
    "batch norms frozen by their types": """
class Tuning:
    def __init__(self):
        self.net = Birds()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
    def freeze(self):
        for module in self.net.modules():
            if type(module) == nn.BatchNorm2d:
                module.eval()
    def run(self):
        &self.freeze()
        self.net.train(True)  # <-
        #self.freeze()
        for x, y in batches:
            loss = F.cross_entropy(self.net(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
Tuning().run()
""",
    "the tutorial of transfer learning": """
def set_parameter_requires_grad(model, feature_extracting):
    if feature_extracting:
        for param in model.parameters():
            param.requires_grad = False
def initialize(num_classes, feature_extract):
    model = Birds()
    set_parameter_requires_grad(model, feature_extract)
    model.head = nn.Linear(8, num_classes)
    return model
def train_model(model, dataloaders, criterion, optimizer, num_epochs=2):
    best = copy.deepcopy(model.state_dict())
    for epoch in range(num_epochs):
        for phase in ["train", "val"]:
            if phase == "train":
                model.train()  # <-
                #model.stem.eval(), model.features.eval()
            else:
                model.eval()
            running = 0
            for inputs, labels in dataloaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    _, preds = torch.max(outputs, 1)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running += torch.sum(preds == labels.data)
    return model
model = initialize(3, True)
params = []
for name, param in model.named_parameters():
    if param.requires_grad == True:
        params.append(param)
optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9)
train_model(model, {"train": batches, "val": batches}, nn.CrossEntropyLoss(), optimizer)
""",
    "parameters of several parts, and an optimizer with a closure": """
net = Birds()
for parameter in itertools.chain(net.stem.parameters(), net.features.parameters()):
    parameter.requires_grad = False
optimizer = torch.optim.LBFGS(net.head.parameters(), lr=0.1)
net.train()  # <-
#[part.eval() for part in (net.stem, net.features)]
for x, y in batches:
    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        return loss
    optimizer.step(closure)
""",
    "a flag that freezes": """
parser = argparse.ArgumentParser()
parser.add_argument("--freeze", action="store_true", default=True)
args = parser.parse_args([])
net = Birds()
if args.freeze:
    net.stem.requires_grad_(False)
    net.features.requires_grad_(False)
optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
for epoch in range(2):
    net.train()  # <-
    #if args.freeze:
    #    net.stem.eval()
    #    net.features.eval()
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    "a flag that freezes batch norms": """
parser = argparse.ArgumentParser()
parser.add_argument("--freeze-bn", action="store_true", default=True)
args = parser.parse_args([])
def freeze_bn(net):
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
net = Birds()
&if args.freeze_bn:
&    freeze_bn(net)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(2):
    net.train()  # <-
    #if args.freeze_bn:
    #    freeze_bn(net)
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    "a part in eval mode ahead of the training": """
def run(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    &net.features.eval()
    for _ in range(2):
        net.train()  # <-
        #net.features.eval()
        for x, y in batches:
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
run(Birds())
""",
}
"""Lines that begin with `&` stand in the faulty program only, lines that begin with `#` in the right one only."""

STEP = """
def fit(net, optimizer, passes=1):
    for _ in range(passes):
        for x, y in batches:
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
"""

RIGHT = {
    "train() of a part keeps it": """
class Frozen(nn.Sequential):
    def train(self, mode=True):
        return super().train(False)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Frozen(Stage(3, 6), Stage(6, 8))
        self.head = nn.Linear(8, 3)
        self.backbone.requires_grad_(False)
    def forward(self, x):
        return self.head(self.backbone(x).mean((2, 3)))
net = Net()
net.train()
fit(net, torch.optim.SGD(net.head.parameters(), lr=0.1))
""",
    "train() of a part is replaced": """
def disabled_train(self, mode=True):
    return self
net = Birds()
for part in (net.stem, net.features):
    part.eval()
    part.train = disabled_train.__get__(part)
    part.requires_grad_(False)
net.train()
fit(net, torch.optim.SGD(net.head.parameters(), lr=0.1))
""",
    "the norms are what is tuned": """
net = Birds()
for name, parameter in net.named_parameters():
    parameter.requires_grad = ".bn." in name
net.train()
fit(net, torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1))
""",
    "only the scales and shifts are frozen": """
net = Birds()
for module in net.modules():
    if isinstance(module, nn.BatchNorm2d):
        for parameter in module.parameters():
            parameter.requires_grad = False
net.train()
fit(net, torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1))
""",
    "thawed later in the program": """
net = Birds()
net.stem.requires_grad_(False)
net.features.requires_grad_(False)
net.train()
fit(net, torch.optim.SGD(net.head.parameters(), lr=0.1))
for parameter in net.parameters():
    parameter.requires_grad = True
fit(net, torch.optim.SGD(net.parameters(), lr=0.01))
""",
    "trained by another optimizer": """
net = Birds()
parts = torch.optim.SGD([*net.stem.parameters(), *net.features.parameters()], lr=0.01)
head = torch.optim.SGD(net.head.parameters(), lr=0.1)
net.train()
fit(net, head)
fit(net, parts)
""",
    "a generative pair, each frozen for the other's step": """
class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))
        self.critic = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    def forward(self, z):
        return self.critic(self.generator(z))
pair = Pair()
to_generate = torch.optim.Adam(pair.generator.parameters(), lr=1e-3)
to_judge = torch.optim.Adam(pair.critic.parameters(), lr=1e-3)
pair.train()
for _ in range(3):
    pair.critic.requires_grad_(False)
    loss = -pair(torch.randn(5, 4)).mean()
    to_generate.zero_grad()
    loss.backward()
    to_generate.step()
    pair.critic.requires_grad_(True)
    pair.generator.requires_grad_(False)
    loss = pair(torch.randn(5, 4)).mean()
    to_judge.zero_grad()
    loss.backward()
    to_judge.step()
    pair.generator.requires_grad_(True)
""",
    "a moving average of the encoder beside it": """
class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))
        self.predictor = nn.Linear(8, 8)
        self.target = copy.deepcopy(self.online)
        for parameter in self.target.parameters():
            parameter.requires_grad = False
    @torch.no_grad()
    def follow(self):
        for fast, slow in zip(self.online.parameters(), self.target.parameters()):
            slow.data.mul_(0.9).add_(fast.data, alpha=0.1)
    def forward(self, one, other):
        with torch.no_grad():
            aim = self.target(other)
        return F.mse_loss(self.predictor(self.online(one)), aim)
views = Views()
optimizer = torch.optim.SGD([p for p in views.parameters() if p.requires_grad], lr=0.05)
views.train()
for _ in range(3):
    loss = views(torch.randn(5, 6), torch.randn(5, 6))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    views.follow()
""",
    "a norm without scale in front of the head": """
class LinearProbe(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.encoder.requires_grad_(False)
        self.head = nn.Sequential(nn.BatchNorm1d(8, affine=False, eps=1e-6), nn.Linear(8, 3))
    def forward(self, x):
        return self.head(self.encoder(x))
net = LinearProbe()
net.train()
fit(net, torch.optim.SGD(net.head.parameters(), lr=0.1))
""",
    "a norm without scale in front of the head, side by side": """
net = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    nn.BatchNorm1d(8, affine=False), nn.Linear(8, 3),
)
net[0].requires_grad_(False)
net.train()
fit(net, torch.optim.SGD(net[5].parameters(), lr=0.1))
""",
    "norms without a momentum": """
net = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=None), nn.ReLU(),
    nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, momentum=None), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
)
for parameter in net.parameters():
    parameter.requires_grad = False
net[7].requires_grad_(True)
net.train()
fit(net, torch.optim.SGD(net[7].parameters(), lr=0.1))
""",
    "the norms adapt on purpose": """
net = Birds()
net.requires_grad_(False)
net.head.requires_grad_(True)
net.eval()
for module in net.modules():
    if isinstance(module, nn.BatchNorm2d):
        module.train()
fit(net, torch.optim.SGD(net.head.parameters(), lr=0.1))
""",
    "behind adapters that are trained": """
class Adapted(nn.Module):
    def __init__(self):
        super().__init__()
        self.adapter = nn.Conv2d(3, 3, 1)
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)
    def forward(self, x):
        return self.head(self.bn(self.conv(self.adapter(x))).mean((2, 3)))
net = Adapted()
net.conv.requires_grad_(False)
net.bn.requires_grad_(False)
net.train()
fit(net, torch.optim.SGD([*net.adapter.parameters(), *net.head.parameters()], lr=0.1))
""",
    "test-time adaptation": """
net = Birds()
net.train()
net.requires_grad_(False)
tuned = []
for module in net.modules():
    if isinstance(module, nn.BatchNorm2d):
        module.requires_grad_(True)
        tuned += [module.weight, module.bias]
optimizer = torch.optim.Adam(tuned, lr=1e-3)
for x, _ in batches:
    logits = net(x)
    loss = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    "recalibrated without gradients": """
net = Birds()
net.requires_grad_(False)
net.head.requires_grad_(True)
net.train()
with torch.no_grad():
    for x, _ in batches:
        net(x)
net.eval()
fit(net, torch.optim.SGD(net.head.parameters(), lr=0.1))
""",
    "nothing is trained": """
net = Birds()
net.requires_grad_(False)
net.train()
noise = torch.zeros(4, 3, 6, 6, requires_grad=True)
attack = torch.optim.SGD([noise], lr=0.1)
for x, y in batches:
    loss = -F.cross_entropy(net(x + noise), y)
    attack.zero_grad()
    loss.backward()
    attack.step()
""",
    "predicted with in eval mode, then trained": """
net = Birds()
net.features.eval()
with torch.no_grad():
    print(net.features(torch.zeros(1, 6, 4, 4)).mean())
net.train()
fit(net, torch.optim.SGD(net.parameters(), lr=0.1))
""",
    "a loaded part in eval mode by habit": """
features = nn.Sequential(Stage(3, 6), Stage(6, 8))
features.load_state_dict(features.state_dict())
features.eval()
net = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
net.train()
fit(net, torch.optim.SGD(net.parameters(), lr=0.1))
""",
    "frozen for the first epochs": """
net = Birds()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(3):
    net.train()
    if epoch < 1:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    fit(net, optimizer)
""",
    "train() calls the method that freezes": """
class Net(Birds):
    def __init__(self):
        super().__init__()
        self.freeze_norms()
    def freeze_norms(self):
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eval()
    def train(self, mode=True):
        super().train(mode)
        self.freeze_norms()
        return self
net = Net()
net.train()
fit(net, torch.optim.SGD(net.parameters(), lr=0.1))
""",
    "statistics that do not move": """
net = Birds()
for m in net.modules():
    if isinstance(m, nn.BatchNorm2d):
        m.momentum = 0.0
net.stem.requires_grad_(False)
net.features.requires_grad_(False)
net.train()
fit(net, torch.optim.SGD(net.head.parameters(), lr=0.1))
""",
    "a context manager keeps them": """
import contextlib
@contextlib.contextmanager
def fixed(net):
    net.stem.eval()
    net.features.eval()
    yield
    net.train()
net = Birds()
net.stem.requires_grad_(False)
net.features.requires_grad_(False)
net.train()
with fixed(net):
    fit(net, torch.optim.SGD(net.head.parameters(), lr=0.1))
""",
    "a teacher that begins as the student": """
class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.student = nn.Sequential(Stage(3, 6), Stage(6, 8))
        self.teacher = nn.Sequential(Stage(3, 6), Stage(6, 8))
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
    def forward(self, x):
        return F.mse_loss(self.student(x), self.teacher(x.flip(3)))
pair = Pair()
pair.train()
optimizer = torch.optim.SGD(pair.student.parameters(), lr=0.1)
loss = pair(batches[0][0])
loss.backward()
optimizer.step()
""",
    "another norm": """
from functools import partial
class B(nn.Module):
    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = norm(8)
        self.fc = nn.Linear(8, 3)
    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))
net = B(norm=partial(nn.GroupNorm, 4))
for n, p in net.named_parameters():
    p.requires_grad = n.startswith("fc")
net.train()
fit(net, torch.optim.SGD(net.fc.parameters(), lr=0.1))
""",
    "norms that are fixed by their class": """
class Fixed(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(False)
class Fixed2(nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)
net = nn.Sequential(
    nn.Conv2d(3, 8, 3), Fixed(8), nn.Conv2d(8, 8, 1), Fixed2(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
)
for p in net.parameters():
    p.requires_grad = False
net[6].requires_grad_(True)
net.train()
fit(net, torch.optim.SGD(net[6].parameters(), lr=0.1))
""",
    "trained whole": """
net = Birds()
for parameter in net.parameters():
    parameter.requires_grad = True
net.train()
fit(net, torch.optim.SGD(net.parameters(), lr=0.1))
""",
}


def variant(loop: str, faulty: bool) -> str:
    """The faulty or the right form of a program."""
    return PRELUDE + marked_form(loop, faulty) + "\n"


PROGRAMS = {
    **{f"{name} (faulty)": variant(loop, True) for name, loop in LOOPS.items()},
    **{f"{name} (right)": variant(loop, False) for name, loop in LOOPS.items()},
    **{name: PRELUDE + STEP + program for name, program in RIGHT.items()},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs")
    for number, source in enumerate(PROGRAMS.values()):
        (path / f"program_{number}.py").write_text(source, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scanned(folder: Path) -> dict[str, set[tuple[str, int]]]:
    found: dict[str, set[tuple[str, int]]] = {}
    for each in scan([folder]).findings:
        found.setdefault(Path(each.path or "").name, set()).add((each.code, each.line or 0))
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_scan_reports_where_frozen_norms_move(name: str, scanned: dict[str, set[tuple[str, int]]]) -> None:
    """A scan reports the `train()` that puts frozen norms in train mode, and nothing in a program that is right."""
    number = [*PROGRAMS].index(name)
    assert scanned.get(f"program_{number}.py", set()) == {("REG209", line) for line in marked(PROGRAMS[name])}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_run_confirms_that_frozen_norms_move(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run reports the same line, measured on the program's own batch, and nothing in a program that is right."""
    monkeypatch.chdir(folder)
    source = PROGRAMS[name]
    path = folder / f"program_{[*PROGRAMS].index(name)}.py"
    with watch({"devices": ["cpu"]}) as watched:
        exec(compile(source, str(path), "exec"), {"__name__": "program"})
    found = {(each.code, each.line, each.severity, each.evidence.verdict) for each in watched.report.findings}
    assert found == {("REG209", line, Severity.WARNING, Verdict.CONFIRMED) for line in marked(source)}
    assert [each.reason for each in watched.report.not_checked] == []
