import argparse

import torch
from torch import nn

from optimizers import create_optimizer


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--optimizer", choices=["adam", "sgd"], default="adam")
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--weight-decay", type=float, default=0.001)
    return parser.parse_args()


def main():
    args = options()
    model = nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = create_optimizer(model.parameters(), args)
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(torch.randn(16, 9)), torch.randint(4, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
