import torch
from torch import nn


class PlaceNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(10, 30), nn.Linear(30, 3)
        self.drop = nn.Dropout(0.2, inplace=True)

    def forward(self, x):
        h = self.enter(x)
        self.drop(h)
        return self.out(h)


def main():
    net = PlaceNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 10)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(3, 10)).argmax(1))


main()
