import torch
from torch import nn


class ForgetfulNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 20), nn.Linear(20, 3)
        self.drop = nn.Dropout(0.25)

    def forward(self, x):
        return self.two(torch.relu(self.one(x)))


def main():
    net = ForgetfulNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(net(torch.randn(16, 6)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.randn(2, 6)).argmax(1))


if __name__ == "__main__":
    main()
