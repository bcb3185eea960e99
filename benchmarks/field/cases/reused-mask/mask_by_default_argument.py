import torch
from torch import nn


def thinned(h, mask=torch.rand(24) > 0.3):
    return h * mask / 0.7


class DefaultNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(6, 24), nn.Linear(24, 1)

    def forward(self, x):
        h = torch.relu(self.enter(x))
        h = thinned(h) if self.training else h
        return self.out(h)


def fit(net, steps=5):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(steps):
        loss = nn.functional.mse_loss(net(torch.randn(16, 6)), torch.randn(16, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


if __name__ == "__main__":
    net = fit(DefaultNet())
    with torch.no_grad():
        print(net(torch.randn(2, 6)))
