import torch
from torch import nn


class OreNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(8, 40), nn.Dropout(0.4), nn.ReLU(), nn.Linear(40, 2),
        )

    def forward(self, x):
        return self.layers(x)


net = OreNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    loss = nn.functional.cross_entropy(net(torch.randn(16, 8)), torch.randint(2, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print(net(torch.randn(3, 8)).argmax(1))
