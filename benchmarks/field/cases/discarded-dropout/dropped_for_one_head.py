import torch
from torch import nn


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.drop = nn.Linear(8, 32), nn.Dropout(0.25)
        self.a, self.b = nn.Linear(32, 2), nn.Linear(32, 5)

    def forward(self, x):
        h = torch.relu(self.body(x))
        noisy = self.drop(h)
        return self.a(noisy), self.b(h)


net = TwoHeads()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    a, b = net(torch.randn(16, 8))
    loss = nn.functional.cross_entropy(a, torch.randint(2, (16,))) + nn.functional.cross_entropy(b, torch.randint(5, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print([scores.argmax(1) for scores in net(torch.randn(2, 8))])
