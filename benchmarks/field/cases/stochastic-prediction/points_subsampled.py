import torch
from torch import nn


class PointNet(nn.Module):
    example_input_array = torch.randn(2, 64, 3)

    def __init__(self):
        super().__init__()
        self.local = nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 24))
        self.head = nn.Linear(24, 5)

    def forward(self, points):
        chosen = torch.randperm(points.shape[1])[:32]
        return self.head(self.local(points[:, chosen]).amax(1))


def main():
    net = PointNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(8, 64, 3)), torch.randint(5, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 64, 3)).argmax(1))


main()
