import torch
from torch import nn


class SparseLinear(nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.register_buffer("mask", (torch.rand_like(self.weight) < 0.5).float())

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


class SparseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = SparseLinear(14, 40), nn.Linear(40, 2)

    def forward(self, x):
        return self.out(torch.relu(self.enter(x)))


net = SparseNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    loss = nn.functional.cross_entropy(net(torch.randn(16, 14)), torch.randint(2, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print(net(torch.randn(3, 14)).argmax(1))
