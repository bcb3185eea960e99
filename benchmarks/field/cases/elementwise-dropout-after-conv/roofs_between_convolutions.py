import torch
import torch.nn.functional as F
from torch import nn


class RoofNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 2, 3, padding=1)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        x = self.drop(F.relu(self.a(x)))
        return self.b(x)


net = RoofNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    net.train()
    loss = F.cross_entropy(net(torch.rand(4, 3, 24, 24)), torch.randint(2, (4, 24, 24)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print(net(torch.rand(1, 3, 24, 24)).argmax(1).float().mean())
