import torch
from torch import nn


class WideBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        y = self.second(self.drop(torch.relu(self.norm2(self.first(torch.relu(self.norm1(x)))))))
        return x + y


class WideNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.block, self.norm = nn.Conv2d(3, 16, 3), WideBlock(16), nn.BatchNorm2d(16)
        self.out = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.block(self.enter(x))))
        return self.out(x.mean((2, 3)))


if __name__ == "__main__":
    net = WideNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.rand(8, 3, 16, 16)), torch.randint(4, (8,))).backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.rand(1, 3, 16, 16)).argmax(1))
