import copy

import torch
from torch import nn


def blend(average, net, keep=0.9):
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), net.parameters()):
            slow.mul_(keep).add_(fast, alpha=1 - keep)


def main():
    net = nn.Sequential(nn.Linear(7, 32), nn.Tanh(), nn.Dropout(0.2), nn.Linear(32, 1))
    average = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(6):
        x, y = torch.randn(32, 7), torch.randn(32, 1)
        loss = (net(x) - y).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        blend(average, net)

    average.eval()
    with torch.no_grad():
        x, y = torch.randn(32, 7), torch.randn(32, 1)
        error = (net(x) - y).abs().mean()
    print("mean absolute error", error.item())


main()
