import torch
from torch import nn


class HalvedNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.out = nn.Linear(10, 30), nn.Linear(30, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(x)
        return self.out(torch.relu(self.body(x)))


if __name__ == "__main__":
    net = HalvedNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 10)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 10)).argmax(1))
