import torch
from torch import nn


def trained(steps=4):
    model = nn.Sequential(nn.Linear(8, 20), nn.Tanh(), nn.Linear(20, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(torch.randn(16, 8)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def test(model, x):
    before = model.eval
    before()
    with torch.no_grad():
        return model(x).argmax(1)


if __name__ == "__main__":
    print(test(trained(), torch.randn(3, 8)))
