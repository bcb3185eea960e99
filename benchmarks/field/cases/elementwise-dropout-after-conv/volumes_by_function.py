import torch
import torch.nn.functional as F
from torch import nn


class VolumeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(1, 8, 3, padding=1)
        self.second = nn.Conv3d(8, 8, 3, padding=1)
        self.out = nn.Linear(8, 2)

    def forward(self, scan):
        h = F.relu(self.first(scan))
        h = F.dropout(h, 0.25, self.training)
        return self.out(F.relu(self.second(h)).mean((2, 3, 4)))


def train(net, batches):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    net.train()
    for scans, labels in batches:
        optimizer.zero_grad()
        F.cross_entropy(net(scans), labels).backward()
        optimizer.step()


if __name__ == "__main__":
    model = VolumeNet()
    train(model, [(torch.rand(2, 1, 8, 8, 8), torch.randint(2, (2,))) for _ in range(3)])
    model.eval()
    with torch.no_grad():
        print(model(torch.rand(2, 1, 8, 8, 8)).argmax(1))
