import torch
from torch import nn


class TranslatedNet(nn.Module):
    def __init__(self, keep_prob=0.9):
        super().__init__()
        self.hidden, self.out = nn.Linear(10, 64), nn.Linear(64, 3)
        self.drop = nn.Dropout(keep_prob)

    def forward(self, x):
        h = self.drop(torch.relu(self.hidden(x)))
        return self.out(h)


def main():
    net = TranslatedNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 10)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(3, 10)).argmax(1))


if __name__ == "__main__":
    main()
