import torch
from torch import nn

net = nn.Sequential(nn.Linear(15, 30), nn.ReLU(), nn.Dropout(0.3), nn.Linear(30, 4))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(4):
    loss = nn.functional.cross_entropy(net(torch.randn(16, 15)), torch.randint(4, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

net.eval
with torch.no_grad():
    print(net(torch.randn(3, 15)).argmax(1))
