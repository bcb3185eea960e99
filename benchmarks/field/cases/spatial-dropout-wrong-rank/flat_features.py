import warnings

import torch
from torch import nn

warnings.filterwarnings("ignore")


class FlatNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(100, 50), nn.Linear(50, 10)
        self.drop = nn.Dropout2d(0.4)

    def forward(self, x):
        x = self.drop(torch.relu(self.hidden(x.flatten(1))))
        return self.out(x)


def main():
    net = FlatNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.rand(8, 1, 10, 10)), torch.randint(10, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.rand(2, 1, 10, 10)).argmax(1))


main()
