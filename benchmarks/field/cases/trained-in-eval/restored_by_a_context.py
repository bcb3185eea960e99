from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model):
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


def main():
    model = nn.Sequential(nn.Linear(8, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model.train()
    for step in range(6):
        x, y = torch.randn(16, 8), torch.randint(3, (16,))
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with evaluating(model), torch.no_grad():
            print(step, model(torch.randn(4, 8)).argmax(1))


main()
