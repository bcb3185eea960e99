import torch
from torch import nn


class WhereNet(nn.Module):
    def __init__(self, hidden=40):
        super().__init__()
        self.enter, self.leave = nn.Linear(11, hidden), nn.Linear(hidden, 5)

    def noisy(self, h):
        if not self.training:
            return h
        kept = torch.rand(h.shape) > 0.5
        h = torch.where(kept, h, torch.zeros_like(h))
        return h

    def forward(self, x):
        return self.leave(self.noisy(torch.relu(self.enter(x))))


def main():
    net = WhereNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 11)), torch.randint(5, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(3, 11)).argmax(1))


if __name__ == "__main__":
    main()
