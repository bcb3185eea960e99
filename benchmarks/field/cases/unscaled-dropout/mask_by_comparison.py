import torch
from torch import nn


class CourseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(10, 50), nn.Linear(50, 3)

    def forward(self, x):
        h = torch.relu(self.one(x))
        if self.training:
            mask = (torch.rand_like(h) > 0.4).float()
            h = h * mask
        return self.two(h)


net = CourseNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    loss = nn.functional.cross_entropy(net(torch.randn(16, 10)), torch.randint(3, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.no_grad():
    print(net(torch.randn(3, 10)).argmax(1))
