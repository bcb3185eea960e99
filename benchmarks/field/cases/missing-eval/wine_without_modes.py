import torch
from torch import nn


def fit(net, wines, grades):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(5):
        loss = nn.functional.cross_entropy(net(wines), grades)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def grade(net, wines):
    with torch.no_grad():
        quality = net(wines).argmax(1)
    return quality.tolist()


if __name__ == "__main__":
    net = nn.Sequential(nn.Linear(11, 20), nn.ReLU(), nn.Linear(20, 3))
    fit(net, torch.randn(40, 11), torch.randint(3, (40,)))
    print(grade(net, torch.randn(5, 11)))
