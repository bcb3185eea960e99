import torch
from torch import nn


class ReadingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(10, 20), nn.Linear(20, 2)
        self.hidden.weight.data.renorm_(2, 0, 1.0)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


def main():
    net = ReadingNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    for _ in range(10):
        loss = nn.functional.cross_entropy(net(3 * torch.randn(16, 10)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
