import torch
from torch import nn


class SoilNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(9, 30), nn.Linear(30, 1)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        h = torch.sigmoid(self.drop(self.enter(x)))
        return self.out(h)


def main():
    net = SoilNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(4):
        loss = nn.functional.mse_loss(net(torch.randn(16, 9)), torch.randn(16, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 9)))


if __name__ == "__main__":
    main()
