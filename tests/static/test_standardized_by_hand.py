"""REG205 in source: forwards that standardize by statistics of their batch, and right twins of them."""

from __future__ import annotations

import pytest

from ..faulty_and_right import form, marked, scanned_lines

HEADER = """\
import torch
from torch import nn
import torch.nn.functional as F
"""

SOURCES = {
    "a script": """
class Wells(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(9, 24), nn.ReLU(), nn.Linear(24, 1))
    def forward(self, x):
        &x = (x - x.mean(0)) / (x.std(0) + 1e-5)  # <-
        #x = (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5)
        return self.layers(x)
net = Wells()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
for _ in range(3):
    F.mse_loss(net(torch.randn(8, 9)), torch.randn(8, 1)).backward()
    optimizer.step()
net.eval()
""",
    "a trainer of a class": """
class Loans(nn.Module):
    def __init__(self, width=9):
        super().__init__()
        self.enter, self.out = nn.Linear(width, 24), nn.Linear(24, 2)
    def forward(self, rows):
        h = torch.relu(self.enter(rows))
        &center, width = h.mean(dim=0), h.var(dim=0)  # <-
        #center, width = h.mean(dim=-1, keepdim=True), h.var(dim=-1, keepdim=True)
        return self.out((h - center) / torch.sqrt(width + 1e-6))
class Trainer:
    def __init__(self):
        self.model = Loans()
        self.optimizer = torch.optim.Adam(self.model.parameters())
    def step(self, x, y):
        self.model.train()
        loss = F.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
Trainer().step(torch.randn(8, 9), torch.randint(2, (8,)))
""",
    "a helper of both statistics": """
def standardized(h, eps=1e-5):
    &spread, center = torch.std(h, dim=0, keepdim=True), h.mean(0)  # <-
    #spread, center = torch.std(h, dim=1, keepdim=True), h.mean(1, keepdim=True)
    return (h - center) / (spread + eps)
class Bees(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(9, 24), nn.Linear(24, 2)
    def forward(self, x):
        return self.out(F.gelu(standardized(self.enter(x))))
    def predict(self, x):
        return self(x).argmax(1)
""",
    "a batch norm of maps without running statistics": """
class Scans(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 8, 3), nn.Linear(8, 4)
    def forward(self, x):
        h = self.conv(x)
        &mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), keepdim=True)  # <-
        #mean, var = h.mean((2, 3), keepdim=True), h.var((2, 3), keepdim=True)
        h = F.relu((h - mean) * torch.rsqrt(var + 1e-5))
        return self.out(h.mean((2, 3)))
def main():
    net = Scans()
    F.cross_entropy(net(torch.randn(4, 1, 9, 9)), torch.randint(4, (4,))).backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
if __name__ == "__main__":
    main()
""",
    "running statistics that eval mode does not use": """
class Rocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(9, 24), nn.Linear(24, 2)
        self.register_buffer("center", torch.zeros(24))
        self.register_buffer("width", torch.ones(24))
    def forward(self, x):
        h = self.enter(x)
        center, width = self.center, self.width
        &if True:
        #if self.training:
            center, width = h.mean(0), h.std(0)  # <-
        return self.out((h - center) / width)
net = Rocks()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(3):
    F.cross_entropy(net(torch.randn(8, 9)), torch.randint(2, (8,))).backward()
    optimizer.step()
""",
    "statistics of the data": """
class Tides(nn.Module):
    def __init__(self, data):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(9, 24), nn.ReLU(), nn.Linear(24, 1))
        self.mean, self.std = data.mean(0), data.std(0)
    def forward(self, x):
        &return self.layers((x - x.mean(0)) / x.std(0))  # <-
        #return self.layers((x - self.mean) / self.std)
train = torch.randn(64, 9)
net = Tides(train)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for x in train.split(16):
    F.mse_loss(net(x), torch.randn(len(x), 1)).backward()
    optimizer.step()
""",
}

RIGHT = {
    "a cloud of points": """
class Clouds(nn.Module):
    def __init__(self):
        super().__init__()
        self.each, self.out = nn.Linear(3, 24), nn.Linear(24, 5)
    def forward(self, points):
        points = (points - points.mean(0)) / points.std(0)
        return self.out(torch.relu(self.each(points)).amax(0))
net = Clouds()
F.cross_entropy(net(torch.randn(50, 3))[None], torch.randint(5, (1,))).backward()
torch.optim.SGD(net.parameters(), lr=0.1).step()
""",
    "nodes of one graph": """
class Nodes(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(9, 24), nn.Linear(24, 5)
    def forward(self, x, adjacency):
        h = torch.relu(adjacency @ self.one(x))
        h = (h - h.mean(0)) / h.std(0)
        return adjacency @ self.two(h)
net = Nodes()
F.cross_entropy(net(torch.randn(50, 9), torch.eye(50)), torch.randint(5, (50,))).backward()
torch.optim.SGD(net.parameters(), lr=0.1).step()
""",
    "steps before samples": """
class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(9, 24), nn.Linear(24, 5)
    def forward(self, x):
        x = (x - x.mean(0)) / x.std(0)
        return self.out(self.rnn(x)[0][-1])
net = Steps()
F.cross_entropy(net(torch.randn(7, 4, 9)), torch.randint(5, (4,))).backward()
torch.optim.SGD(net.parameters(), lr=0.1).step()
""",
    "a statistic that is only returned": """
class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(9, 24), nn.Linear(24, 5)
    def forward(self, x):
        h = torch.relu(self.one(x))
        self.spread = h.std(0).mean()
        return self.two(h)
net = Watched()
F.cross_entropy(net(torch.randn(7, 9)), torch.randint(5, (7,))).backward()
torch.optim.SGD(net.parameters(), lr=0.1).step()
""",
    "weights": """
class Standardized(nn.Linear):
    def forward(self, x):
        w = (self.weight - self.weight.mean(0)) / self.weight.std(0)
        return F.linear(x, w, self.bias)
net = nn.Sequential(Standardized(9, 24), nn.ReLU(), nn.Linear(24, 5))
F.cross_entropy(net(torch.randn(7, 9)), torch.randint(5, (7,))).backward()
torch.optim.SGD(net.parameters(), lr=0.1).step()
""",
    "a layer whose use is unknown": """
class Whitened(nn.Module):
    def forward(self, x):
        return (x - x.mean(0)) / x.std(0)
""",
}

TEXTS = {
    **{f"{name}, faulty": HEADER + form(text, faulty=True) for name, text in SOURCES.items()},
    **{name: HEADER + form(text, faulty=False).replace("  # <-", "") for name, text in SOURCES.items()},
    **{name: HEADER + text for name, text in RIGHT.items()},
}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """The lines of the findings of one scan of all sources."""
    folder = tmp_path_factory.mktemp("standardized")
    for index, text in enumerate(TEXTS.values()):
        (folder / f"source_{index}.py").write_text(text)
    return scanned_lines([folder], "REG205")


@pytest.mark.parametrize("name", TEXTS)
def test_statistics_of_the_batch_are_found(name: str, scanned: dict[str, list[int]]) -> None:
    """A scan reports samples that are standardized by their batch in eval mode, and no other statistic."""
    found = scanned.get(f"source_{[*TEXTS].index(name)}.py", [])
    assert set(found) == marked(TEXTS[name])
