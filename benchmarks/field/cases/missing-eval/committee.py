import torch
from torch import nn


def member():
    return nn.Sequential(nn.Linear(9, 30), nn.ReLU(), nn.Dropout(0.4), nn.Linear(30, 1))


def train(net, x, y):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(5):
        loss = nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def vote(members, x):
    members[0].eval()
    return torch.stack([member(x) for member in members]).mean(dim=0)


if __name__ == "__main__":
    members = [member() for _ in range(3)]
    for net in members:
        train(net, torch.randn(40, 9), torch.randn(40, 1))
    print(vote(members, torch.randn(5, 9)))
