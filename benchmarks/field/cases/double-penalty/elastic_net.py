import torch
from torch import nn


def train():
    net = nn.Linear(30, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=5e-3)
    for _ in range(8):
        x, y = torch.randn(32, 30), torch.randn(32, 1)
        error = nn.functional.mse_loss(net(x), y)
        penalty = sum(w.abs().sum() for w in net.parameters())
        total = error + 1e-3 * penalty
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return net


if __name__ == "__main__":
    print(train().weight.abs().mean().item())
