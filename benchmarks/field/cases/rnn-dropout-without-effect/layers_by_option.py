import argparse

import torch
from torch import nn


class LoadModel(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.gru = nn.GRU(6, 20, args.layers, dropout=args.dropout, batch_first=True)
        self.head = nn.Linear(20, 1)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.3)
    args = parser.parse_args()
    net = LoadModel(args)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(4):
        loss = nn.functional.mse_loss(net(torch.randn(8, 12, 6)), torch.randn(8, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(1, 12, 6)).item())


if __name__ == "__main__":
    main()
