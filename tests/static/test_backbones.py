"""Backbones of torchvision: their batch norm drifts where they are frozen, and predicts wrongly in train mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.engine.scan import scan

from ..faulty_and_right import marked, marked_form

HEADER = """\
import argparse
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision import models
from data import batches, picture
"""

FROZEN = {
    "features below no_grad in forward": """
class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        resnet = models.resnet152(pretrained=True)
        self.body = nn.Sequential(*list(resnet.children())[:-1])
        self.fc = nn.Linear(resnet.fc.in_features, 300)
        self.norm = nn.BatchNorm1d(300, momentum=0.01)

    def forward(self, x):
        with torch.no_grad():
            x = self.body(x).flatten(1)
        return self.norm(self.fc(x))

def epoch(net, head, optimizer):
    net.train()  # <-
    #net.body.eval()
    for x, y in batches("train"):
        optimizer.zero_grad()
        F.cross_entropy(head(net(x)), y).backward()
        optimizer.step()

net, head = Encoder(), nn.Linear(300, 5)
optimizer = torch.optim.Adam([*net.fc.parameters(), *net.norm.parameters(), *head.parameters()])
for _ in range(10):
    epoch(net, head, optimizer)
""",
    "a new head, at the top of a script": """
net = models.resnet18(weights=models.ResNet18_Weights.DEFAULT)
for parameter in net.parameters():
    parameter.requires_grad = False
net.fc = nn.Linear(net.fc.in_features, 2)
optimizer = torch.optim.SGD(net.fc.parameters(), lr=0.001)
for epoch in range(10):
    net.train()  # <-
    #net.apply(lambda each: each.eval() if isinstance(each, nn.BatchNorm2d) else None)
    for x, y in batches("train"):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
""",
    "all but the last layer, by name": """
def main():
    net = torchvision.models.densenet121(pretrained=True)
    for name, parameter in net.named_parameters():
        if not name.startswith("classifier"):
            parameter.requires_grad_(False)
    net.classifier = nn.Linear(1024, 7)
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, net.parameters()), lr=1e-3)
    &net.train()  # <-
    #net.eval()
    for x, y in batches("train"):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

main()
""",
    "a module around the backbone, and a trainer": """
class Classifier(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = models.mobilenet_v2(weights="DEFAULT")
        self.backbone.requires_grad_(False)
        self.backbone.classifier = nn.Identity()
        self.head = nn.Linear(1280, classes)

    def forward(self, x):
        return self.head(self.backbone(x))

#    def train(self, mode=True):
#        super().train(mode)
#        self.backbone.eval()
#        return self

class Trainer:
    def __init__(self):
        self.net = Classifier(5)
        self.optimizer = torch.optim.AdamW(self.net.head.parameters())

    def fit(self):
        self.net.train()  # <-
        for x, y in batches("train"):
            self.optimizer.zero_grad()
            F.cross_entropy(self.net(x), y).backward()
            self.optimizer.step()

Trainer().fit()
""",
    "an option names the backbone": """
parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="resnet50")
args = parser.parse_args()
net = getattr(models, args.arch)(pretrained=True)
net.requires_grad_(False)
net.fc = nn.Linear(2048, 3)
optimizer = torch.optim.SGD(net.fc.parameters(), lr=0.1)

def epoch():
    net.train()  # <-
    #net.eval()
    for x, y in batches("train"):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

for _ in range(3):
    epoch()
""",
    "a layer of the classifier in place of another": """
net = models.efficientnet_b0(weights="DEFAULT")
for parameter in net.features.parameters():
    parameter.requires_grad = False
net.classifier[1] = nn.Linear(1280, 4)
optimizer = torch.optim.SGD(net.classifier.parameters(), lr=0.1)
net.train()  # <-
#net.features.eval()
for x, y in batches("train"):
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
""",
}

PREDICTING = {
    "weights loaded, nothing trained": """
net = models.resnet50(pretrained=True)
#net.eval()
with torch.no_grad():
    print(net(picture("cat.png").unsqueeze(0)).argmax(1))  # <-
""",
    "an option names the model, in a dictionary of the package": """
def main(args):
    net = torchvision.models.__dict__[args.arch](pretrained=True)
    #net = net.eval()
    with torch.no_grad():
        print(net(picture(args.path)[None]).topk(5))  # <-

parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="resnet18")
parser.add_argument("path")
main(parser.parse_args())
""",
    "a validation that sets no mode": """
def validate(net):
    with torch.no_grad():
        return sum((net(x).argmax(1) == y).sum().item() for x, y in batches("test"))  # <-

net = models.vgg16_bn(num_classes=10).cuda()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(10):
    #net.train()
    for x, y in batches("train"):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    #net.eval()
    print(validate(net))
""",
}

RIGHT = {
    "all of it is trained": """
net = models.resnet18(weights="DEFAULT")
net.fc = nn.Linear(512, 2)
optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
net.train()
for x, y in batches("train"):
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
""",
    "the last stage is trained, the norms before it are kept": """
net = models.resnet18(weights="DEFAULT")
for name, parameter in net.named_parameters():
    parameter.requires_grad = name.startswith(("layer4", "fc"))
optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.001)
net.train()
for each in net.modules():
    if isinstance(each, nn.BatchNorm2d):
        each.eval()
for x, y in batches("train"):
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
""",
    "a backbone without batch norm": """
net = models.convnext_tiny(weights="DEFAULT")
net.requires_grad_(False)
net.head = nn.Linear(768, 2)
optimizer = torch.optim.SGD(net.head.parameters(), lr=0.001)
net.train()
for x, y in batches("train"):
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
""",
    "norms of another class": """
from torchvision.ops.misc import FrozenBatchNorm2d

net = models.resnet50(weights="DEFAULT", norm_layer=FrozenBatchNorm2d)
net.requires_grad_(False)
net.fc = nn.Linear(2048, 2)
optimizer = torch.optim.SGD(net.fc.parameters(), lr=0.001)
net.train()
for x, y in batches("train"):
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
""",
    "a momentum encoder": """
class Pair(nn.Module):
    def __init__(self, build, size=128):
        super().__init__()
        self.query, self.key = build(num_classes=size), build(num_classes=size)
        for one, other in zip(self.query.parameters(), self.key.parameters()):
            other.data.copy_(one.data)
            other.requires_grad = False

    @torch.no_grad()
    def follow(self):
        for one, other in zip(self.query.parameters(), self.key.parameters()):
            other.data = other.data * 0.999 + one.data * 0.001

    def forward(self, x, y):
        query = F.normalize(self.query(x), dim=1)
        with torch.no_grad():
            self.follow()
            key = F.normalize(self.key(y), dim=1)
        return query @ key.T

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", default="resnet50")
    args = parser.parse_args()
    net = Pair(models.__dict__[args.arch])
    optimizer = torch.optim.SGD(net.parameters(), 0.03)
    for epoch in range(200):
        net.train()
        for x, y in batches("train"):
            loss = F.cross_entropy(net(x, y) / 0.07, torch.arange(len(x)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

main()
""",
    "a backbone that its module keeps in eval mode": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = models.resnet50(weights="DEFAULT")
        self.body.fc = nn.Identity()
        self.head = nn.Linear(2048, 2)
        for each in self.body.parameters():
            each.requires_grad = False

    def train(self, mode=True):
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x):
        return self.head(self.body(x))

net = Net()
optimizer = torch.optim.SGD(net.head.parameters(), 0.1)
net.train()
for x, y in batches("train"):
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
""",
    "dropout on pooled features": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*list(models.resnet18(pretrained=True).children())[:-1])
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(512, 2)

    def forward(self, x):
        return self.head(self.drop(self.body(x)).flatten(1))

net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
net.train()
for x, y in batches("train"):
    optimizer.zero_grad()
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print(net(picture("cat.png")).argmax(1))
""",
    "features of a perceptual loss": """
features = models.resnet50(pretrained=True).eval()
for parameter in features.parameters():
    parameter.requires_grad_(False)
net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3))
optimizer = torch.optim.Adam(net.parameters())
net.train()
for x, y in batches("train"):
    loss = F.mse_loss(features(net(x)), features(y))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
}


def _found(folder: Path, program: str) -> set[tuple[str, int | None]]:
    (folder / "program.py").write_text(program)
    return {(each.code, each.line) for each in scan([folder]).findings}


@pytest.mark.parametrize("faulty", [True, False], ids=["faulty", "right"])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        pytest.param(code, text, id=name)
        for code, programs in (("REG209", FROZEN), ("REG201", PREDICTING))
        for name, text in programs.items()
    ],
)
def test_the_batch_norm_of_a_backbone_is_known(tmp_path: Path, code: str, text: str, faulty: bool) -> None:
    """A frozen backbone in train mode is reported, and one that predicts in it; their right twins are silent."""
    program = marked_form(HEADER + text, faulty)
    assert _found(tmp_path, program) == {(code, line) for line in marked(program)}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in RIGHT.items()])
def test_backbones_that_are_used_rightly_are_silent(tmp_path: Path, text: str) -> None:
    """Backbones that are trained, whose norms are kept, that have none, or that only compare features are silent."""
    assert _found(tmp_path, HEADER + text) == set()
