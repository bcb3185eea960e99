import torch
from torch import nn


class VoteNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.out = nn.Linear(10, 30), nn.Linear(30, 3)
        self.drop, self.head_drop = nn.Dropout(0.3), nn.Dropout(0.5)

    def forward(self, x):
        h = self.drop(torch.relu(self.body(x)))
        return self.out(self.head_drop(h))


if __name__ == "__main__":
    net = VoteNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 10)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 10)).argmax(1))
