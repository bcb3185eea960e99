import torch
import torch.nn.functional as F
from torch import nn


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.drop = nn.Dropout(0.25)
        self.out = nn.Linear(8 * 36, 10)

    def forward(self, x):
        x = self.drop(F.max_pool2d(F.relu(self.conv(x)), 2))
        return self.out(torch.flatten(x, 1))


if __name__ == "__main__":
    net = DigitNet()
    optimizer = torch.optim.Adadelta(net.parameters())
    for _ in range(4):
        loss = F.cross_entropy(net(torch.rand(8, 1, 14, 14)), torch.randint(10, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        print(net(torch.rand(2, 1, 14, 14)).argmax(1))
