import torch
from torch import nn

critic = nn.Sequential(nn.Linear(6, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))
for p in critic.parameters():
    p.data.clamp_(-0.01, 0.01)

optimizer = torch.optim.SGD(critic.parameters(), lr=0.5)
for step in range(10):
    real, fake = torch.randn(32, 6) + 1, torch.randn(32, 6)
    loss = critic(fake).mean() - critic(real).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
