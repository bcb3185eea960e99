import torch
from torch import nn


class TwoDrops(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.out = nn.Linear(7, 24), nn.Linear(24, 24), nn.Linear(24, 2)
        self.first_drop, self.second_drop = nn.Dropout(0.2), nn.Dropout(0.2)

    def forward(self, x):
        h = self.first_drop(torch.relu(self.one(x)))
        h = torch.relu(self.two(h))
        h = self.second_drop(h)
        return self.out(h)


def main():
    net = TwoDrops()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.train()
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 7)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 7)).argmax(1))


main()
