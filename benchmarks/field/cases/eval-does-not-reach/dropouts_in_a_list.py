import torch
from torch import nn


class RankNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(12, 32), nn.Linear(32, 32)])
        self.drops = [nn.Dropout(0.3) for _ in range(2)]
        self.score = nn.Linear(32, 1)

    def forward(self, h):
        for layer, drop in zip(self.layers, self.drops):
            h = drop(torch.relu(layer(h)))
        return self.score(h).squeeze(-1)


def main():
    net = RankNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(4):
        loss = nn.functional.mse_loss(net(torch.randn(16, 12)), torch.rand(16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(5, 12)).argsort())


if __name__ == "__main__":
    main()
