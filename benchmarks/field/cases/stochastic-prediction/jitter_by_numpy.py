import numpy as np
import torch
from torch import nn


class JitterNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(30, 20), nn.Linear(20, 3)

    def forward(self, x):
        scale = float(np.random.uniform(0.8, 1.2))
        return self.decode(torch.relu(self.encode(x * scale)))


if __name__ == "__main__":
    net = JitterNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 30)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(4, 30)))
