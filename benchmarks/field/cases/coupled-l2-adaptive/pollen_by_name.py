import torch
from torch import nn

config = {"name": "Adam", "arguments": {"lr": 1e-3, "weight_decay": 0.02}}


def build(model, config):
    optimizer = getattr(torch.optim, config["name"])(model.parameters(), **config["arguments"])
    return optimizer


def train(model, steps):
    optimizer = build(model, config)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 20)), torch.randint(3, (8,))).backward()
        optimizer.step()


if __name__ == "__main__":
    train(nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3)), steps=6)
