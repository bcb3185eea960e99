import torch
from torch import nn

l1_strength = 1e-3
net = nn.Linear(40, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, weight_decay=l1_strength)
for _ in range(6):
    x, y = torch.randn(32, 40), torch.randn(32, 1)
    loss = nn.functional.mse_loss(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
