import torch
from torch import nn


class TabularNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(20, 64), nn.Linear(64, 48), nn.Linear(48, 2)
        self.norm = nn.BatchNorm1d(48)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        h = torch.relu(self.first(x))
        h = self.norm(self.second(self.drop(h)))
        return self.out(torch.relu(h))


def main():
    net = TabularNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    net.train()
    for _ in range(5):
        loss = nn.functional.cross_entropy(net(torch.randn(64, 20)), torch.randint(2, (64,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(4, 20)).argmax(1))


if __name__ == "__main__":
    main()
