import torch
from torch import nn


def main():
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(6):
        error = nn.functional.mse_loss(net(torch.randn(16, 8)), torch.randn(16, 1))
        penalty = 0.0
        for w in net.parameters():
            penalty = penalty + w.data.pow(2).sum()
        loss = error + 0.01 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
