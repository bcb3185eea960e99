import torch
from torch import nn

net = nn.Sequential(nn.Linear(24, 48), nn.Tanh(), nn.Linear(48, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-2)
levels = torch.randn(128, 25)

for step in range(20):
    loss = nn.functional.mse_loss(net(levels[:, :24]), levels[:, 24:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
