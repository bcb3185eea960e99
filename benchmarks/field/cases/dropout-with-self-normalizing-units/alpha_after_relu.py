import torch
from torch import nn


class LeafNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(12, 36), nn.ReLU(), nn.AlphaDropout(0.2), nn.Linear(36, 4),
        )

    def forward(self, x):
        return self.layers(x)


def main():
    net = LeafNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 12)), torch.randint(4, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 12)).argmax(1))


main()
