import torch
import torch.nn.functional as F
from torch import nn


class GeneNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(20, 40), nn.Linear(40, 2)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return self.out(self.drop(F.selu(self.enter(x))))


if __name__ == "__main__":
    net = GeneNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = F.cross_entropy(net(torch.randn(16, 20)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 20)).argmax(1))
