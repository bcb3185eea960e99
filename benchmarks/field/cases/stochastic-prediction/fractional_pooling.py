import torch
from torch import nn


class PoolNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.pool = nn.FractionalMaxPool2d(2, output_ratio=0.6)
        self.out = nn.Linear(8, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv(x)))
        return self.out(x.mean((2, 3)))


def train(net, batches):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.train()
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()


def predict(net, x):
    net.eval()
    with torch.no_grad():
        return net(x).argmax(1)


if __name__ == "__main__":
    pools = PoolNet()
    train(pools, [(torch.rand(8, 1, 14, 14), torch.randint(10, (8,))) for _ in range(3)])
    print(predict(pools, torch.rand(4, 1, 14, 14)))
