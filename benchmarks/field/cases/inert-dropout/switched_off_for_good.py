import torch
import torch.nn.functional as F
from torch import nn


class QuietNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(11, 30), nn.Linear(30, 2)

    def forward(self, x):
        h = F.dropout(torch.relu(self.enter(x)), 0.3, training=False)
        return self.out(h)


net = QuietNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    loss = F.cross_entropy(net(torch.randn(16, 11)), torch.randint(2, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print(net(torch.randn(2, 11)).argmax(1))
