import torch
from torch import nn


def describe(net):
    net.eval()
    with torch.no_grad():
        size = net(torch.zeros(1, 3, 16, 16)).shape
    net.train()
    return size


net = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 4)
)
net.train()  # all but the norm, whose statistics are those of the pretraining
net[1].eval()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for step in range(6):
    x, y = torch.rand(4, 3, 16, 16), torch.randint(4, (4,))
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 2:
        describe(net)
