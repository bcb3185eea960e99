import torch
import torch.nn.functional as F
from torch import nn


class LogNet(nn.Module):
    def __init__(self, width=20):
        super().__init__()
        self.enter, self.out = nn.Linear(11, width), nn.Linear(width, 2)
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def forward(self, x):
        h = F.batch_norm(self.enter(x), self.mean, self.var, self.scale, self.shift, training=True)
        return self.out(F.relu(h))


def main():
    net = LogNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.train()
    for _ in range(4):
        loss = F.cross_entropy(net(torch.randn(16, 11)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(5, 11)).argmax(1))


if __name__ == "__main__":
    main()
