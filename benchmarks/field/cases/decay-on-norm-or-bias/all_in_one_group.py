import torch
from torch import nn

net = nn.Sequential(nn.Linear(14, 40), nn.LayerNorm(40), nn.GELU(), nn.Linear(40, 5))
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
for _ in range(5):
    loss = nn.functional.cross_entropy(net(torch.randn(16, 14)), torch.randint(5, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
