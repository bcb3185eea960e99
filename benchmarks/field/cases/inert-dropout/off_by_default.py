import torch
import torch.nn.functional as F
from torch import nn


class AlphaNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(8, 32), nn.Linear(32, 1)

    def forward(self, x):
        h = F.alpha_dropout(F.selu(self.enter(x)), 0.1)
        return self.out(h)


if __name__ == "__main__":
    net = AlphaNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(4):
        loss = F.mse_loss(net(torch.randn(16, 8)), torch.randn(16, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 8)))
