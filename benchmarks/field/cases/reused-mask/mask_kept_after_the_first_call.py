import torch
from torch import nn


class Locked(nn.Module):
    def __init__(self):
        super().__init__()
        self.mask = None

    def forward(self, x):
        if not self.training:
            return x
        if self.mask is None:
            self.mask = torch.bernoulli(torch.full((x.shape[-1],), 0.8)) / 0.8
        return x * self.mask


class LockedNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.locked, self.head = nn.Linear(12, 36), Locked(), nn.Linear(36, 3)

    def forward(self, x):
        return self.head(self.locked(torch.tanh(self.body(x))))


def main():
    net = LockedNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.train()
    for _ in range(5):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 12)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 12)).argmax(1))


if __name__ == "__main__":
    main()
