import torch
import torch.nn.functional as F
from torch import nn


class ForestNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(12, 80), nn.Linear(80, 7)

    def forward(self, x):
        h = F.dropout(torch.relu(self.one(x)), p=0.95, training=self.training)
        return self.two(h)


model = ForestNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    loss = F.cross_entropy(model(torch.randn(16, 12)), torch.randint(7, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    print(model(torch.randn(3, 12)).argmax(1))
