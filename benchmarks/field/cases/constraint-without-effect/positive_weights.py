import torch
from torch import nn


@torch.no_grad()
def project(model):
    for layer in model:
        layer.weight.clamp_(min=0.0)


def factorize(x, rank=4, steps=8):
    model = nn.Sequential(nn.Linear(x.shape[1], rank, bias=False), nn.Linear(rank, x.shape[1], bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        project(model)
    return model


if __name__ == "__main__":
    factorize(torch.rand(32, 12))
