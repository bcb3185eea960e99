import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x):
        y = self.branch(x)
        if self.training:
            keep = torch.bernoulli(torch.full((len(x), 1), 0.7))
            return x + keep * y
        return x + y


class BlockNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks, self.head = nn.Sequential(Block(12), Block(12)), nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.blocks(x))


def main():
    net = BlockNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(32, 12)), torch.randint(3, (32,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(3, 12)).argmax(1))


if __name__ == "__main__":
    main()
