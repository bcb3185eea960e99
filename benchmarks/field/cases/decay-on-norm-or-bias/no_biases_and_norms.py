import torch
from torch import nn


def main():
    net = nn.Sequential(nn.Linear(10, 20, bias=False), nn.ReLU(), nn.Linear(20, 4, bias=False))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=1e-3)
    for _ in range(5):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 10)), torch.randint(4, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
