import torch
from torch import nn


def initialized(net, bound=0.1):
    for p in net.parameters():
        nn.init.uniform_(p, -bound, bound)
    return net


if __name__ == "__main__":
    net = initialized(nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 1)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(8):
        loss = nn.functional.mse_loss(net(torch.randn(32, 5)), torch.randn(32, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
