import torch
from torch import nn


class SensorNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 2))

    def forward(self, x):
        x = x + 0.2 * torch.randn_like(x)
        return self.layers(x)


if __name__ == "__main__":
    net = SensorNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        net.train()
        loss = nn.functional.cross_entropy(net(torch.randn(32, 8)), torch.randint(2, (32,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(4, 8)).softmax(1))
