"""REG209 in source: frozen models whose results others are trained on, and overrides of `train()` that keep nothing."""

from __future__ import annotations

from pathlib import Path

from ..faulty_and_right import found_and_marked

HEADER = """\
import copy
import torch
from torch import nn
from torch.nn import functional as F
from data import loader, read


def encoder_of(width=16):
    maps = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(maps, nn.AdaptiveAvgPool2d(1), nn.Flatten())

class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 5))
    def forward(self, x):
        return self.layers(x)

"""
FEEDS = {
    "script": """
encoder, head = encoder_of(), Head()
optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
&encoder.train()  # <-
#encoder.eval()
head.train()
for x, y in loader:
    with torch.no_grad():
        z = encoder(x)
    loss = F.cross_entropy(head(z), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    "nobody sets a mode": """
def main():
    encoder, head = encoder_of(), Head()
    encoder.load_state_dict(torch.load("weights.pt"))
    #encoder.eval()
    for p in encoder.parameters():
        p.requires_grad = False
    optimizer = torch.optim.Adam(head.parameters())
    for epoch in range(3):
        for x, y in loader:
            loss = F.cross_entropy(head(encoder(x)), y)  # <-
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
main()
""",
    "trainer": """
class Trainer:
    def __init__(self):
        self.encoder, self.head = encoder_of(), Head()
        self.optimizer = torch.optim.Adam(self.head.parameters())
    def fit(self):
        for epoch in range(3):
            &self.encoder.train()  # <-
            #self.encoder.eval()
            self.head.train()
            for x, y in loader:
                with torch.no_grad():
                    z = self.encoder(x).detach()
                loss = F.cross_entropy(self.head(z.view(-1, 16)), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
Trainer().fit()
""",
    "two steps away": """
def main():
    encoder, neck, head = encoder_of(), nn.Sequential(nn.Linear(16, 16), nn.ReLU()), Head()
    optimizer = torch.optim.Adam([*neck.parameters(), *head.parameters()])
    #encoder.eval()
    for x, y in loader:
        with torch.no_grad():
            z = encoder(x)  # <-
        loss = F.cross_entropy(head(neck(z)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
main()
""",
    "pair of images": """
def main():
    encoder, head = encoder_of(8), Head()
    optimizer = torch.optim.Adam(head.parameters())
    #encoder.eval()
    for left, right, y in loader:
        with torch.no_grad():
            z = torch.cat([encoder(left), right], 1)  # <-
        loss = F.cross_entropy(head(z), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
main()
""",
}

OVERRIDES = {
    "an override that sets the mode and nothing else": """
class Task(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = encoder_of(), Head()
        self.encoder.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        #self.encoder.eval()
        return self

    def forward(self, x):
        return self.head(self.encoder(x))

def main():
    task = Task()
    optimizer = torch.optim.SGD(task.head.parameters(), lr=0.1)
    task.train()  # <-
    for x, y in loader:
        loss = F.cross_entropy(task(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

main()
""",
    "an override that keeps another part": """
class Task(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.neck, self.head = encoder_of(), nn.Dropout(0.1), Head()
        for each in self.encoder.parameters():
            each.requires_grad = False

    def train(self, mode=True):
        super().train(mode)
        if mode:
            &self.neck.eval()
            #for each in self.encoder.modules():
                #if isinstance(each, nn.BatchNorm2d):
                    #each.eval()
        return self

    def forward(self, x):
        return self.head(self.neck(self.encoder(x)))

task = Task()
optimizer = torch.optim.Adam(task.parameters())
for epoch in range(3):
    task.train()  # <-
    for x, y in loader:
        loss = F.cross_entropy(task(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    "an override that nobody calls": """
class Task(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = encoder_of(), Head()
        self.encoder.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, x):
        return self.head(self.encoder(x))

task = Task()
optimizer = torch.optim.Adam(task.head.parameters())
#task.train()
for x, y in loader:
    F.cross_entropy(task(x), y).backward()  # <-
    optimizer.step()
    optimizer.zero_grad()
""",
}

SOUND = {
    "a teacher": """
teacher, student = encoder_of(), encoder_of()
optimizer = torch.optim.Adam(student.parameters())
for x, y in loader:
    with torch.no_grad():
        goal = teacher(x)
    loss = F.mse_loss(student(x), goal)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    "gan": """
class G(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16))
    def forward(self, z):
        return self.layers(z)
def main():
    g, d = G(), Head()
    og, od = torch.optim.Adam(g.parameters()), torch.optim.Adam(d.parameters())
    for real in loader:
        with torch.no_grad():
            fake = g(torch.randn(8, 8))
        loss = (d(fake) - d(real)).mean()
        od.zero_grad()
        loss.backward()
        od.step()
        loss = -d(g(torch.randn(8, 8))).mean()
        og.zero_grad()
        loss.backward()
        og.step()
main()
""",
    "momentum encoder whose features go on": """
def main():
    encoder, head = encoder_of(), Head()
    slow = copy.deepcopy(encoder)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()])
    for x, y in loader:
        with torch.no_grad():
            keys = slow(x)
        loss = F.cross_entropy(head(encoder(x)), y) + F.cross_entropy(head(keys), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for a, b in zip(slow.parameters(), encoder.parameters()):
            a.data.mul_(0.9).add_(b.data, alpha=0.1)
main()
""",
    "both trained": """
encoder, head = encoder_of(), Head()
optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1)
for x, y in loader:
    loss = F.cross_entropy(head(encoder(x)), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    "trained before": """
encoder, head = encoder_of(), Head()
first = torch.optim.SGD(encoder.parameters(), lr=0.1)
for x, y in loader:
    F.cross_entropy(encoder(x), y).backward()
    first.step()
optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
for x, y in loader:
    with torch.no_grad():
        z = encoder(x)
    F.cross_entropy(head(z), y).backward()
    optimizer.step()
""",
    "unknown optimizer": """
from other import optimizer_for
encoder, head = encoder_of(), Head()
optimizer = optimizer_for(encoder, head)
for x, y in loader:
    z = encoder(x)
    F.cross_entropy(head(z), y).backward()
    optimizer.step()
""",
    "no norms": """
encoder = nn.Sequential(nn.Linear(3, 16), nn.LayerNorm(16))
head = Head()
optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
for x, y in loader:
    with torch.no_grad():
        z = encoder(x)
    F.cross_entropy(head(z), y).backward()
    optimizer.step()
""",
    "perceptual loss": """
judge = encoder_of()
net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
judge.eval()
for x, y in loader:
    F.mse_loss(judge(net(x)), judge(y)).backward()
    optimizer.step()
""",
}


def test_norms_of_frozen_models_and_under_overrides_are_found(tmp_path: Path) -> None:
    """A frozen model in train mode that feeds one in training is found, and an override that leaves frozen norms on."""
    found, expected = found_and_marked(tmp_path, "REG209", HEADER, FEEDS | OVERRIDES, SOUND)
    assert found == expected
