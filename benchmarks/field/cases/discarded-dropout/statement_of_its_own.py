import torch
import torch.nn.functional as F
from torch import nn


class StarNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(12, 40), nn.Linear(40, 4)

    def forward(self, x):
        h = torch.relu(self.hidden(x))
        F.dropout(h, 0.5, self.training)
        return self.out(h)


if __name__ == "__main__":
    net = StarNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = F.cross_entropy(net(torch.randn(16, 12)), torch.randint(4, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 12)).argmax(1))
