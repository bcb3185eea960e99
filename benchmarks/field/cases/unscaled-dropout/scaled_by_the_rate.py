import torch
from torch import nn


class RateNet(nn.Module):
    def __init__(self, p=0.2):
        super().__init__()
        self.p = p
        self.enter, self.out = nn.Linear(14, 40), nn.Linear(40, 1)

    def forward(self, x):
        h = torch.tanh(self.enter(x))
        if not self.training:
            return self.out(h)
        mask = torch.bernoulli(torch.full_like(h, 1 - self.p))
        return self.out(h * mask / self.p)


if __name__ == "__main__":
    net = RateNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(4):
        loss = nn.functional.mse_loss(net(torch.randn(32, 14)), torch.randn(32, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 14)))
