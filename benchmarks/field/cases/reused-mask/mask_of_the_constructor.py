import torch
from torch import nn


class MaskNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(10, 40), nn.Linear(40, 2)
        self.mask = (torch.rand(40) > 0.5).float() * 2

    def forward(self, x):
        h = torch.relu(self.one(x))
        h = h * self.mask if self.training else h
        return self.two(h)


if __name__ == "__main__":
    net = MaskNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 10)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 10)).argmax(1))
