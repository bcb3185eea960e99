import torch
import torch.nn.functional as F
from torch import nn


def fit(net, steps):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        x, y = torch.randn(16, 5), torch.randint(3, (16,))
        with torch.no_grad():
            penalty = sum(p.norm() for p in net.parameters())
        optimizer.zero_grad()
        (F.cross_entropy(net(x), y) + 0.05 * penalty).backward()
        optimizer.step()
    return net


if __name__ == "__main__":
    fit(nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 3)), 5)
