import argparse

import torch
from torch import nn


def parse(arguments=None):
    parser = argparse.ArgumentParser(description="Power of a solar plant from the weather.")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--wd", help="weight decay", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=8)
    return parser.parse_args(arguments)


def main():
    args = parse()
    net = nn.Sequential(nn.Linear(5, 40), nn.SiLU(), nn.Linear(40, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr, weight_decay=args.wd)
    for _ in range(args.steps):
        loss = nn.functional.l1_loss(net(torch.randn(32, 5)), torch.rand(32, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
