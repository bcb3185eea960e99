import torch
from torch import nn


class HalfNet(nn.Module):
    def __init__(self, keep_rate=0.5):
        super().__init__()
        self.enter, self.out = nn.Linear(8, 40), nn.Linear(40, 2)
        self.drop = nn.Dropout(keep_rate)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.enter(x))))


def main():
    net = HalfNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 8)), torch.randint(2, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 8)).argmax(1))


main()
