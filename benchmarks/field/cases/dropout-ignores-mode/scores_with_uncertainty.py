import torch
import torch.nn.functional as F
from torch import nn


class ScoreNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.sampling = False
        self.first = nn.Linear(10, 64)
        self.last = nn.Linear(64, 1)

    def forward(self, x):
        h = F.dropout(torch.relu(self.first(x)), 0.1, training=True)
        return self.last(h)


def monte_carlo(net, x, passes=20):
    """Mean and spread of the posterior predictive."""
    net.eval()
    net.sampling = True
    with torch.no_grad():
        draws = torch.stack([net(x) for _ in range(passes)])
    net.sampling = False
    return draws.mean(0), draws.std(0)


if __name__ == "__main__":
    net = ScoreNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(5):
        loss = F.mse_loss(net(torch.randn(32, 10)), torch.randn(32, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    mean, spread = monte_carlo(net, torch.randn(4, 10))
    print(mean.squeeze(), spread.squeeze())
