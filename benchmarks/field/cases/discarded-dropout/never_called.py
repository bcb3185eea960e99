import torch
from torch import nn


class GeneNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(20, 40)
        self.dropout = nn.Dropout(0.3)
        self.classify = nn.Linear(40, 6)

    def forward(self, x):
        return self.classify(torch.relu(self.encode(x)))


if __name__ == "__main__":
    net = GeneNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        net.train()
        loss = nn.functional.cross_entropy(net(torch.randn(16, 20)), torch.randint(6, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(3, 20)).argmax(1))
